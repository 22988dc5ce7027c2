"""One lane: the exact suffix, or what stands in for it, and never a gap."""

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


def frame(data: str, offset: int, epoch: str = "e") -> bytes:
    return encode(Event(data, id=str(Cursor({"": at(offset, epoch)}))))


def filled(count: int, **bounds: Any) -> History:
    """Return a history that stands at *count* after as many events, one a second."""
    history = History("e", **bounds)
    for offset in range(1, count + 1):
        history.append(Event(f"event {offset}"), now=float(offset))
    return history


def told(history: History, position: Position | None, now: float = 0.0) -> list[bytes]:
    return [entry.chunk for entry in history.since(position, now=now).events]


class Maker:
    """A function that makes an event, and counts how often it was asked to."""

    def __init__(self, data: str) -> None:
        self.data = data
        self.asked = 0

    def __call__(self) -> Event:
        self.asked += 1
        return Event(self.data)

    def __bool__(self) -> bool:
        return False


# What since() answers.


@pytest.mark.parametrize(
    ("position", "outcome", "offsets"),
    [
        pytest.param(None, "snapshot", [3, 4, 5], id="new"),
        pytest.param(INVALID_POSITION, "reset", [3, 4, 5], id="foreign"),
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
    """From each position there is one right answer."""
    history = filled(2, capacity=3)
    history.append(Event("event 3"), snapshot=Event("event 3"), now=3.0)
    history.append(Event("event 4"), now=4.0)
    history.append(Event("event 5"), now=5.0)
    replay = history.since(position, now=5.0)

    assert outcome == replay.outcome
    assert offsets == [entry.position.offset for entry in replay.events]
    assert [frame(f"event {n}", n) for n in offsets] == [
        entry.chunk for entry in replay.events
    ]
    assert at(5) == replay.position
    assert (outcome in ("current", "replayed")) == replay.is_contiguous


def test_snapshot_at_the_start() -> None:
    """A history that begins with a state tells it, and the events after it."""
    history = History("e", offset=7, snapshot=Event("state"))
    history.append(Event("more"), now=0.0)

    assert [frame("state", 7), frame("more", 8)] == told(history, None)
    assert "snapshot" == history.since(at(6), now=0.0).outcome


def test_nothing_stands_in() -> None:
    """Without a snapshot a reader that missed something is told where it now is."""
    history = filled(3, capacity=1)

    expected = Replay("snapshot", (), at(3), is_contiguous=False)
    assert expected == history.since(at(1), now=3.0)


def test_snapshot_older_than_the_ring() -> None:
    """A snapshot that the ring does not reach back to is never sent with a gap."""
    history = History("e", snapshot=Event("state"), capacity=2)
    history.append(Event("event 1"), now=0.0)
    history.append(Event("event 2"), now=0.0)
    reached = told(history, None)
    history.append(Event("event 3"), now=0.0)

    assert [frame("state", 0), frame("event 1", 1), frame("event 2", 2)] == reached
    assert [] == told(history, None)


def test_given_offsets() -> None:
    """Offsets may be a version of yours; what lies between two is no event."""
    history = History("e", offset=10)
    history.append(Event("a"), offset=20, now=0.0)
    history.append(Event("b"), offset=30, now=0.0)

    assert [frame("a", 20), frame("b", 30)] == told(history, at(10))
    assert [frame("b", 30)] == told(history, at(25))
    assert at(30) == history.head


# The bounds.


def test_capacity() -> None:
    """The ring keeps its capacity of events, and the oldest go first."""
    history = filled(5, capacity=2)

    assert [frame("event 4", 4), frame("event 5", 5)] == told(history, at(3))
    assert "snapshot" == history.since(at(2), now=5.0).outcome


def test_max_bytes() -> None:
    """The ring keeps at most *max_bytes* as they are written, or nothing at all."""
    size = len(frame("event 1", 1))
    history = filled(3, max_bytes=2 * size)
    kept = told(history, at(1))
    history.append(Event("x" * 2 * size), now=4.0)

    assert [frame("event 2", 2), frame("event 3", 3)] == kept
    assert "snapshot" == history.since(at(3), now=4.0).outcome
    assert at(4) == history.head


def test_retention() -> None:
    """An event can be replayed for less than *retention* seconds."""
    history = filled(3, retention=10.0)

    assert 3 == len(told(history, at(0), now=10.9))
    assert [] == told(history, at(0), now=11.0)
    assert 2 == len(told(history, at(1), now=11.0))
    assert "current" == history.since(at(3), now=99.0).outcome
    assert "snapshot" == history.since(at(2), now=99.0).outcome


def test_no_room() -> None:
    """A ring without room keeps nothing, and its readers are told so."""
    history = filled(1, max_bytes=0)

    assert Replay("snapshot", (), at(1), is_contiguous=False) == history.since(
        at(0), now=1.0
    )


def test_default_capacity() -> None:
    """A ring keeps 256 events unless it is told otherwise."""
    history = filled(300)

    assert 256 == len(told(history, at(44)))
    assert "snapshot" == history.since(at(43), now=300.0).outcome


def test_highest_offset() -> None:
    """A line goes on to the highest offset of a cursor, and no further."""
    history = History("e", offset=MAX_OFFSET - 1)
    last = history.append(Event("last"), now=0.0)
    with pytest.raises(LocalProtocolError, match=f"got {MAX_OFFSET + 1}"):
        history.append(Event("beyond"), now=0.0)

    assert at(MAX_OFFSET) == last == history.head


def test_bounds_are_not_negative() -> None:
    """A bound below 0 is refused."""
    for bounds in ({"capacity": -1}, {"max_bytes": -1}, {"retention": -1.0}):
        with pytest.raises(LocalProtocolError, match=r"^expected bounds of 0 or more$"):
            History("e", **bounds)  # type: ignore[arg-type]


# The latest wins.


@pytest.mark.parametrize("position", [None, INVALID_POSITION, at(0), at(2), at(9)])
def test_latest_wins(position: Position | None) -> None:
    """With capacity 0 the newest event is the state, wherever a reader comes from."""
    history = filled(3, capacity=0)

    assert [frame("event 3", 3)] == told(history, position)
    assert [] == told(history, at(3))


def test_latest_wins_outcome() -> None:
    """A late reader of a latest-wins lane missed nothing that it should have had."""
    history = filled(3, capacity=0)
    outcomes = [
        history.since(position, now=0.0).outcome
        for position in (None, INVALID_POSITION, at(1), at(3))
    ]

    assert ["snapshot", "reset", "replayed", "current"] == outcomes


def test_latest_wins_snapshot() -> None:
    """A snapshot that comes with the event is the state in its place."""
    history = History("e", capacity=0)
    history.append(Event("change"), snapshot=Event("state"), now=0.0)

    assert [frame("state", 1)] == told(history, at(0))


# The head moves without an event.


def test_silent_advance() -> None:
    """A running reader sees nothing of it; the next event is all it missed."""
    history = filled(1)
    history.advance()
    news = history.has_events_after(at(1))
    silent = history.since(at(1), now=1.0)
    history.append(Event("event 3"), now=1.0)

    assert not news
    assert Replay("replayed", (), at(1), is_contiguous=True) == silent
    assert [frame("event 3", 3)] == told(history, at(1))
    assert [frame("event 3", 3)] == told(history, at(2))


def test_silent_advance_of_the_latest() -> None:
    """A running reader sees nothing of it; one that connects gets the new state."""
    history = filled(1, capacity=0)
    history.advance(snapshot=Event("later"), offset=5)

    assert not history.has_events_after(at(1))
    assert [frame("later", 5)] == told(history, at(1))
    assert [frame("later", 5)] == told(history, None)


@pytest.mark.parametrize(
    ("position", "news"),
    [
        pytest.param(None, True, id="new"),
        pytest.param(INVALID_POSITION, True, id="foreign"),
        pytest.param(at(3, "old"), True, id="another epoch"),
        pytest.param(at(2), True, id="one behind"),
        pytest.param(at(3), False, id="the newest event"),
        pytest.param(at(4), False, id="the head"),
        pytest.param(at(5), True, id="ahead"),
    ],
)
def test_has_news(position: Position | None, news: bool) -> None:
    """There is news for all but those between the newest event and the head."""
    history = filled(3)
    history.advance()

    assert news == history.has_events_after(position)


# Another line.


def test_reset() -> None:
    """The readers of the old line are told to forget it."""
    history = filled(3)
    history.reset("f", snapshot=Event("state"))

    assert at(0, "f") == history.head
    assert history.has_events_after(at(3))
    assert "reset" == history.since(at(3), now=3.0).outcome
    assert [frame("state", 0, "f")] == told(history, at(3))


@pytest.mark.parametrize("epoch", ["e", "ee", "", "!"])
def test_reset_to(epoch: str) -> None:
    """The new epoch must be another one, and no longer than running streams expect."""
    history = filled(3)
    with pytest.raises(LocalProtocolError, match="epoch: expected"):
        history.reset(epoch)

    assert at(3) == history.head
    assert 3 == len(told(history, at(0)))


# Making and encoding.


def test_made_once_if_needed() -> None:
    """A snapshot that nobody needs is never made; one that many need, once."""
    unneeded, needed = Maker("a"), Maker("b")
    history = History("e", snapshot=unneeded, capacity=1)
    history.append(Event("event 1"), snapshot=needed, now=0.0)
    live = told(history, at(0))
    asked_live = needed.asked
    twice = [told(history, None), told(history, INVALID_POSITION)]

    assert [frame("event 1", 1)] == live
    assert 0 == asked_live
    assert [[frame("b", 1)]] * 2 == twice
    assert (0, 1) == (unneeded.asked, needed.asked)


def test_latest_made_once() -> None:
    """Whether it is true or false as a value, a function makes the state."""
    maker = Maker("state")
    history = History("e", snapshot=maker, capacity=0)
    begun = told(history, None)
    history.append(Maker("change"), snapshot=Maker("later"), now=0.0)

    assert [frame("state", 0)] == begun
    assert 1 == maker.asked
    assert [frame("later", 1)] == told(history, None)


def test_failed_making_is_tried_again() -> None:
    """A function that raises has made nothing: the next reader asks it again."""
    answers: list[Event] = []
    history = History("e", snapshot=lambda: answers.pop())
    with pytest.raises(IndexError):
        told(history, None)
    answers.append(Event("state"))

    assert [frame("state", 0)] == told(history, None)


# Calls that are refused, and change nothing.

WITH_ID = Event("x", id="mine")
UNWRITABLE = Event("x", type="two\nlines")


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
        pytest.param({"event": UNWRITABLE}, "type: expected a single", id="unwritable"),
        pytest.param({"event": lambda: WITH_ID}, "id: expected none", id="made, id"),
    ],
)
@pytest.mark.parametrize("capacity", [0, 9])
def test_refused_append(arguments: dict[str, Any], message: str, capacity: int) -> None:
    """An event that cannot be told is refused, and the history is as it was."""
    size = len(frame("event 1", 1))
    history = filled(2, max_bytes=3 * size, capacity=capacity)
    with pytest.raises(LocalProtocolError, match=message):
        history.append(**arguments, now=0.0)

    # All the room that was left is still there.
    assert at(3) == history.append(Event("event 3"), now=0.0)
    expected = [1, 2, 3] if capacity else [3]
    assert [frame(f"event {n}", n) for n in expected] == told(history, at(0))


@pytest.mark.parametrize("offset", [None, 5])
def test_refused_advance(offset: int | None) -> None:
    """A silent move with a snapshot that has an id is no move."""
    history = filled(2)
    with pytest.raises(LocalProtocolError, match="id: expected none"):
        history.advance(snapshot=WITH_ID, offset=offset)
    with pytest.raises(LocalProtocolError, match="offset: expected 3"):
        history.advance(offset=0)

    assert at(2) == history.head


def test_refused_reset() -> None:
    """A new line that cannot begin leaves the old one in use."""
    history = filled(2)
    with pytest.raises(LocalProtocolError, match="id: expected none"):
        history.reset("f", snapshot=WITH_ID)
    with pytest.raises(LocalProtocolError, match="offset: expected 0"):
        history.reset("f", offset=-1)

    assert at(2) == history.head
    assert [frame("event 2", 2)] == told(history, at(1))


def test_made_with_an_id() -> None:
    """An event made late is judged like any other: its id would be lost."""
    history = History("e", snapshot=lambda: WITH_ID)
    with pytest.raises(LocalProtocolError, match=r"^id: expected none"):
        told(history, None)


# The model: a plain list, and the rules in words.


@attrs.frozen
class Logged:
    offset: int
    data: str
    time: float


class HistoryModel(RuleBasedStateMachine):
    """A history answers from each position as the list of all events says."""

    capacity: int
    max_bytes: int | None
    retention: float

    @initialize(
        capacity=st.integers(0, 5),
        max_bytes=st.none() | st.integers(0, 120),
        retention=st.just(inf) | st.integers(0, 6),
        offset=st.integers(0, 3),
        snapshot=st.booleans(),
    )
    def begin(
        self,
        capacity: int,
        max_bytes: int | None,
        retention: float,
        offset: int,
        snapshot: bool,
    ) -> None:
        self.capacity, self.max_bytes = capacity, max_bytes
        self.retention = retention
        self.now = 0.0
        self.epoch = "e0"
        self.epochs = 0
        self.made = 0
        self.start_line(offset, snapshot)
        self.history = History(
            "e0",
            offset=offset,
            snapshot=self.lazy("start") if snapshot else None,
            capacity=capacity,
            max_bytes=max_bytes,
            retention=retention,
        )

    def start_line(self, offset: int, snapshot: bool) -> None:
        self.log: list[Logged] = []
        self.start = self.head = offset
        self.state = Logged(offset, "start", inf) if snapshot else None

    def lazy(self, data: str) -> EventOrFactory:
        asked: list[str] = []

        def make() -> Event:
            assert not asked, "made twice"
            asked.append(data)
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
            self.lazy(data) if late else Event(data),
            now=self.now,
            offset=step and offset,
            snapshot=self.lazy(state) if state else None,
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
    def lose(self, step: int | None) -> None:
        offset = self.head + (step or 1)
        self.history.skip_to_snapshot(
            self.lazy(f"whole {offset}"), offset=step and offset
        )
        self.start_line(offset, True)
        self.state = Logged(offset, f"whole {offset}", inf)

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.log)
    @rule(offset=st.integers(0, 3), snapshot=st.booleans())
    def reset(self, offset: int, snapshot: bool) -> None:
        self.epochs += 1
        self.epoch = "ef"[self.epochs % 2] + str(self.epochs % 10)
        state = self.lazy("start") if snapshot else None
        self.history.reset(self.epoch, offset=offset, snapshot=state)
        self.start_line(offset, snapshot)

    @rule(back=st.integers(0, 3))
    def be_refused(self, back: int) -> None:
        for call in (
            lambda: self.history.append(WITH_ID, now=self.now),
            lambda: self.history.append(Event("x"), now=self.now, snapshot=WITH_ID),
            lambda: self.history.append(
                Event("x"), now=self.now, offset=self.head - back
            ),
            lambda: self.history.advance(offset=self.head - back),
            lambda: self.history.reset(self.epoch),
            lambda: self.history.reset("g0", snapshot=WITH_ID),
            lambda: self.history.append(UNWRITABLE, now=self.now),
        ):
            with pytest.raises(LocalProtocolError):
                call()

    # What the rules in words say.

    def frame(self, logged: Logged) -> bytes:
        return frame(logged.data, logged.offset, self.epoch)

    def kept(self) -> list[Logged]:
        """The longest suffix of the log that is within all the bounds."""
        kept: list[Logged] = []
        for logged in reversed(self.log):
            longer = [logged, *kept]
            size = sum(len(self.frame(one)) for one in longer)
            if (
                len(longer) > self.capacity
                or (self.max_bytes is not None and size > self.max_bytes)
                or logged.time + self.retention <= self.now
            ):
                break
            kept = longer
        return kept

    def after(self, offset: int) -> list[Logged] | None:
        """All events after *offset*, or nothing if one of them is lost."""
        missed = [logged for logged in self.log if logged.offset > offset]
        kept = self.kept()
        return missed if all(logged in kept for logged in missed) else None

    def stand_in(self) -> list[Logged]:
        if self.state is None:
            return []
        rest = self.after(self.state.offset)
        return [] if rest is None else [self.state, *rest]

    def answer(self, position: Position | None) -> tuple[ResumeOutcome, list[Logged]]:
        if position is None:
            return "snapshot", self.stand_in()
        if position.epoch != self.epoch or position.offset > self.head:
            return "reset", self.stand_in()
        if position.offset == self.head:
            return "current", []
        if self.capacity == 0:
            return "replayed", self.stand_in()
        missed = self.after(position.offset)
        if missed is None or position.offset < self.start:
            return "snapshot", self.stand_in()
        return "replayed", missed

    @invariant()
    def every_answer_is_right(self) -> None:
        positions = [None, INVALID_POSITION, Position("zz", self.head)]
        offsets = range(max(0, self.head - 12), self.head + 3)
        positions += [Position(self.epoch, offset) for offset in offsets]
        for position in positions:
            outcome, expected = self.answer(position)
            replay = self.history.since(position, now=self.now)
            got = [entry.chunk for entry in replay.events]

            assert outcome == replay.outcome, position
            assert [self.frame(logged) for logged in expected] == got, position
            # Silent versions move nobody: a reader stands where it was told to be.
            if expected:
                stands = Position(self.epoch, expected[-1].offset)
            else:
                stands = position if replay.is_contiguous else self.history.head
            assert stands == replay.position


class NightlyHistoryModel(HistoryModel):
    """The same promise, for a night."""


TestHistoryModel = pytest.mark.slow(HistoryModel.TestCase)
TestHistoryModel.settings = settings(
    max_examples=100, stateful_step_count=25, deadline=None
)
TestNightlyHistoryModel = pytest.mark.nightly(NightlyHistoryModel.TestCase)
TestNightlyHistoryModel.settings = settings(
    max_examples=10_000, stateful_step_count=50, deadline=None
)


# The short answer.


@given(
    st.integers(0, 3),
    st.lists(st.sampled_from(["add", "skip", "lose", "reset"]), max_size=8),
    st.integers(0, 9),
    st.sampled_from([inf, 5.0]),
)
def test_sole_news_is_what_since_answers(
    capacity: int, steps: list[str], offset: int, retention: float
) -> None:
    """The short answer to a running reader is the long one, where it is one event.

    It is asked for again after every step, by a reader that stands still meanwhile.
    """
    history = History(
        "e", capacity=capacity, retention=retention, snapshot=Event("state")
    )
    position = Position("e", offset)
    for step in steps:
        match step:
            case "add":
                delta = Delta(lambda told: Event(f"from {told}"))
                history.append(delta, now=0.0, snapshot=Event("state"))
            case "skip":
                history.advance(snapshot=Event("state"))
            case "lose":
                history.skip_to_snapshot(Event("state"))
            case "reset":
                history.reset("f" if history.head.epoch == "e" else "e")
        news = history.single_event_after(position)
        assert news == history.single_event_after(position)
        if news is not None:
            replay = history.since(position, now=0.0)
            (entry,) = replay.events

            assert history.has_events_after(position)
            assert "replayed" == replay.outcome
            entry = entry.rebased_on(position)
            assert (entry.chunk, replay.position, ("message",)) == news


@pytest.mark.parametrize("capacity", [0, 1, 3])
def test_sole_news_is_found_where_it_is(capacity: int) -> None:
    """A reader that misses the newest event alone is answered in short."""
    history = History("e", capacity=capacity)
    history.append(Event("1"), now=0.0)
    history.append(Event("2"), now=0.0)
    news = history.single_event_after(Position("e", 1))

    assert (b"data: 2\nid: e.2\n\n", Position("e", 2), ("message",)) == news
    assert history.single_event_after(Position("f", 1)) is None


def test_sole_news_is_none_where_nothing_is_kept() -> None:
    """A ring that reaches back no further is no short answer."""
    history = History("e", capacity=1)
    history.append(Event("1"), now=0.0)
    history.append(Event("2"), now=0.0)

    assert history.single_event_after(Position("e", 0)) is None


def test_lose() -> None:
    """What nobody here has is not passed over: readers are told the state behind it."""
    history = History("e", capacity=5)
    history.append(Event("1"), now=0.0)
    history.skip_to_snapshot(Event("whole"), offset=4)
    history.append(Event("5"), now=0.0)
    replay = history.since(at(1), now=0.0)

    assert history.has_events_after(at(1))
    assert ("snapshot", at(5)) == (replay.outcome, replay.position)
    assert [frame("whole", 4), frame("5", 5)] == told(history, at(1))
    assert [frame("5", 5)] == told(history, at(4))
