"""Readers of topics miss nothing without a word, in any order and in any thread."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections import Counter
from contextlib import aclosing, closing
from random import Random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from roundel import CloseMessage, Event, History, Parser
from roundel_adapters.driver import iter_chunks, iter_chunks_in_thread
from roundel_adapters.live_stream import responding
from roundel_adapters.topics import TooManyTopics, Topics

BYE = CloseMessage(Event("over", "bye"), 7_000)
NAMES = ["a", "b", "c"]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class App:
    """Topics of numbers: each event is the next number of its topic."""

    def __init__(self, *, capacity=8, **options):
        self.numbers = Counter()
        self.made = Counter()
        self.capacity = capacity
        self.clock = Clock()
        self.topics = Topics(
            self.make_history, close_message=lambda: BYE, signals=False, **options
        )
        self._publishing = threading.Lock()

    def make_history(self, name, epoch):
        self.made[name] += 1
        snapshot = self._state(name)
        return History(epoch, capacity=self.capacity, snapshot=snapshot)

    def _state(self, name):
        return Event(f"{name} {self.numbers[name]}", "state")

    def publish(self, name):
        # The number, the event and its snapshot belong together.
        with self._publishing:
            self.numbers[name] += 1
            event = Event(f"{name} {self.numbers[name]}", "change")
            self.topics.publish(name, event, snapshot=self._state(name))


def outcomes_of(resume):
    return Event(" ".join(f"{n}={o}" for n, o in resume.outcomes.items()), "hello")


class Reader:
    """A client that fails at an event that it cannot explain."""

    def __init__(self, app, names):
        self.app = app
        self.names = names
        self.last_event_id = None
        self.numbers = {}
        self.may_jump = set()
        self.outcomes = Counter()
        self.is_over = False
        self.connect()

    def connect(self):
        self.parser = Parser()
        self.stream = self.app.topics.stream(
            self.names,
            last_event_id=self.last_event_id,
            hello=outcomes_of,
            gap=lambda name, outcome: Event(name, "gap"),
            max_write=100,
        )

    def receive(self, data):
        for event in self.parser.receive_data(data):
            self._on_event(event)
            self.last_event_id = self.parser.last_event_id or self.last_event_id

    def _on_event(self, event):
        match event.type:
            case "hello":
                for name, outcome in (p.split("=") for p in event.data.split()):
                    self.outcomes[outcome] += 1
                    if outcome in ("snapshot", "reset"):
                        self.may_jump.add(name)
            case "gap":
                self.may_jump.add(event.data)
            case "state":
                name, number = event.data.split()
                assert name in self.may_jump
                self.may_jump.discard(name)
                self.numbers[name] = int(number)
            case "change":
                name, number = event.data.split()
                assert name not in self.may_jump
                assert int(number) == self.numbers[name] + 1
                self.numbers[name] = int(number)
            case "bye":
                self.is_over = True

    def read(self):
        while data := self.stream.data_to_send(self.app.clock.now):
            self.receive(b"".join(data))

    def check(self):
        self.read()
        assert self.numbers == {name: self.app.numbers[name] for name in self.names}

    def cut(self):
        self.stream.close()
        self.connect()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from(NAMES)),
        st.tuples(st.just("publish"), st.sampled_from(NAMES)),
        st.tuples(st.just("open"), st.sets(st.sampled_from(NAMES), min_size=1)),
        st.tuples(
            st.sampled_from(["read", "part", "cut", "leave", "vanish"]),
            st.integers(0, 5),
        ),
        st.tuples(st.just("wait"), st.sampled_from([1, 59, 61])),
    ),
    max_size=60,
)


def run_step(app, readers, step):
    match step:
        case "publish", name:
            app.publish(name)
        case "open", names:
            readers.append(Reader(app, sorted(names)))
        case "wait", seconds:
            app.clock.now += seconds
        case action, number if readers:
            reader = readers[number % len(readers)]
            if action == "read":
                reader.check()
            elif action == "part":
                reader.receive(b"".join(reader.stream.data_to_send(app.clock.now)))
            elif action == "cut":
                reader.cut()
            else:
                readers.remove(reader)
                if action == "leave":
                    reader.stream.close()


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [1, 2, 64])
@pytest.mark.parametrize("max_topics", [3, 100])
def test_each_reader_gets_the_suffix_or_an_honest_reset(capacity, max_topics):
    """After any steps each reader has the newest number, and no unexplained jump."""

    @settings(max_examples=100, deadline=None)
    @given(STEPS)
    def check(steps):
        app = App(capacity=capacity, max_topics=max_topics, max_idle=60.0)
        app.topics._clock = app.clock
        readers = []
        for step in steps:
            run_step(app, readers, step)
        for reader in readers:
            reader.check()
            reader.cut()
            reader.check()
        app.topics.close()
        for reader in readers:
            with app.topics.drain.track(reader.stream, reader.stream.wakeup):
                reader.read()
            reader.stream.close()

            assert reader.is_over
        references = [weakref.ref(reader.stream) for reader in readers]
        reader = None
        readers.clear()

        assert [None] * len(references) == [reference() for reference in references]
        assert not any(topic.streams for topic in app.topics._topics.values())

    check()


def test_dropped_topic_is_an_honest_reset():
    """A reader that comes back to a dropped topic gets `reset` and the state."""
    app = App(max_topics=1)
    reader = Reader(app, ["a"])
    app.publish("a")
    reader.check()
    reader.stream.close()
    app.publish("b")
    app.publish("b")
    assert ["b"] == list(app.topics)
    reader.connect()
    reader.check()

    assert {"snapshot": 1, "reset": 1} == reader.outcomes


def test_topic_in_a_stream_that_has_not_started_is_kept():
    """A topic is not dropped between `stream()` and the first write."""
    app = App(max_topics=2)
    reader = Reader(app, ["a"])
    app.publish("b")
    app.publish("c")
    assert ["a", "c"] == sorted(app.topics)
    app.publish("a")
    reader.check()

    assert 1 == app.made["a"]


def test_no_room_for_a_reader():
    """A stream for which there is no room leaves nothing, and works once there is."""
    app = App(max_topics=2)
    one = Reader(app, ["a", "b"])
    with pytest.raises(TooManyTopics):
        Reader(app, ["c"])
    one.check()
    one.stream.close()
    gc.collect()
    Reader(app, ["c"]).check()


# Threads and loops.

ROUNDS = 60


async def read_in_a_loop(app, seed, ended, sleep):
    """Read in a task until the end, and cut the connection at times."""
    reader, random = Reader(app, NAMES), Random(seed)
    while not reader.is_over:
        stream = reader.stream
        async with aclosing(iter_chunks(stream)) as chunks:
            with responding(stream):
                async for chunk in chunks:
                    reader.receive(chunk)
                    if random.random() < 0.05 and not ended.is_set():
                        break
                    if random.random() < 0.1:
                        await sleep(0)
        if not reader.is_over:
            reader.cut()
    return reader


def read_in_a_thread(app, seed, ended):
    reader, random = Reader(app, NAMES), Random(seed)
    while not reader.is_over:
        stream = reader.stream
        with closing(iter_chunks_in_thread(stream)) as chunks, responding(stream):
            for chunk in chunks:
                reader.receive(chunk)
                if random.random() < 0.05 and not ended.is_set():
                    break
        if not reader.is_over:
            reader.cut()
    return reader


def in_asyncio(app, seed, ended):
    return asyncio.run(read_in_a_loop(app, seed, ended, asyncio.sleep))


def in_trio(app, seed, ended):
    return trio.run(read_in_a_loop, app, seed, ended, trio.sleep)


@pytest.fixture
def quick_switches():
    """Let the interpreter switch threads at almost each step."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize("seed", range(3))
def test_threads_and_loops(seed):
    """Readers in threads and loops get each event of several publishing threads."""
    app, ended, readers = App(capacity=16), threading.Event(), []
    kinds = [in_asyncio, in_trio, read_in_a_thread] * 2

    def read(kind, number):
        readers.append(kind(app, 10 * seed + number, ended))

    def publish(number):
        random = Random(100 * seed + number)
        for _ in range(ROUNDS):
            app.publish(random.choice(NAMES))
            if random.random() < 0.02:
                gc.collect(0)

    reading = [
        threading.Thread(target=read, args=(kind, number))
        for number, kind in enumerate(kinds)
    ]
    publishing = [threading.Thread(target=publish, args=(n,)) for n in range(3)]
    for thread in [*reading, *publishing]:
        thread.start()
    for thread in publishing:
        thread.join(30)
    ended.set()
    wait_for_last_numbers(app)
    app.topics.close()
    for thread in reading:
        thread.join(30)

    assert len(kinds) == len(readers)
    for reader in readers:
        assert dict(app.numbers) == reader.numbers
    assert not any(topic.streams for topic in app.topics._topics.values())
    assert not app.topics.drain._streams


def wait_for_last_numbers(app):
    """Publish until each topic was published to, so that all readers know it."""
    for name in NAMES:
        app.publish(name)
    done = threading.Event()
    done.wait(0.3)
