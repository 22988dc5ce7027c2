"""Publishing from signal handlers, finalizers and functions of a stream."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager

import pytest
import trio

from roundel import CloseMessage, Cursor, Event, History, Parser
from roundel_adapters.driver import iter_chunks, iter_chunks_in_thread
from roundel_adapters.topics import TooManyTopics, Topics

BYE = CloseMessage(Event("over", "bye"), 7_000)


def large_history(name, epoch):
    return History(epoch, capacity=10_000)


@pytest.fixture
def topics():
    return Topics(large_history, close_message=lambda: BYE, signals=False)


def data_of(chunks):
    parser = Parser()
    return [e.data for chunk in chunks for e in parser.receive_data(chunk)]


def offsets_of(chunks):
    parser = Parser()
    events = [e for chunk in chunks for e in parser.receive_data(chunk)]
    return [Cursor.parse(event.id).position("").offset for event in events]


def run_interrupted(block, interrupt):
    """Call *block*, and *interrupt* once before each line that runs in it.

    It is what a signal handler or a finalizer does, at each place where it can. It runs
    in a thread, so that the tracing of coverage or of a debugger stays as it is. The
    lines are returned.
    """
    lines = set()

    def trace(frame, event, argument):
        place = frame.f_code, frame.f_lineno
        if event == "line" and place not in lines:
            lines.add(place)
            sys.settrace(None)
            interrupt()
            sys.settrace(trace)
            frame.f_trace = trace
        return trace

    def run():
        sys.settrace(trace)
        try:
            return block()
        finally:
            sys.settrace(None)

    with ThreadPoolExecutor(1) as executor:
        executor.submit(run).result(timeout=30)
    return lines


def test_publish_between_any_two_lines(topics):
    """Each event arrives once, wherever another event interrupts a publish."""
    stream = topics.stream("a", last_event_id=None)
    stream.data_to_send(0.0)
    count = 0

    def interrupt():
        nonlocal count
        topics.publish("a", Event(f"interrupt {count}"))
        count += 1

    chunks = []
    for number in range(3):

        def block(number=number):
            topics.publish("a", Event(f"own {number}"))
            chunks.extend(stream.data_to_send(1.0))

        lines = run_interrupted(block, interrupt)
        # The core's lines too.
        assert len({code.co_filename for code, _ in lines}) > 4
    while more := stream.data_to_send(1.0):
        chunks += more
    data = data_of(chunks)

    assert [f"own {n}" for n in range(3)] == [d for d in data if d.startswith("own")]
    assert [f"interrupt {n}" for n in range(count)] == [
        d for d in data if d.startswith("interrupt")
    ]
    assert list(range(1, len(data) + 1)) == offsets_of(chunks)
    assert count > 100


def test_new_topics_between_any_two_lines():
    """No event is lost if a topic is made while another call makes it."""
    topics = Topics(large_history, max_topics=4, signals=False)
    streams = {}
    for number in range(3):
        name = f"topic {number}"

        def interrupt(name=name):
            topics.publish(name, Event("interrupt"), snapshot=Event("interrupt"))

        def block(name=name):
            streams[name] = topics.stream(name)

        run_interrupted(block, interrupt)
        assert "interrupt" in data_of(streams[name].data_to_send(0.0))

    assert set(streams) <= {name for name in streams if name in topics}


def test_close_between_any_two_lines(topics):
    """A stream that is closed at any place says its last words and ends."""
    places = 1
    interrupts = 0
    while interrupts < places:
        stream = topics.stream("a", hello=lambda resume: Event("hello"))
        calls = 0

        def interrupt(stream=stream, wanted=interrupts):
            nonlocal calls
            if calls == wanted:
                stream.close(BYE)
            calls += 1

        chunks = []

        def block(stream=stream, chunks=chunks):
            chunks += stream.data_to_send(0.0)

        run_interrupted(block, interrupt)
        places = calls
        interrupts += 1
        for _ in range(3):
            # The driver would not sleep, nor miss the end.
            assert not stream.is_open or stream.deadline < 0
            chunks += stream.data_to_send(0.0)

        assert ["hello", "over"] == data_of(chunks)
        assert not stream.is_open


def test_function_of_a_stream_publishes(topics):
    """An event that a hello function publishes follows the stream's first events."""
    topics.publish("a", Event("state"), snapshot=Event("state"))
    results = []

    def hello(resume):
        results.append(topics.publish("a", Event("somebody has joined")))
        return Event("hello")

    stream = topics.stream("a", hello=hello)
    first, second = stream.data_to_send(0.0), stream.data_to_send(0.0)

    assert ["hello", "state"] == data_of(first)
    assert ["somebody has joined"] == data_of(second)
    assert [None] == results


def test_bounds_of_a_deferred_publish():
    """A wrong name is an error at once, also where the event would be deferred."""
    topics = Topics(max_topics=1, signals=False)
    errors = []

    def hello(resume):
        for name in ("", "x" * 257):
            with pytest.raises(ValueError, match="1 to 256"):
                topics.publish(name, Event("x"))
            errors.append(name)
        return Event("hello")

    topics.stream("a", hello=hello).data_to_send(0.0)

    assert 2 == len(errors)


def test_deferred_publish_without_room(caplog):
    """An error that a deferred publish has is logged."""
    topics = Topics(max_topics=1, signals=False)

    def hello(resume):
        topics.publish("b", Event("x"))
        return Event("hello")

    stream = topics.stream("a", hello=hello)

    assert ["hello"] == data_of(stream.data_to_send(0.0))
    assert TooManyTopics.__name__ in caplog.text


RUN = {"asyncio": lambda main: asyncio.run(main()), "trio": trio.run}


@contextmanager
def alarm(handler, *, after):
    """Call *handler* in a signal handler, once in the block."""
    before = signal.signal(signal.SIGALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("run", RUN.values(), ids=RUN.keys())
def test_publish_in_a_signal_handler(topics, run):
    """A signal handler that publishes wakes a stream of the loop that it interrupts.

    Nothing else ends the loop's wait within 15 seconds.
    """

    async def main():
        async with aclosing(iter_chunks(topics.stream("a", hello=hello))) as chunks:
            await anext(chunks)
            with alarm(lambda: topics.publish("a", Event("from a signal")), after=0.05):
                return data_of([await anext(chunks)])

    def hello(resume):
        return Event("hello")

    start = time.monotonic()
    data = run(main)

    assert ["from a signal"] == data
    assert time.monotonic() - start < 10.0


def test_publish_in_a_signal_handler_of_a_waiting_thread(topics):
    """A signal handler wakes a stream that waits in the thread that it interrupts."""
    chunks = iter_chunks_in_thread(topics.stream("a", hello=lambda _: Event("hi")))
    next(chunks)
    with alarm(lambda: topics.publish("a", Event("from a signal")), after=0.05):
        assert ["from a signal"] == data_of([next(chunks)])
    chunks.close()


def test_publish_in_a_finalizer(topics):
    """An object that publishes its end can be collected at any place."""

    class Job:
        def __del__(self):
            topics.publish("a", Event("a job has ended"))

    stream = topics.stream("a")
    stream.data_to_send(0.0)
    cycle = [Job()]
    cycle.append(cycle)
    del cycle
    gc.collect()

    assert ["a job has ended"] == data_of(stream.data_to_send(0.0))
