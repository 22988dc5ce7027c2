"""Named topics: publish from anywhere, stream several at once, drop idle ones."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import aclosing, closing

import attrs
import pytest
import trio

from roundel import CloseMessage, Event, History, LocalProtocolError, Parser
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.driver import iter_chunks, iter_chunks_in_thread
from roundel_adapters.testing import AsgiClient
from roundel_adapters.topics import TooManyTopics, Topics

BYE = CloseMessage(Event("over", "bye"), 7_000)


class Clock:
    """A clock that stands still until it is set."""

    now = 100.0

    def __call__(self):
        return self.now


def large_history(name, epoch):
    return History(epoch, capacity=1_000)


@pytest.fixture
def topics():
    return Topics(large_history, close_message=lambda: BYE, signals=False)


def received(chunks):
    """Return data and id of the events in *chunks*."""
    parser = Parser()
    return [
        (event.data, event.id)
        for chunk in chunks
        for event in parser.receive_data(chunk)
    ]


def data_of(chunks):
    return [data for data, _ in received(chunks)]


def test_one_stream_of_several_topics(topics):
    """One stream has the events of all its topics, and one id resumes them all."""
    first = topics.stream(["badge", "log"])
    first.data_to_send(0.0)
    topics.publish("badge", Event("1"))
    topics.publish("log", Event("a line"))
    events = received(first.data_to_send(0.0))
    topics.publish("log", Event("another line"))
    again = topics.stream(["badge", "log"], last_event_id=events[-1][1])

    assert ["1", "a line"] == [data for data, _ in events]
    assert ["another line"] == data_of(again.data_to_send(0.0))


def test_given_offsets(topics):
    """An event has the offset that the publisher counts, which has to rise."""
    topics.publish("rows", Event("row 7"), offset=7)
    position = topics.publish("rows", Event("row 9"), offset=9)
    stream = topics.stream("rows", last_event_id=str(attrs.evolve(position, offset=8)))
    with pytest.raises(LocalProtocolError, match="offset"):
        topics.publish("rows", Event("row 9"), offset=9)

    assert 9 == position.offset
    assert ["row 9"] == data_of(stream.data_to_send(0.0))


def test_names_in_the_stream(topics):
    """A topic with any name is streamed under a name that an event id can hold."""
    topics.publish("jobs/7@eu", Event("40 %"), snapshot=Event("40 %"))
    stream = topics.stream({"job": "jobs/7@eu"})
    [(data, last_event_id)] = received(stream.data_to_send(0.0))

    assert "40 %" == data
    assert last_event_id.startswith("job.")
    with pytest.raises(LocalProtocolError, match="topic"):
        topics.stream(["jobs/7@eu"])
    assert received(topics.stream("jobs/7@eu").data_to_send(0.0))


@pytest.mark.parametrize("name", ["", "x" * 257])
def test_name_out_of_bounds(topics, name):
    """A topic's name has 1 to 256 characters."""
    with pytest.raises(ValueError, match="1 to 256 characters"):
        topics.publish(name, Event("x"))
    with pytest.raises(ValueError, match="1 to 256 characters"):
        topics.stream(name)
    assert 0 == len(topics)


@pytest.mark.parametrize(
    "names",
    [
        [f"topic{number}" for number in range(9)],
        ["good", "not good"],
        ["good", "x" * 33],
        ["good", ""],
        [letter * 32 for letter in "abcd"],
    ],
)
def test_names_that_no_stream_can_have_make_no_topic(topics, names):
    """A request with wrong names neither makes a topic nor takes one's place."""
    with pytest.raises((LocalProtocolError, ValueError)):
        topics.stream(names)

    assert [] == list(topics)


def test_bounds_of_the_constructor():
    """A bound that leaves no topic is an error."""
    for bounds in ({"max_topics": 0}, {"max_idle": -1.0}):
        with pytest.raises(ValueError, match="expected"):
            Topics(**bounds)


def test_idle_topic_is_dropped():
    """A topic without a stream is dropped in time, and its next use is a reset."""
    clock = Clock()
    topics = Topics(max_idle=60.0, clock=clock)
    topics.publish("old", Event("x"), snapshot=Event("x"))
    [(_, last_event_id)] = received(topics.stream("old").data_to_send(0.0))
    gc.collect()
    clock.now += 59.0
    topics.publish("other", Event("x"))
    assert "old" in topics
    clock.now += 1.0
    topics.publish("other", Event("x"))
    assert "old" not in topics

    outcomes = []
    topics.stream(
        "old",
        last_event_id=last_event_id,
        hello=lambda resume: outcomes.append(resume.outcome) or Event(""),
    ).data_to_send(0.0)

    assert ["reset"] == outcomes


def test_topic_with_a_stream_is_kept():
    """A topic is kept while a stream exists, and for *max_idle* after its end."""
    clock = Clock()
    topics = Topics(max_idle=60.0, clock=clock)
    stream = topics.stream("kept")
    stream.data_to_send(0.0)
    for _ in range(5):
        clock.now += 100.0
        topics.publish("other", Event("x"))
    topics.publish("kept", Event("still here"))
    assert ["still here"] == data_of(stream.data_to_send(500.0))
    stream.close()
    clock.now += 59.0
    topics.publish("other", Event("x"))
    assert "kept" in topics
    clock.now += 1.0
    topics.publish("other", Event("x"))

    assert "kept" not in topics


def test_names():
    """The names of all topics can be listed, and used while they are."""
    topics = Topics(max_topics=3)
    for name in "abc":
        topics.publish(name, Event("x"))
    for name in topics:
        topics.publish(f"another than {name}", Event("x"))

    assert ["another than a", "another than b", "another than c"] == list(topics)


def test_no_time_idle_with_streams():
    """With a *max_idle* of 0 a topic lives as long as its streams."""
    topics = Topics(max_idle=0.0, clock=Clock())
    stream = topics.stream("a")
    stream.data_to_send(0.0)
    topics.publish("a", Event("x"))
    topics.publish("b", Event("x"))

    assert ["x"] == data_of(stream.data_to_send(0.0))
    topics.publish("c", Event("x"))
    assert ("a" in topics, "b" in topics) == (True, False)


def test_least_recently_used_topic_makes_room():
    """At the bound the topic that was not used for the longest time is dropped."""
    topics = Topics(max_topics=3)
    streams = [topics.stream("a")]
    for name in ("b", "c", "b", "d"):
        topics.publish(name, Event("x"))

    assert ["a", "b", "d"] == [name for name in "abcd" if name in topics]
    streams += [topics.stream("b"), topics.stream("d")]
    with pytest.raises(TooManyTopics):
        topics.publish("e", Event("x"))
    with pytest.raises(TooManyTopics):
        topics.stream("e")
    streams.pop().close()
    topics.publish("e", Event("x"))


def test_history_that_cannot_be_made_drops_no_topic():
    """While the source of new topics is away, the others keep their events."""

    def make_history(name, epoch):
        if name == "away":
            raise ConnectionError
        return History(epoch)

    topics = Topics(make_history, max_topics=2, signals=False)
    topics.publish("a", Event("1"))
    topics.publish("b", Event("1"))

    with pytest.raises(ConnectionError):
        topics.stream("away")
    with pytest.raises(ConnectionError):
        topics.publish("away", Event("1"))
    assert ["a", "b"] == list(topics)


def test_topics_of_one_stream_do_not_drop_each_other():
    """A stream of more topics than there is room for is an error."""
    topics = Topics(max_topics=2)
    with pytest.raises(TooManyTopics):
        topics.stream(["a", "b", "c"])
    kept = topics.stream("kept")
    with pytest.raises(TooManyTopics):
        topics.stream(["a", "b"])

    assert kept.is_open


def test_stream_that_never_starts_leaves_nothing(topics):
    """A stream that a server never drives does not keep its topics in use."""
    topics.stream("a")
    gc.collect()
    small = Topics(max_topics=1)
    small.stream("a")
    gc.collect()
    small.publish("b", Event("x"))

    assert "a" not in small


def test_history_of_the_application():
    """An application makes the histories, with the epoch that it is given."""
    made = []

    def make_history(name, epoch):
        made.append((name, epoch))
        return History(epoch, capacity=0, snapshot=Event(f"{name} at first"))

    topics = Topics(make_history)

    assert ["a at first"] == data_of(topics.stream("a").data_to_send(0.0))
    topics.stream("a")
    assert ["a"] == [name for name, _ in made]
    assert made[0][1] == topics.publish("a", Event("x")).epoch


def test_close(topics):
    """`close()` ends running and later streams, each with its close message."""
    running, started = topics.stream("a"), topics.stream("a")
    topics.publish("a", Event("x"), snapshot=Event("x"))
    with closing(iter_chunks_in_thread(running)) as chunks:
        assert ["x"] == data_of([next(chunks)])
        with topics.drain.track(running, running.wakeup):
            topics.close(CloseMessage(Event("now", "bye"), 9_000))
            assert [b"retry: 9000\nevent: bye\ndata: now\n\n"] == list(chunks)
    with topics.drain.track(started, started.wakeup):
        assert ["now"] == data_of(iter_chunks_in_thread(started))

    assert not running.is_open


def test_max_age_ends_with_the_close_message(topics):
    """A stream that reaches its *max_age* ends with the close message."""
    stream = topics.stream("a", max_age=100.0)
    stream.data_to_send(0.0)

    assert [b"retry: 7000\nevent: bye\ndata: over\n\n"] == stream.data_to_send(100.0)
    assert not stream.is_open


def test_any_clock_of_the_driver():
    """The heartbeat comes in the driver's time, whatever its clock shows."""
    clock = Clock()
    for start in (0.0, 1e9, 0.1 + 0.2):
        stream = Topics(clock=clock).stream("a", heartbeat=0.1)
        stream.data_to_send(start)
        now = start
        for _ in range(100):
            assert stream.deadline >= now
            now = stream.deadline
            assert [b":\n"] == stream.data_to_send(now)
        assert 10.0 == pytest.approx(now - start, abs=1e-4)


async def test_heartbeat_in_virtual_time(autojump_clock, topics):
    """With trio's mock clock no test waits for a heartbeat."""

    async def app(scope, receive, send):
        await StreamResponse(topics.stream("a", heartbeat=60.0))(scope, receive, send)

    async with AsgiClient(app).open("GET", "/") as response:
        assert (await response.next_chunk()).startswith(b"id: ")
        assert b":\n" == await response.next_chunk()
        assert 60.0 == trio.current_time()


@pytest.mark.parametrize("run", [trio.run, lambda main: asyncio.run(main())])
def test_publish_from_threads(topics, run):
    """Events of several threads reach each stream of a loop, in one order."""
    per_thread, threads = 200, 4

    def publish_all(thread):
        for number in range(per_thread):
            topics.publish("a", Event(f"{thread} {number}"))

    async def main():
        chunks = []
        async with aclosing(iter_chunks(topics.stream("a", hello=hello))) as stream:
            chunks.append(await anext(stream))
            running = [
                threading.Thread(target=publish_all, args=(thread,))
                for thread in range(threads)
            ]
            for thread in running:
                thread.start()
            while len(data_of(chunks)) < 1 + per_thread * threads:
                chunks.append(await anext(stream))
            for thread in running:
                thread.join()
        return data_of(chunks)[1:]

    data = run(main)

    assert per_thread * threads == len(set(data))
    for thread in range(threads):
        own = [text for text in data if text.startswith(f"{thread} ")]
        assert [f"{thread} {number}" for number in range(per_thread)] == own


def hello(resume):
    return Event(resume.outcome, "hello")


def test_streams_in_threads(topics):
    """Streams in threads get each event, and end by `close()`."""
    results = {}
    are_open = threading.Barrier(6)

    def read(number):
        stream = topics.stream("a", hello=hello)
        with topics.drain.track(stream, stream.wakeup):
            chunks = iter_chunks_in_thread(stream)
            first = next(chunks)
            are_open.wait(timeout=10.0)
            results[number] = data_of([first, *chunks])

    threads = [threading.Thread(target=read, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    are_open.wait(timeout=10.0)
    for number in range(50):
        topics.publish("a", Event(str(number)))
    topics.close()
    for thread in threads:
        thread.join(timeout=10.0)

    for data in results.values():
        assert ["snapshot", "over"] == [data[0], data[-1]]
        assert list(map(str, range(len(data) - 2))) == data[1:-1]
    assert 5 == len(results)


def test_stream_that_ends_while_others_are_woken(topics):
    """A publish wakes all streams, also if one of them ends a second one."""
    streams = [topics.stream("a") for _ in range(10)]
    woken = []

    class Waker:
        def wake(self):
            woken.append(self)
            streams[len(woken) - 1].close()

    for stream in streams:
        stream.wakeup.wakers.add(Waker())
    topics.publish("a", Event("x"))

    assert 10 == len(woken)
