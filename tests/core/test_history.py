"""The history of a topic: exactly the missing events, or the snapshot."""

from __future__ import annotations

from math import inf
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from roundel._cursor import INVALID_POSITION, MAX_OFFSET, Cursor, Position
from roundel._encoded_event import Delta, EventOrFactory
from roundel._errors import LocalProtocolError
from roundel._event import Event, encode
from roundel._history import History, Replay, ResumeOutcome


def at(offset: int, epoch: str = "e") -> Position:
    return Position(epoch, offset)


def chunk(data: str, offset: int, epoch: str = "e") -> bytes:
    return encode(Event(data, id=str(Cursor({"": at(offset, epoch)}))))


def filled(count: int, **bounds: Any) -> History:
    """Return a history of *count* events, one per second."""
    history = History("e", **bounds)
    for offset in range(1, count + 1):
        history.append(Event(f"event {offset}"), now=float(offset))
    return history


def replayed_chunks(
    history: History, position: Position | None, now: float = 0.0
) -> list[bytes]:
    return [event.chunk for event in history.since(position, now=now).events]


class Factory:
    """A factory of an event that counts its calls; it is false as a boolean."""

    def __init__(self, data: str) -> None:
        self.data = data
        self.calls = 0

    def __call__(self) -> Event:
        self.calls += 1
        return Event(self.data)

    def __bool__(self) -> bool:
        return False


# since().


@pytest.mark.parametrize(
    ("position", "outcome", "offsets"),
    [
        pytest.param(None, "snapshot", [3, 4, 5], id="new"),
        pytest.param(INVALID_POSITION, "reset", [3, 4, 5], id="invalid"),
        pytest.param(at(4, "old"), "reset", [3, 4, 5], id="another epoch"),
        pytest.param(at(6), "reset", [3, 4, 5], id="ahead"),
        pytest.param(at(0), "snapshot", [3, 4, 5], id="evicted"),
        pytest.param(at(1), "snapshot", [3, 4, 5], id="one before the oldest"),
        pytest.param(at(2), "replayed", [3, 4, 5], id="right before the oldest"),
        pytest.param(at(3), "replayed", [4, 5], id="the oldest"),
        pytest.param(at(4), "replayed", [5], id="one behind"),
        pytest.param(at(5), "current", [], id="the newest"),
    ],
)
def test_since(
    position: Position | None, outcome: ResumeOutcome, offsets: list[int]
) -> None:
    """Each position has one right answer."""
    history = filled(2, capacity=3)
    history.append(Event("event 3"), snapshot=Event("event 3"), now=3.0)
    history.append(Event("event 4"), now=4.0)
    history.append(Event("event 5"), now=5.0)
    replay = history.since(position, now=5.0)

    assert outcome == replay.outcome
    assert offsets == [event.position.offset for event in replay.events]
    assert [chunk(f"event {n}", n) for n in offsets] == [
        event.chunk for event in replay.events
    ]
    assert at(5) == replay.position
    assert (outcome in ("current", "replayed")) == replay.is_contiguous


def test_initial_snapshot() -> None:
    """A history that starts with a snapshot replays it and the events after it."""
    history = History("e", offset=7, snapshot=Event("state"))
    history.append(Event("more"), now=0.0)

    assert [chunk("state", 7), chunk("more", 8)] == replayed_chunks(history, None)
    assert "snapshot" == history.since(at(6), now=0.0).outcome


def test_without_a_snapshot() -> None:
    """Without a snapshot the answer is the head's position, without events."""
    history = filled(3, capacity=1)

    expected = Replay("snapshot", (), at(3), is_contiguous=False)
    assert expected == history.since(at(1), now=3.0)


def test_snapshot_older_than_the_ring() -> None:
    """A snapshot below the ring is not used: events after it are missing."""
    history = History("e", snapshot=Event("state"), capacity=2)
    history.append(Event("event 1"), now=0.0)
    history.append(Event("event 2"), now=0.0)
    before = replayed_chunks(history, None)
    history.append(Event("event 3"), now=0.0)

    assert [chunk("state", 0), chunk("event 1", 1), chunk("event 2", 2)] == before
    assert [] == replayed_chunks(history, None)


def test_start() -> None:
    """A history with a start is a log: it precedes the ring if no snapshot can."""
    history = History("e", start=Event("", "clear"), capacity=2)
    empty = replayed_chunks(history, None)
    for number in range(1, 4):
        history.append(Event(f"line {number}"))
    lines = [chunk("line 2", 2), chunk("line 3", 3)]
    late = history.since(at(0), now=0.0)
    clear = [encode(Event("", "clear", id=f"e.{offset}")) for offset in range(2)]

    assert [clear[0]] == empty
    assert [clear[1], *lines] == replayed_chunks(history, None)
    assert [clear[1], *lines] == replayed_chunks(history, INVALID_POSITION)
    assert [clear[1], *lines] == [event.chunk for event in late.events]
    assert ("snapshot", at(3)) == (late.outcome, late.position)
    assert lines == replayed_chunks(history, at(1))


def test_start_that_cannot_be_encoded() -> None:
    """The constructor raises the error of a start, which each subscriber would get."""
    with pytest.raises(LocalProtocolError, match="id: expected none"):
        History("e", start=WITH_ID)


def test_given_offsets() -> None:
    """Offsets may skip numbers; there is no event in between."""
    history = History("e", offset=10)
    history.append(Event("a"), offset=20, now=0.0)
    history.append(Event("b"), offset=30, now=0.0)

    assert [chunk("a", 20), chunk("b", 30)] == replayed_chunks(history, at(10))
    assert [chunk("b", 30)] == replayed_chunks(history, at(25))
    assert at(30) == history.head


# The bounds.


def test_capacity() -> None:
    """The ring keeps *capacity* events and evicts the oldest first."""
    history = filled(5, capacity=2)

    assert [chunk("event 4", 4), chunk("event 5", 5)] == replayed_chunks(history, at(3))
    assert "snapshot" == history.since(at(2), now=5.0).outcome


def test_max_bytes() -> None:
    """The ring keeps at most *max_bytes* of encoded events, or none."""
    size = len(chunk("event 1", 1))
    history = filled(3, max_bytes=2 * size)
    ring = replayed_chunks(history, at(1))
    history.append(Event("x" * 2 * size), now=4.0)

    assert [chunk("event 2", 2), chunk("event 3", 3)] == ring
    assert "snapshot" == history.since(at(3), now=4.0).outcome
    assert at(4) == history.head


def test_append_without_a_time() -> None:
    """Only a history with a retention needs the time of an event."""
    history = History("e", capacity=2)
    for text in "abc":
        history.append(Event(text))
    replay = history.since(Position("e", 1), now=1e9)
    with pytest.raises(LocalProtocolError, match="now: expected a time"):
        History("e", retention=10.0).append(Event("a"))

    assert [Position("e", 2), Position("e", 3)] == [e.position for e in replay.events]


def test_retention() -> None:
    """An event can be replayed for less than *retention* seconds."""
    history = filled(3, retention=10.0)

    assert 3 == len(replayed_chunks(history, at(0), now=10.9))
    assert [] == replayed_chunks(history, at(0), now=11.0)
    assert 2 == len(replayed_chunks(history, at(1), now=11.0))
    assert "current" == history.since(at(3), now=99.0).outcome
    assert "snapshot" == history.since(at(2), now=99.0).outcome


def test_max_bytes_0() -> None:
    """With *max_bytes* 0 the ring is empty, and late subscribers get ``snapshot``."""
    history = filled(1, max_bytes=0)

    assert Replay("snapshot", (), at(1), is_contiguous=False) == history.since(
        at(0), now=1.0
    )


def test_default_capacity() -> None:
    """The default capacity is 256 events."""
    history = filled(300)

    assert 256 == len(replayed_chunks(history, at(44)))
    assert "snapshot" == history.since(at(43), now=300.0).outcome


def test_highest_offset() -> None:
    """An offset above the highest one of a cursor raises."""
    history = History("e", offset=MAX_OFFSET - 1)
    last = history.append(Event("last"), now=0.0)
    with pytest.raises(LocalProtocolError, match=f"got {MAX_OFFSET + 1}"):
        history.append(Event("beyond"), now=0.0)

    assert at(MAX_OFFSET) == last == history.head


def test_bounds_are_not_negative() -> None:
    """A bound below 0 raises."""
    for bounds in ({"capacity": -1}, {"max_bytes": -1}, {"retention": -1.0}):
        with pytest.raises(LocalProtocolError, match=r"^expected bounds of 0 or more$"):
            History("e", **bounds)  # type: ignore[arg-type]


# Capacity 0.


@pytest.mark.parametrize("position", [None, INVALID_POSITION, at(0), at(2), at(9)])
def test_capacity_0(position: Position | None) -> None:
    """With capacity 0 every position gets the newest event alone."""
    history = filled(3, capacity=0)

    assert [chunk("event 3", 3)] == replayed_chunks(history, position)
    assert [] == replayed_chunks(history, at(3))


def test_capacity_0_outcome() -> None:
    """With capacity 0 a late position is ``replayed``, since nothing is lost."""
    history = filled(3, capacity=0)
    outcomes = [
        history.since(position, now=0.0).outcome
        for position in (None, INVALID_POSITION, at(1), at(3))
    ]

    assert ["snapshot", "reset", "replayed", "current"] == outcomes


def test_capacity_0_with_a_snapshot() -> None:
    """A snapshot given with the event is sent instead of the event."""
    history = History("e", capacity=0)
    history.append(Event("change"), snapshot=Event("state"), now=0.0)

    assert [chunk("state", 1)] == replayed_chunks(history, at(0))


# advance().


def test_advance() -> None:
    """A running stream sends nothing for it, and then the next event alone."""
    history = filled(1)
    history.advance()
    result = history.has_events_after(at(1))
    silent = history.since(at(1), now=1.0)
    history.append(Event("event 3"), now=1.0)

    assert not result
    assert Replay("replayed", (), at(1), is_contiguous=True) == silent
    assert [chunk("event 3", 3)] == replayed_chunks(history, at(1))
    assert [chunk("event 3", 3)] == replayed_chunks(history, at(2))


def test_advance_with_capacity_0() -> None:
    """A running stream sends nothing for it; a new connection gets the snapshot."""
    history = filled(1, capacity=0)
    history.advance(snapshot=Event("later"), offset=5)

    assert not history.has_events_after(at(1))
    assert [chunk("later", 5)] == replayed_chunks(history, at(1))
    assert [chunk("later", 5)] == replayed_chunks(history, None)


@pytest.mark.parametrize(
    ("position", "result"),
    [
        pytest.param(None, True, id="new"),
        pytest.param(INVALID_POSITION, True, id="invalid"),
        pytest.param(at(3, "old"), True, id="another epoch"),
        pytest.param(at(2), True, id="one behind"),
        pytest.param(at(3), False, id="the newest event"),
        pytest.param(at(4), False, id="the head"),
        pytest.param(at(5), True, id="ahead"),
    ],
)
def test_has_events_after(position: Position | None, result: bool) -> None:
    """Only positions from the last event to the head have no events after them."""
    history = filled(3)
    history.advance()

    assert result == history.has_events_after(position)


# reset().


def test_reset() -> None:
    """A position of the old epoch gets ``reset`` and the snapshot."""
    history = filled(3)
    history.reset("f", snapshot=Event("state"))

    assert at(0, "f") == history.head
    assert history.has_events_after(at(3))
    assert "reset" == history.since(at(3), now=3.0).outcome
    assert [chunk("state", 0, "f")] == replayed_chunks(history, at(3))


@pytest.mark.parametrize("epoch", ["e", "ee", "", "!"])
def test_reset_to(epoch: str) -> None:
    """The new epoch must differ and may not be longer than the old one."""
    history = filled(3)
    with pytest.raises(LocalProtocolError, match="epoch: expected"):
        history.reset(epoch)

    assert at(3) == history.head
    assert 3 == len(replayed_chunks(history, at(0)))


# continue_as().


@pytest.mark.parametrize("max_bytes", [None, 1_000])
def test_continue_as(max_bytes: int | None) -> None:
    """The copy has the same events and snapshot, at positions of another epoch."""
    history = History("e", snapshot=Event("state 0"), max_bytes=max_bytes)
    history.append(Event("event 1"), now=0.0)
    history.continue_as("f")
    history.append(Event("event 2"), now=0.0)

    assert at(2, "f") == history.head
    assert "reset" == history.since(at(1), now=0.0).outcome
    assert ["state 0", "event 1", "event 2"] == [
        event.chunk.split(b"\n")[0].decode().removeprefix("data: ")
        for event in history.since(at(1), now=0.0).events
    ]
    assert [chunk("event 1", 1, "f"), chunk("event 2", 2, "f")] == replayed_chunks(
        history, at(0, "f")
    )


def test_continue_as_without_events() -> None:
    """A history without events and snapshot only changes its head."""
    history = History("e", offset=3)
    history.continue_as("f")

    assert at(3, "f") == history.head
    assert [] == replayed_chunks(history, at(3))


@pytest.mark.parametrize("epoch", ["e", "ee", "", "!"])
def test_continue_as_an_epoch(epoch: str) -> None:
    """The new epoch must differ and may not be longer than the old one."""
    history = filled(3)
    with pytest.raises(LocalProtocolError, match="epoch: expected"):
        history.continue_as(epoch)

    assert at(3) == history.head
    assert 3 == len(replayed_chunks(history, at(0)))


def test_max_bytes_after_continue_as() -> None:
    """A shorter epoch makes room for more events."""
    history = History("ee", max_bytes=3 * len(chunk("event 1", 1)))
    for number in (1, 2):
        history.append(Event(f"event {number}"), now=0.0)
    history.continue_as("e")
    history.append(Event("event 3"), now=0.0)

    assert 3 == len(replayed_chunks(history, at(0)))


# Factories.


def test_snapshot_is_made_once_if_needed() -> None:
    """A snapshot is made when it is first sent, and once."""
    unneeded, needed = Factory("a"), Factory("b")
    history = History("e", snapshot=unneeded, capacity=1)
    history.append(Event("event 1"), snapshot=needed, now=0.0)
    live = replayed_chunks(history, at(0))
    calls_before = needed.calls
    twice = [replayed_chunks(history, None), replayed_chunks(history, INVALID_POSITION)]

    assert [chunk("event 1", 1)] == live
    assert 0 == calls_before
    assert [[chunk("b", 1)]] * 2 == twice
    assert (0, 1) == (unneeded.calls, needed.calls)


def test_snapshot_of_a_false_factory() -> None:
    """A factory that is false as a boolean makes the snapshot."""
    factory = Factory("state")
    history = History("e", snapshot=factory, capacity=0)
    initial = replayed_chunks(history, None)
    history.append(Factory("change"), snapshot=Factory("later"), now=0.0)

    assert [chunk("state", 0)] == initial
    assert 1 == factory.calls
    assert [chunk("later", 1)] == replayed_chunks(history, None)


def test_factory_that_raised_is_called_again() -> None:
    """A factory that raised is called again by the next subscriber."""
    answers: list[Event] = []
    history = History("e", snapshot=lambda: answers.pop())
    with pytest.raises(IndexError):
        replayed_chunks(history, None)
    answers.append(Event("state"))

    assert [chunk("state", 0)] == replayed_chunks(history, None)


# Calls that raise and change nothing.

WITH_ID = Event("x", id="mine")
INVALID_TYPE = Event("x", type="two\nlines")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"event": WITH_ID}, "id: expected none", id="event with id"),
        pytest.param(
            {"event": Event("x"), "snapshot": WITH_ID},
            "id: expected none",
            id="snapshot with id",
        ),
        pytest.param(
            {"event": Event("x"), "offset": 2},
            f"offset: expected 3 to {MAX_OFFSET}, got 2",
            id="offset of the head",
        ),
        pytest.param(
            {"event": Event("x"), "offset": MAX_OFFSET + 1},
            f"got {MAX_OFFSET + 1}",
            id="offset too high",
        ),
        pytest.param(
            {"event": INVALID_TYPE}, "type: expected a single", id="unwritable"
        ),
        pytest.param({"event": lambda: WITH_ID}, "id: expected none", id="made, id"),
    ],
)
@pytest.mark.parametrize("capacity", [0, 9])
def test_invalid_append(arguments: dict[str, Any], message: str, capacity: int) -> None:
    """An event that cannot be sent raises, and the history is unchanged."""
    size = len(chunk("event 1", 1))
    history = filled(2, max_bytes=3 * size, capacity=capacity)
    with pytest.raises(LocalProtocolError, match=message):
        history.append(**arguments, now=0.0)

    # No bytes of the ring are lost.
    assert at(3) == history.append(Event("event 3"), now=0.0)
    expected = [1, 2, 3] if capacity else [3]
    assert [chunk(f"event {n}", n) for n in expected] == replayed_chunks(history, at(0))


@pytest.mark.parametrize("offset", [None, 5])
def test_invalid_advance(offset: int | None) -> None:
    """`advance()` with an invalid argument does not move the head."""
    history = filled(2)
    with pytest.raises(LocalProtocolError, match="id: expected none"):
        history.advance(snapshot=WITH_ID, offset=offset)
    with pytest.raises(LocalProtocolError, match="offset: expected 3"):
        history.advance(offset=0)

    assert at(2) == history.head


def test_invalid_reset() -> None:
    """`reset()` with an invalid argument keeps the old epoch."""
    history = filled(2)
    with pytest.raises(LocalProtocolError, match="id: expected none"):
        history.reset("f", snapshot=WITH_ID)
    with pytest.raises(LocalProtocolError, match="offset: expected 0"):
        history.reset("f", offset=-1)

    assert at(2) == history.head
    assert [chunk("event 2", 2)] == replayed_chunks(history, at(1))


def test_factory_with_an_id() -> None:
    """A factory's event with an id raises when it is made."""
    history = History("e", snapshot=lambda: WITH_ID)
    with pytest.raises(LocalProtocolError, match=r"^id: expected none"):
        replayed_chunks(history, None)


# The model: a list of all events, and the rules.


@attrs.frozen
class Logged:
    offset: int
    data: str
    time: float


class HistoryModel(RuleBasedStateMachine):
    """A history answers each position as the list of all events does."""

    capacity: int
    is_log: bool
    max_bytes: int | None
    retention: float

    @initialize(
        capacity=st.integers(0, 5),
        max_bytes=st.none() | st.integers(0, 120),
        retention=st.just(inf) | st.integers(0, 6),
        offset=st.integers(0, 3),
        snapshot=st.booleans(),
        is_log=st.booleans(),
    )
    def begin(
        self,
        capacity: int,
        max_bytes: int | None,
        retention: float,
        offset: int,
        snapshot: bool,
        is_log: bool,
    ) -> None:
        self.is_log = is_log
        self.capacity, self.max_bytes = capacity, max_bytes
        self.retention = retention
        self.now = 0.0
        self.epoch = "e0"
        self.epochs = 0
        self.made = 0
        self.start_epoch(offset, snapshot)
        self.history = History(
            "e0",
            offset=offset,
            snapshot=self.factory("start") if snapshot else None,
            start=Event("clear") if is_log else None,
            capacity=capacity,
            max_bytes=max_bytes,
            retention=retention,
        )

    def start_epoch(self, offset: int, snapshot: bool) -> None:
        self.log: list[Logged] = []
        self.start = self.head = offset
        self.state = Logged(offset, "start", inf) if snapshot else None

    def factory(self, data: str) -> EventOrFactory:
        calls: list[str] = []

        def make() -> Event:
            assert not calls, "made twice"
            calls.append(data)
            return Event(data)

        return make

    @rule(
        size=st.integers(0, 20),
        step=st.sampled_from([None, 1, 2]),
        snapshot=st.booleans(),
        late=st.booleans(),
    )
    def append(self, size: int, step: int | None, snapshot: bool, late: bool) -> None:
        offset = self.head + (step or 1)
        data = f"{offset}:{'x' * size}"
        state = f"state {offset}" if snapshot else None
        position = self.history.append(
            self.factory(data) if late else Event(data),
            now=self.now,
            offset=step and offset,
            snapshot=self.factory(state) if state else None,
        )
        self.head = offset
        self.log.append(Logged(offset, data, self.now))
        if state or self.capacity == 0:
            self.state = Logged(offset, state or data, inf)

        assert Position(self.epoch, offset) == position

    @rule(step=st.sampled_from([None, 1, 3]), snapshot=st.booleans())
    def advance(self, step: int | None, snapshot: bool) -> None:
        self.head += step or 1
        data = f"silent {self.head}"
        self.history.advance(
            offset=step and self.head, snapshot=Event(data) if snapshot else None
        )
        if snapshot:
            self.state = Logged(self.head, data, inf)

    @rule(step=st.sampled_from([None, 1, 3]))
    def skip(self, step: int | None) -> None:
        offset = self.head + (step or 1)
        self.history.skip_to_snapshot(
            self.factory(f"state {offset}"), offset=step and offset
        )
        self.start_epoch(offset, True)
        self.state = Logged(offset, f"state {offset}", inf)

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.log)
    @rule(offset=st.integers(0, 3), snapshot=st.booleans())
    def reset(self, offset: int, snapshot: bool) -> None:
        self.epochs += 1
        self.epoch = "ef"[self.epochs % 2] + str(self.epochs % 10)
        state = self.factory("start") if snapshot else None
        self.history.reset(self.epoch, offset=offset, snapshot=state)
        self.start_epoch(offset, snapshot)

    @rule(back=st.integers(0, 3))
    def call_with_invalid_arguments(self, back: int) -> None:
        for call in (
            lambda: self.history.append(WITH_ID, now=self.now),
            lambda: self.history.append(Event("x"), now=self.now, snapshot=WITH_ID),
            lambda: self.history.append(
                Event("x"), now=self.now, offset=self.head - back
            ),
            lambda: self.history.advance(offset=self.head - back),
            lambda: self.history.reset(self.epoch),
            lambda: self.history.reset("g0", snapshot=WITH_ID),
            lambda: self.history.append(INVALID_TYPE, now=self.now),
        ):
            with pytest.raises(LocalProtocolError):
                call()

    # The rules.

    def chunk(self, logged: Logged) -> bytes:
        return chunk(logged.data, logged.offset, self.epoch)

    def ring(self) -> list[Logged]:
        """Return the longest suffix of the log within all bounds."""
        ring: list[Logged] = []
        for logged in reversed(self.log):
            longer = [logged, *ring]
            size = sum(len(self.chunk(one)) for one in longer)
            if (
                len(longer) > self.capacity
                or (self.max_bytes is not None and size > self.max_bytes)
                or logged.time + self.retention <= self.now
            ):
                break
            ring = longer
        return ring

    def after(self, offset: int) -> list[Logged] | None:
        """Return all events after *offset*, or `None` if one is lost."""
        missed = [logged for logged in self.log if logged.offset > offset]
        ring = self.ring()
        return missed if all(logged in ring for logged in missed) else None

    def snapshot_replay(self) -> list[Logged]:
        rest = None if self.state is None else self.after(self.state.offset)
        if self.state is not None and rest is not None:
            return [self.state, *rest]
        if not self.is_log:
            return []
        ring = self.ring()
        older = [logged.offset for logged in self.log if logged not in ring]
        return [Logged(older[-1] if older else self.start, "clear", inf), *ring]

    def answer(self, position: Position | None) -> tuple[ResumeOutcome, list[Logged]]:
        if position is None:
            return "snapshot", self.snapshot_replay()
        if position.epoch != self.epoch or position.offset > self.head:
            return "reset", self.snapshot_replay()
        if position.offset == self.head:
            return "current", []
        if self.capacity == 0:
            return "replayed", self.snapshot_replay()
        missed = self.after(position.offset)
        if missed is None or position.offset < self.start:
            return "snapshot", self.snapshot_replay()
        return "replayed", missed

    @invariant()
    def every_answer_is_right(self) -> None:
        positions = [None, INVALID_POSITION, Position("zz", self.head)]
        offsets = range(max(0, self.head - 12), self.head + 3)
        positions += [Position(self.epoch, offset) for offset in offsets]
        for position in positions:
            outcome, expected = self.answer(position)
            replay = self.history.since(position, now=self.now)
            actual = [event.chunk for event in replay.events]

            assert outcome == replay.outcome, position
            assert [self.chunk(logged) for logged in expected] == actual, position
            # advance() moves no subscriber.
            if expected:
                expected_position = Position(self.epoch, expected[-1].offset)
            else:
                expected_position = (
                    position if replay.is_contiguous else self.history.head
                )
            assert expected_position == replay.position


class NightlyHistoryModel(HistoryModel):
    """The same property with more examples."""


TestHistoryModel = pytest.mark.slow(HistoryModel.TestCase)
TestHistoryModel.settings = settings(
    max_examples=100, stateful_step_count=25, deadline=None
)
TestNightlyHistoryModel = pytest.mark.nightly(NightlyHistoryModel.TestCase)
TestNightlyHistoryModel.settings = settings(
    max_examples=10_000, stateful_step_count=50, deadline=None
)


# single_event_after().


@given(
    st.integers(0, 3),
    st.lists(
        st.sampled_from(["add", "advance", "skip", "reset"]),
        max_size=8,
    ),
    st.integers(0, 9),
    st.sampled_from([inf, 5.0]),
)
def test_single_event_after_agrees_with_since(
    capacity: int, steps: list[str], offset: int, retention: float
) -> None:
    """`single_event_after()` agrees with `since()` if one event is missing.

    It is called after every step with the same position, so that the cache is used.
    """
    history = History(
        "e", capacity=capacity, retention=retention, snapshot=Event("state")
    )
    position = Position("e", offset)
    for step in steps:
        match step:
            case "add":
                delta = Delta(lambda base: Event(f"from {base}"))
                history.append(delta, now=0.0, snapshot=Event("state"))
            case "advance":
                history.advance(snapshot=Event("state"))
            case "skip":
                history.skip_to_snapshot(Event("state"))
            case "reset":
                history.reset("f" if history.head.epoch == "e" else "e")
        result = history.single_event_after(position)
        assert result == history.single_event_after(position)
        if result is not None:
            replay = history.since(position, now=0.0)
            (event,) = replay.events

            assert history.has_events_after(position)
            assert "replayed" == replay.outcome
            event = event.rebased_on(position)
            assert (event.chunk, replay.position, ("message",)) == result


@pytest.mark.parametrize("capacity", [0, 1, 3])
def test_single_event_after(capacity: int) -> None:
    """A position one event behind gets that event's chunk and position."""
    history = History("e", capacity=capacity)
    history.append(Event("1"), now=0.0)
    history.append(Event("2"), now=0.0)
    result = history.single_event_after(Position("e", 1))

    assert (b"data: 2\nid: e.2\n\n", Position("e", 2), ("message",)) == result
    assert history.single_event_after(Position("f", 1)) is None


def test_single_event_after_below_the_ring() -> None:
    """A position below the ring gets `None`."""
    history = History("e", capacity=1)
    history.append(Event("1"), now=0.0)
    history.append(Event("2"), now=0.0)

    assert history.single_event_after(Position("e", 0)) is None


def test_skip_to_snapshot() -> None:
    """`skip_to_snapshot()` sends the snapshot to every older position."""
    history = History("e", capacity=5)
    history.append(Event("1"), now=0.0)
    history.skip_to_snapshot(Event("state"), offset=4)
    history.append(Event("5"), now=0.0)
    replay = history.since(at(1), now=0.0)

    assert history.has_events_after(at(1))
    assert ("snapshot", at(5)) == (replay.outcome, replay.position)
    assert [chunk("state", 4), chunk("5", 5)] == replayed_chunks(history, at(1))
    assert [chunk("5", 5)] == replayed_chunks(history, at(4))


def test_delta_is_made_once_between_two_changes() -> None:
    """Subscribers with one position share a delta, and a change forgets its content."""
    made: list[tuple[int, int]] = []

    def delta(number: int) -> Delta:
        def make(base: int) -> Event:
            made.append((number, base))
            return Event(f"{number} from {base}")

        return Delta(make)

    history = History("e")
    for number in (1, 2):
        history.append(delta(number))

    def replay(offset: int | None) -> list[bytes]:
        previous = None if offset is None else Position("e", offset)
        chunks = []
        for event in history.since(previous or Position("e", 0), now=0.0).events:
            chunks.append(history.rebased(event, previous).chunk)
            previous = event.position
        return chunks

    assert replay(0) == replay(0) == replay(None) == replay(None)
    assert [(1, 0), (2, 1), (1, 0)] == made
    made.clear()
    history.append(delta(3))
    assert 3 == len(replay(0))
    assert [(1, 0), (2, 1), (3, 2)] == made


def test_bound_of_bytes_after_continue_as() -> None:
    """A history that continues as another epoch keeps its bound, also with deltas."""
    history = History("first", max_bytes=3 * len(b"data: 1\nid: first.1\n\n"))
    for number in range(1, 4):
        history.append(Delta(lambda base, number=number: Event(str(number))))
    history.continue_as("other")
    for _ in range(5):
        history.append(Event("x"))

    events = history.since(Position("other", 5), now=0.0)
    assert ("replayed", 3) == (events.outcome, len(events.events))
