"""Both drivers of a stream send the same events: task and dispatcher."""

from __future__ import annotations

import socket
from contextlib import aclosing, nullcontext

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from roundel import CloseMessage, Cursor, Delta, Event, History, Parser, Stream
from roundel_adapters.driver import iter_chunks
from roundel_adapters.server.dispatcher import dispatcher as dispatcher_module
from roundel_adapters.server.dispatcher.dispatcher import StreamDispatcher
from roundel_adapters.wakeup import Wakeup

pytestmark = pytest.mark.skipif(
    not dispatcher_module.IS_SUPPORTED, reason="without epoll"
)

# A few of these fill the smallest socket buffer of the kernel.
PADDING = "x" * 3_000


class Topic:
    """A topic of one number, with snapshots and deltas."""

    def __init__(self, *, capacity):
        self.wakeup = Wakeup()
        self._state = self.current = 0
        self._epochs = 0
        self.history = History("e0", snapshot=self._snapshot(), capacity=capacity)
        self._is_ring = capacity > 0

    def _snapshot(self):
        return Event(f"{self._state} {PADDING}", "state")

    def publish(self):
        self._state += 1
        now, state = trio.current_time(), self._snapshot()
        if self._is_ring:
            after = self._state
            change = Delta(lambda base: Event(f"{base} {after} {PADDING}", "change"))
            self.history.append(
                change, now=now, offset=self._state, snapshot=lambda: state
            )
        else:
            self.history.append(state, now=now, offset=self._state)
        self.current = self._state
        self.wakeup.notify()

    def skip(self):
        """Advance the head without an event."""
        self.history.advance(offset=self._state + 1)
        self._state += 1
        self.wakeup.notify()

    def reset(self):
        self._epochs += 1
        self._state = self.current = 0
        self.history.reset(f"e{self._epochs}", snapshot=self._snapshot())
        self.wakeup.notify()


@attrs.define
class Page:
    """A page that fails at a missing or repeated event."""

    epoch: str = ""
    v: int = -1
    last_event_id: str = ""
    received: list = attrs.field(factory=list)

    def receive(self, event):
        self.received.append((event.type, event.data.split()[0], event.id))
        self.last_event_id = event.id or self.last_event_id
        position = Cursor.parse(event.id).position("") if event.id else None
        match event.type, event.data.split()[:-1]:
            case "reset", _:
                self.v = -1
            case "state", [v]:
                # A reconnect after `skip` gets the same state again.
                assert self.epoch != position.epoch or self.v <= int(v)
                self.epoch, self.v = position.epoch, int(v)
            case "change", [base, v]:
                assert (self.epoch, self.v) == (position.epoch, int(base))
                self.v = int(v)


def gap(topic, outcome):
    return Event("forget", "reset") if outcome == "reset" else None


class Subscriber:
    """A subscriber that resumes after a cut."""

    def __init__(self, topic):
        self.topic = topic
        self.page = Page()
        self.is_stalled = False

    def open(self):
        self.parser = Parser()
        last = self.page.last_event_id
        now = trio.current_time()
        self.stream = Stream(self.topic.history, now=now, last_event_id=last, gap=gap)
        self.start()

    def receive(self, data):
        for event in self.parser.receive_data(data):
            self.page.receive(event)

    def end(self):
        self.stream.close(CloseMessage(Event("over x", "bye")))
        self.topic.wakeup.notify()


class TaskSubscriber(Subscriber):
    """A subscriber whose stream is driven by a task."""

    def __init__(self, topic, nursery):
        super().__init__(topic)
        self._nursery = nursery
        self._flowing = trio.Event()

    def start(self):
        self._scope = trio.CancelScope()
        self._nursery.start_soon(self._run, self._scope, self.stream)

    async def _run(self, scope, stream):
        with scope:
            async with aclosing(iter_chunks(stream, self.topic.wakeup)) as chunks:
                async for chunk in chunks:
                    while self.is_stalled:
                        await self._flowing.wait()
                    self.receive(chunk)

    def cut(self):
        self._scope.cancel()
        self.stream.close()

    def stall(self):
        self.is_stalled = True

    def read(self):
        if self.is_stalled:
            self.is_stalled = False
            self._flowing.set()
            self._flowing = trio.Event()


class DispatcherSubscriber(Subscriber):
    """A subscriber whose stream is driven by the dispatcher, over a small buffer."""

    def __init__(self, topic, dispatcher):
        super().__init__(topic)
        self._dispatcher = dispatcher

    def start(self):
        ours, self.sock = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        ours.setblocking(False)
        self.sock.setblocking(False)
        self._dispatcher.add(
            ours, self.stream, self.topic.wakeup, lifespan=nullcontext()
        )

    def cut(self):
        self.sock.close()

    def stall(self):
        self.is_stalled = True

    def read(self):
        self.is_stalled = False
        while self.sock.fileno() >= 0:
            try:
                data = self.sock.recv(1 << 20)
            except BlockingIOError:
                return
            if not data:
                self.sock.close()
            self.receive(data)


STEPS = st.lists(
    st.sampled_from(
        ["publish", "settle"] * 4
        + ["skip", "reset", "stall", "stall", "read", "cut", "end", "check"]
    ),
    max_size=40,
)


async def settle_all(subscribers):
    """Run until no subscriber that is not stalled receives anything more."""
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(200):
        before = [len(subscriber.page.received) for subscriber in subscribers]
        for subscriber in subscribers:
            if not subscriber.is_stalled:
                subscriber.read()
        await trio.testing.wait_all_tasks_blocked()
        if before == [len(subscriber.page.received) for subscriber in subscribers]:
            return


async def run_steps(steps, capacity):
    """Run *steps* with one subscriber per driver; return their pages."""
    topic, dispatcher = Topic(capacity=capacity), StreamDispatcher()
    async with trio.open_nursery() as nursery:
        await nursery.start(dispatcher.run)
        subscribers = [
            TaskSubscriber(topic, nursery),
            DispatcherSubscriber(topic, dispatcher),
        ]
        for subscriber in subscribers:
            subscriber.open()
        for step in [*steps, "check"]:
            await run_step(step, topic, subscribers)
        for subscriber in subscribers:
            subscriber.cut()
        await settle_all(subscribers)
        assert not len(dispatcher)
        nursery.cancel_scope.cancel()
    return [subscriber.page for subscriber in subscribers]


async def run_step(step, topic, subscribers):
    match step:
        case "publish" | "skip" | "reset":
            getattr(topic, step)()
        case "stall":
            for subscriber in subscribers:
                subscriber.stall()
        case "read" | "check":
            for subscriber in subscribers:
                subscriber.read()
        case "cut" | "end":
            for subscriber in subscribers:
                subscriber.end() if step == "end" else subscriber.cut()
            await settle_all(subscribers)
            for subscriber in subscribers:
                subscriber.cut()
                subscriber.is_stalled = False
                subscriber.open()
    if step in ("settle", "check", "cut", "end"):
        await settle_all(subscribers)
    if step == "check":
        now = topic.history.head.epoch, topic.current
        assert [now] * 2 == [
            (subscriber.page.epoch, subscriber.page.v) for subscriber in subscribers
        ]


def run(steps, capacity):
    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(run_steps, steps, capacity, clock=clock)


KINDS = pytest.mark.parametrize("capacity", [0, 4, 64], ids=["latest", "short", "ring"])


@pytest.mark.slow
@KINDS
def test_both_drivers_reach_the_same_state(capacity):
    """After stalls, cuts and ends both subscribers get the current state."""

    @settings(max_examples=120, deadline=None)
    @given(STEPS)
    def check(steps):
        run(steps, capacity)

    check()


@pytest.mark.slow
@KINDS
def test_both_drivers_send_the_same_events(capacity):
    """Subscribers that never stall receive the same events with the same ids."""

    @settings(max_examples=120, deadline=None)
    @given(STEPS)
    def check(steps):
        flowing = [step for step in steps if step not in ("stall", "read")]
        each = [[step, "settle"] for step in flowing]
        one, two = run([step for pair in each for step in pair], capacity)

        assert one.received == two.received

    check()
