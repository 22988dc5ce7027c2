"""Two drivers, one wire: whoever drives a stream, its reader is told the same."""

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
from roundel_adapters.server.dispatcher import dispatcher as direct
from roundel_adapters.server.dispatcher.dispatcher import StreamDispatcher
from roundel_adapters.wakeup import Wakeup

pytestmark = pytest.mark.skipif(not direct.IS_SUPPORTED, reason="without epoll")

# A few of them fill the smallest buffer that the kernel makes.
PADDING = "x" * 3_000


class Lane:
    """A history of a number, whose events say what they go on from."""

    def __init__(self, *, capacity):
        self.bell = Wakeup()
        self._state = self.told = 0
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
            change = Delta(lambda told: Event(f"{told} {after} {PADDING}", "change"))
            self.history.append(
                change, now=now, offset=self._state, snapshot=lambda: state
            )
        else:
            self.history.append(state, now=now, offset=self._state)
        self.told = self._state
        self.bell.notify()

    def pass_over(self):
        """Make a version that is silent: nothing that a reader is told changes."""
        self.history.advance(offset=self._state + 1)
        self._state += 1
        self.bell.notify()

    def reset(self):
        self._epochs += 1
        self._state = self.told = 0
        self.history.reset(f"e{self._epochs}", snapshot=self._snapshot())
        self.bell.notify()


@attrs.define
class Page:
    """Believes what it is told, and fails at a hole or a repetition."""

    epoch: str = ""
    v: int = -1
    last_event_id: str = ""
    told: list = attrs.field(factory=list)

    def hear(self, event):
        self.told.append((event.type, event.data.split()[0], event.id))
        self.last_event_id = event.id or self.last_event_id
        at = Cursor.parse(event.id).position("") if event.id else None
        match event.type, event.data.split()[:-1]:
            case "reset", _:
                self.v = -1
            case "state", [v]:
                # Who comes back behind a silent version is told the state once more.
                assert self.epoch != at.epoch or self.v <= int(v)
                self.epoch, self.v = at.epoch, int(v)
            case "change", [told, v]:
                assert (self.epoch, self.v) == (at.epoch, int(told))
                self.v = int(v)


def gap(lane, outcome):
    return Event("forget", "reset") if outcome == "reset" else None


class Reader:
    """Reads a lane, and comes back where it was when it is cut."""

    def __init__(self, lane):
        self.lane = lane
        self.page = Page()
        self.is_stalled = False

    def open(self):
        self.parser = Parser()
        last = self.page.last_event_id
        now = trio.current_time()
        self.stream = Stream(self.lane.history, now=now, last_event_id=last, gap=gap)
        self.start()

    def hear(self, data):
        for event in self.parser.receive_data(data):
            self.page.hear(event)

    def end(self):
        self.stream.close(CloseMessage(Event("over x", "bye")))
        self.lane.bell.notify()


class Pumped(Reader):
    """Is served by a task that sends, as an application does."""

    def __init__(self, lane, nursery):
        super().__init__(lane)
        self._nursery = nursery
        self._flowing = trio.Event()

    def start(self):
        self._scope = trio.CancelScope()
        self._nursery.start_soon(self._run, self._scope, self.stream)

    async def _run(self, scope, stream):
        with scope:
            async with aclosing(iter_chunks(stream, self.lane.bell)) as pieces:
                async for piece in pieces:
                    while self.is_stalled:
                        await self._flowing.wait()
                    self.hear(piece)

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


class Switched(Reader):
    """Is served by the switchboard, over a socket with a small buffer."""

    def __init__(self, lane, board):
        super().__init__(lane)
        self._board = board

    def start(self):
        ours, self.sock = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        ours.setblocking(False)
        self.sock.setblocking(False)
        self._board.add(
            ours, self.stream, self.lane.bell, lifespan=nullcontext(), chunked=False
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
            self.hear(data)


STEPS = st.lists(
    st.sampled_from(
        ["publish", "settle"] * 4
        + ["pass_over", "reset", "stall", "stall", "read", "cut", "end", "quiet"]
    ),
    max_size=40,
)


async def settled(readers):
    """Let what can happen without more time happen, to who does not stall."""
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(200):
        before = [len(reader.page.told) for reader in readers]
        for reader in readers:
            if isinstance(reader, Switched) and not reader.is_stalled:
                reader.read()
        await trio.testing.wait_all_tasks_blocked()
        if before == [len(reader.page.told) for reader in readers]:
            return


async def play(steps, capacity):
    """Play *steps* to a reader of each driver; return what they were told."""
    lane, board = Lane(capacity=capacity), StreamDispatcher()
    async with trio.open_nursery() as nursery:
        await nursery.start(board.run)
        readers = [Pumped(lane, nursery), Switched(lane, board)]
        for reader in readers:
            reader.open()
        for step in [*steps, "quiet"]:
            await take(step, lane, readers)
        for reader in readers:
            reader.cut()
        await settled(readers)
        assert not len(board)
        nursery.cancel_scope.cancel()
    return [reader.page for reader in readers]


async def take(step, lane, readers):
    match step:
        case "publish" | "pass_over" | "reset":
            getattr(lane, step)()
        case "stall":
            for reader in readers:
                reader.stall()
        case "read" | "quiet":
            for reader in readers:
                reader.read()
        case "cut" | "end":
            for reader in readers:
                reader.end() if step == "end" else reader.cut()
            await settled(readers)
            for reader in readers:
                reader.cut()
                reader.is_stalled = False
                reader.open()
    if step in ("settle", "quiet", "cut", "end"):
        await settled(readers)
    if step == "quiet":
        now = lane.history.head.epoch, lane.told
        assert [now] * 2 == [(reader.page.epoch, reader.page.v) for reader in readers]


def run(steps, capacity):
    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(play, steps, capacity, clock=clock)


KINDS = pytest.mark.parametrize("capacity", [0, 4, 64], ids=["latest", "short", "ring"])


@pytest.mark.slow
@KINDS
def test_readers_of_both_drivers_know_the_same(capacity):
    """Whatever stalls, is cut or ends: after a quiet moment both are up to date."""

    @settings(max_examples=120, deadline=None)
    @given(STEPS)
    def check(steps):
        run(steps, capacity)

    check()


@pytest.mark.slow
@KINDS
def test_readers_that_never_stall_are_told_the_same_in_the_same_order(capacity):
    """Event by event, with their ids."""

    @settings(max_examples=120, deadline=None)
    @given(STEPS)
    def check(steps):
        flowing = [step for step in steps if step not in ("stall", "read")]
        each = [[step, "settle"] for step in flowing]
        one, two = run([step for pair in each for step in pair], capacity)

        assert one.told == two.told

    check()
