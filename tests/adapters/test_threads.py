"""Streams that run in threads, while other threads publish to them."""

from __future__ import annotations

import gc
import sys
import threading
from collections import defaultdict

import pytest

from roundel import CloseMessage, Event, History, Parser
from roundel_adapters.driver import iter_chunks_in_thread
from roundel_adapters.live_stream import responding
from roundel_adapters.topics import Topics

pytestmark = pytest.mark.slow

STREAMS, PUBLISHERS, EVENTS = 50, 4, 100
NAMES = ["a", "b", "c"]


def published_by(publisher):
    return [f"{publisher} {number}" for number in range(EVENTS)]


@pytest.fixture
def switching():
    """Let the interpreter change the thread as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def large_history(name, epoch):
    return History(epoch, capacity=PUBLISHERS * EVENTS)


class Reader(threading.Thread):
    """A response in a thread, and the data that it has sent."""

    def __init__(self, stream):
        super().__init__(daemon=True)
        self.stream = stream
        self.is_open = threading.Event()
        self.received = []

    def run(self):
        parser = Parser()
        with responding(self.stream):
            for chunk in iter_chunks_in_thread(self.stream):
                self.received += [e.data for e in parser.receive_data(chunk)]
                self.is_open.set()


def run_all(*functions):
    threads = [threading.Thread(target=f, daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def test_publishing_storm(switching):
    """50 streams in threads get each event of four threads once, in its order."""
    bye = CloseMessage(Event("over", "bye"), 5_000)
    topics = Topics(large_history, close_message=lambda: bye, signals=False)
    readers = [Reader(topics.stream(NAMES)) for _ in range(STREAMS)]
    for reader in readers:
        reader.start()
        assert reader.is_open.wait(30)
    done = threading.Event()

    def publisher(number):
        def publish():
            for index, data in enumerate(published_by(number)):
                topics.publish(NAMES[index % len(NAMES)], Event(data))

        return publish

    def churn():
        # Streams of requests that come and go, some of them never started.
        while not done.is_set():
            streams = [topics.stream(NAMES) for _ in range(5)]
            streams[0].data_to_send(0.0)
            streams[0].close()
            cycle = [streams.pop()]
            cycle.append(cycle)
            gc.collect(0)

    churning = threading.Thread(target=churn, daemon=True)
    churning.start()
    run_all(*map(publisher, range(PUBLISHERS)))
    done.set()
    churning.join(30)
    for reader in readers:
        while len(reader.received) < PUBLISHERS * EVENTS and reader.is_alive():
            reader.join(0.001)
    topics.close()
    for reader in readers:
        reader.join(30)

    assert not any(reader.is_alive() for reader in [*readers, churning])
    for reader in readers:
        *events, last = reader.received
        assert "over" == last
        assert PUBLISHERS * EVENTS == len(events)
        by_source = defaultdict(list)
        for data in events:
            number = int(data.split()[1])
            by_source[data.split()[0], number % len(NAMES)].append(number)
        for (_, topic), numbers in by_source.items():
            assert list(range(topic, EVENTS, len(NAMES))) == numbers


def test_streams_end_while_they_publish(switching):
    """A stream's functions may publish, while another thread ends all streams."""
    bye = CloseMessage(Event("over", "bye"), 5_000)
    topics = Topics(large_history, close_message=lambda: bye, signals=False)

    def hello(info):
        topics.publish("b", Event("opened"))
        return Event(info.outcome, "hello")

    readers = [Reader(topics.stream(["a", "b"], hello=hello)) for _ in range(20)]
    for reader in readers:
        reader.start()
    for reader in readers:
        assert reader.is_open.wait(30)
    run_all(topics.close, topics.close, lambda: topics.publish("a", Event("late")))
    for reader in readers:
        reader.join(30)

    assert not any(reader.is_alive() for reader in readers)
    assert ["over"] * 20 == [reader.received[-1] for reader in readers]
