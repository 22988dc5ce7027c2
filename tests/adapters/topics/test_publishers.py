"""Publishing from every place of a program wakes a stream that waits."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing, suppress

import anyio
import anyio.lowlevel
import pytest
import trio

from roundel import CloseMessage, Event, History, Parser
from roundel_adapters.driver import iter_chunks, iter_chunks_in_thread
from roundel_adapters.live_stream import responding
from roundel_adapters.topics import Topics

BYE = CloseMessage(Event("over", "bye"), 7_000)


@pytest.fixture
def topics():
    return Topics(close_message=lambda: BYE, signals=False)


def data_of(chunks):
    parser = Parser()
    return [e.data for chunk in chunks for e in parser.receive_data(chunk)]


def hello(resume):
    return Event("hello")


async def event_after(topics, publish):
    """Return the event that a stream gets when *publish* is called, and the delay.

    Without a wake it would wait for the heartbeat, 15 seconds.
    """
    async with aclosing(iter_chunks(topics.stream("a", hello=hello))) as chunks:
        await anext(chunks)
        start = time.monotonic()
        await publish()
        [data] = data_of([await anext(chunks)])
    return data, time.monotonic() - start


async def in_the_task(publish):
    publish()


async def in_a_thread(publish):
    thread = threading.Thread(target=publish)
    thread.start()


async def in_call_soon(publish):
    asyncio.get_running_loop().call_soon(publish)


async def in_call_later(publish):
    asyncio.get_running_loop().call_later(0.01, publish)


async def in_an_executor(publish):
    with ThreadPoolExecutor(1) as executor:
        await asyncio.get_running_loop().run_in_executor(executor, publish)


async def in_to_thread(publish):
    await asyncio.to_thread(publish)


async def in_a_done_callback(publish):
    task = asyncio.ensure_future(asyncio.sleep(0))
    task.add_done_callback(lambda _: publish())


async def in_anyio(publish):
    await anyio.to_thread.run_sync(anyio.from_thread.run_sync, publish)


async def in_a_trio_thread(publish):
    await trio.to_thread.run_sync(publish)


async def from_a_trio_thread(publish):
    await trio.to_thread.run_sync(trio.from_thread.run_sync, publish)


async def in_run_sync_soon(publish):
    trio.lowlevel.current_trio_token().run_sync_soon(publish)


async def in_another_loop(publish):
    def run():
        asyncio.run(in_the_task(publish))
        trio.run(in_call_of_trio, publish)

    threading.Thread(target=run).start()


async def in_call_of_trio(publish):
    await trio.lowlevel.checkpoint()


BOTH = [in_the_task, in_a_thread, in_anyio, in_another_loop]
ASYNCIO = [
    in_call_soon, in_call_later, in_an_executor, in_to_thread, in_a_done_callback,
]  # fmt: skip
TRIO = [in_a_trio_thread, from_a_trio_thread, in_run_sync_soon]
CASES = [
    *(("asyncio", place) for place in [*BOTH, *ASYNCIO]),
    *(("trio", place) for place in [*BOTH, *TRIO]),
]


@pytest.mark.parametrize(("backend", "place"), CASES)
def test_publish(topics, backend, place):
    """A stream gets an event at once, from wherever it is published."""

    async def publish():
        await place(lambda: topics.publish("a", Event("news")))

    data, seconds = anyio.run(event_after, topics, publish, backend=backend)

    assert "news" == data
    assert seconds < 10.0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_publish_after_the_loop(topics, backend):
    """Events that are published after the loop are there for the next one."""

    async def abandon():
        # The task never gives its waker back.
        stream = topics.stream("a")
        block = stream.wakeup.task_waker()
        block.__enter__()
        kept.append((stream, block))

    kept = []
    anyio.run(abandon, backend=backend)
    topics.publish("a", Event("x"))

    async def publish():
        topics.publish("a", Event("news"))

    assert "news" == anyio.run(event_after, topics, publish, backend=backend)[0]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_loop_that_ends_in_the_middle(topics, backend):
    """A loop that ends while its streams wait leaves nothing behind."""
    started = []

    async def read():
        stream = topics.stream("a", hello=hello)
        with responding(stream):
            async with aclosing(iter_chunks(stream)) as chunks:
                async for _ in chunks:
                    started.append(stream)

    async def main():
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(read)
            while len(started) < 5:
                await anyio.lowlevel.checkpoint()
            raise KeyError

    with pytest.RaisesGroup(KeyError):
        anyio.run(main, backend=backend)
    topics.publish("a", Event("x"))

    assert not any(stream.is_open or stream.wakeup.wakers for stream in started)
    assert not topics.drain._streams
    assert not topics._topics["a"].streams


def test_thread_that_dies(topics):
    """A thread that dies in the middle of its stream leaves nothing."""

    def read():
        stream = topics.stream("a", hello=hello)
        with (
            suppress(KeyError),
            responding(stream),
            closing(iter_chunks_in_thread(stream)) as chunks,
        ):
            next(chunks)
            raise KeyError

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    topics.publish("a", Event("x"))

    assert not topics.drain._streams
    assert not topics._topics["a"].streams


def test_hello_that_raises(topics):
    """A stream whose function raises leaves nothing, and the topics work."""

    def fail(resume):
        raise KeyError("no such user")

    stream = topics.stream("a", hello=fail)
    with (
        pytest.raises(KeyError),
        responding(stream),
        closing(iter_chunks_in_thread(stream)) as chunks,
    ):
        next(chunks)
    topics.publish("a", Event("x"))

    assert not stream.is_open
    assert not stream.wakeup.wakers
    assert not topics._topics["a"].streams


def test_close_from_threads_and_twice(topics):
    """`close()` can be called often, before and after streams, from any thread."""
    topics.publish("a", Event("state"), snapshot=Event("state"))
    threads = [threading.Thread(target=topics.close) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    topics.close()
    stream = topics.stream("a", hello=hello)
    with responding(stream):
        data = data_of(iter_chunks_in_thread(stream))

    assert ["hello", "over"] == data


def test_several_topics_objects(topics):
    """Two objects have nothing in common: not their names, nor their ends."""
    other = Topics(signals=False)
    other.publish("a", Event("other"), snapshot=Event("other"))
    stream = topics.stream("a", hello=hello)
    other.close()

    assert ["hello"] == data_of(stream.data_to_send(0.0))
    assert stream.is_open
    assert not topics.drain.has_begun


async def test_retention_in_virtual_time(autojump_clock):
    """With trio's clock as *clock* a retention passes in virtual time."""
    topics = Topics(
        lambda name, epoch: History(epoch, retention=60.0),
        clock=trio.current_time,
        signals=False,
    )
    stream = topics.stream("a", hello=hello)
    first = data_of(stream.data_to_send(trio.current_time()))
    last_event_id = str(stream.cursor)
    topics.publish("a", Event("old"))
    await trio.sleep(30)
    topics.publish("a", Event("new"))

    def outcome(resume):
        return Event(resume.outcome, "hello")

    async def resumed():
        again = topics.stream("a", last_event_id=last_event_id, hello=outcome)
        return data_of(again.data_to_send(trio.current_time()))

    assert ["hello"] == first
    assert ["replayed", "old", "new"] == await resumed()
    await trio.sleep(31)
    assert "snapshot" == (await resumed())[0]
