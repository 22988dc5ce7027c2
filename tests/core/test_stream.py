"""The server half of a response: transcripts with times, and a reader as the model."""

from __future__ import annotations

import json
from collections.abc import Callable
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
    rule,
)

from roundel._cursor import MAX_TOPICS, Cursor, Position
from roundel._encoded_event import Delta
from roundel._errors import LocalProtocolError
from roundel._event import Event
from roundel._history import History, ResumeOutcome
from roundel._parser import Parser
from roundel._stream import Stream
from roundel._stream_messages import CloseMessage, ResumeInfo


def filled(count: int, epoch: str = "e", **bounds: Any) -> History:
    """Return a history of *count* events, ``1``, ``2`` and so on, without a state."""
    history = History(epoch, **bounds)
    for offset in range(1, count + 1):
        history.append(Event(str(offset)), now=0.0)
    return history


def drain(stream: Stream, now: float) -> bytes:
    """Take all that *stream* has to say, as a driver does before it sleeps."""
    said = b""
    while chunks := stream.data_to_send(now):
        said += b"".join(chunks)
    return said


def greeting(resume: ResumeInfo) -> Event:
    return Event(f"{resume.outcome} {resume.cursor} {resume.max_age}", type="hello")


def notice(lane: str, outcome: ResumeOutcome) -> Event:
    return Event(f"{lane} {outcome}", type="gap")


def pong(cursor: Cursor) -> Event:
    return Event(str(cursor), type="ping")


# The beginning.


@pytest.mark.parametrize(
    ("last_event_id", "transcript"),
    [
        pytest.param(
            None,
            b"data: state\nid: e.2\n\ndata: 3\nid: e.3\n\n",
            id="a new reader gets the state and what came after it",
        ),
        pytest.param("e.3", b":\n", id="one that has everything gets a sign of life"),
        pytest.param("e.2", b"data: 3\nid: e.3\n\n", id="one behind gets the rest"),
        pytest.param(
            b"e.0",
            b"data: state\nid: e.2\n\ndata: 3\nid: e.3\n\n",
            id="one that fell off the ring gets the state",
        ),
        pytest.param(
            "f.3",
            b"data: state\nid: e.2\n\ndata: 3\nid: e.3\n\n",
            id="one of another epoch gets the state",
        ),
        pytest.param(
            "garbage\r\n",
            b"data: state\nid: e.2\n\ndata: 3\nid: e.3\n\n",
            id="one with a foreign id gets the state",
        ),
    ],
)
def test_first_words(last_event_id: str | bytes | None, transcript: bytes) -> None:
    """A reader is brought up to date by its first words, wherever it comes from."""
    lane = filled(1, capacity=1)
    lane.append(Event("2"), snapshot=Event("state"), now=0.0)
    lane.append(Event("3"), now=0.0)
    stream = Stream(lane, now=0.0, last_event_id=last_event_id)

    assert transcript == drain(stream, 0.0)
    assert "e.3" == str(stream.cursor)


@pytest.mark.parametrize(
    ("last_event_id", "data"),
    [
        (None, b"snapshot e.3 inf"),
        ("e.3", b"current e.3 inf"),
        ("e.2", b"replayed e.3 inf"),
        ("f.3", b"reset e.3 inf"),
        ("?", b"reset e.3 inf"),
    ],
)
def test_hello(last_event_id: str | None, data: bytes) -> None:
    """The first frame tells how the reader was resumed, and to where."""
    stream = Stream(filled(3), now=0.0, last_event_id=last_event_id, hello=greeting)
    first, *_ = stream.data_to_send(0.0)

    assert b"event: hello\ndata: %b\n\n" % data == first


def test_hello_once() -> None:
    """A stream greets once, however often it is asked."""
    stream = Stream(filled(0), now=0.0, hello=greeting)

    assert 1 == drain(stream, 0.0).count(b"event: hello")
    assert b"" == drain(stream, 0.0)


def test_nothing_stands_in() -> None:
    """Where no state stands in, the reader's id is moved by a block without data."""
    stream = Stream(filled(3, capacity=1), now=0.0, last_event_id="e.1")

    assert b"id: e.3\n\n" == drain(stream, 0.0)


# Live.


def test_live() -> None:
    """Each event is told once, as soon as the stream is asked."""
    lane = filled(0)
    stream = Stream(lane, now=0.0, last_event_id="e.0")
    said = [drain(stream, 0.0)]
    lane.append(Event("one"), now=1.0)
    said += [drain(stream, 1.0), drain(stream, 1.0)]
    lane.append(Event("two\nlines", type="kind"), now=2.0)
    lane.append(Event("three"), now=2.0)
    said += [drain(stream, 2.0)]

    assert [
        b":\n",
        b"data: one\nid: e.1\n\n",
        b"",
        b"event: kind\ndata: two\ndata: lines\nid: e.2\n\ndata: three\nid: e.3\n\n",
    ] == said


def test_encoded_once() -> None:
    """All readers of one lane are handed the very same bytes."""
    lane = filled(1)
    one, other = (
        Stream(lane, now=0.0, last_event_id="e.0").data_to_send(0.0) for _ in range(2)
    )

    assert one[0] is other[0]


def test_slow_reader() -> None:
    """A slow reader asks later and gets more at once; fallen off, it is told."""
    lane = filled(0, capacity=2)
    stream = Stream(lane, now=0.0, hello=greeting, gap=notice)
    drain(stream, 0.0)
    lane.append(Event("1"), now=1.0)
    lane.append(Event("2"), now=1.0)
    in_time = drain(stream, 1.0)
    for number in range(3, 7):
        lane.append(Event(str(number)), now=2.0, snapshot=Event(f"state {number}"))
    too_late = drain(stream, 2.0)

    assert b"data: 1\nid: e.1\n\ndata: 2\nid: e.2\n\n" == in_time
    assert b"event: gap\ndata:  snapshot\n\ndata: state 6\nid: e.6\n\n" == too_late


@pytest.mark.parametrize("last_event_id", [None, "e.0", "f.1", "?"])
def test_no_gap_at_the_start(last_event_id: str | None) -> None:
    """How a reader was resumed is the greeting's to tell, not a gap notice's."""
    lane = filled(3, capacity=1)
    stream = Stream(lane, now=0.0, last_event_id=last_event_id, gap=notice)

    assert b"id: e.3\n\n" == drain(stream, 0.0)


def test_gap_unnoticed() -> None:
    """A gap may be told by the state alone."""
    lane = filled(0, capacity=1)
    stream = Stream(lane, now=0.0, gap=lambda lane, outcome: None)
    drain(stream, 0.0)
    lane.append(Event("1"), now=0.0)
    lane.append(Event("2"), now=0.0, snapshot=Event("state"))

    assert b"data: state\nid: e.2\n\n" == drain(stream, 0.0)


def test_reset_while_running() -> None:
    """A running reader is told that the line it follows is another one."""
    lane = filled(3)
    stream = Stream(lane, now=0.0, last_event_id="e.3", gap=notice)
    drain(stream, 0.0)
    lane.reset("f", snapshot=Event("state"))

    assert b"event: gap\ndata:  reset\n\ndata: state\nid: f.0\n\n" == drain(stream, 1.0)


def test_latest_wins() -> None:
    """A badge is told at its newest, never with a gap, and not at all unchanged."""
    badge = filled(2, capacity=0)
    stream = Stream(badge, now=0.0, last_event_id="e.1", gap=notice)
    said = [drain(stream, 0.0)]
    badge.append(Event("3"), now=1.0)
    badge.append(Event("4"), now=1.0)
    said += [drain(stream, 1.0)]
    badge.advance(snapshot=Event("still 4"))
    said += [drain(stream, 2.0)]
    badge.append(Event("6"), now=3.0)
    said += [drain(stream, 3.0)]

    assert [
        b"data: 2\nid: e.2\n\n",
        b"data: 4\nid: e.4\n\n",
        b"",
        b"data: 6\nid: e.6\n\n",
    ] == said


@pytest.mark.parametrize("last_event_id", [None, "e.2"])
def test_latest_wins_after_a_silent_advance(last_event_id: str | None) -> None:
    """One that connects after a silent change is told the state with it."""
    badge = filled(2, capacity=0)
    badge.advance(snapshot=Event("still 2"))
    stream = Stream(badge, now=0.0, last_event_id=last_event_id, gap=notice)

    assert b"data: still 2\nid: e.3\n\n" == drain(stream, 0.0)
    assert b"" == drain(stream, 0.0)


# Several lanes under one cursor.


def lanes(**histories: History) -> dict[str, History]:
    return histories


def test_two_lanes() -> None:
    """Each event moves the one cursor that stands for all lanes."""
    both = lanes(items=filled(2, "a"), badge=filled(5, "b", capacity=0))
    stream = Stream(both, now=0.0, last_event_id="items.a.0~badge.b.3")
    said = [drain(stream, 0.0)]
    both["badge"].append(Event("6"), now=1.0)
    said += [drain(stream, 1.0)]

    assert [
        (
            b"data: 1\nid: items.a.1\n\n"
            b"data: 2\nid: items.a.2\n\n"
            b"data: 5\nid: items.a.2~badge.b.5\n\n"
        ),
        b"data: 6\nid: items.a.2~badge.b.6\n\n",
    ] == said


def test_each_lane_has_its_outcome() -> None:
    """A reader may be up to date in one lane and lost in another."""
    heard: list[ResumeInfo] = []

    def listen(resume: ResumeInfo) -> Event:
        heard.append(resume)
        return Event("")

    stream = Stream(
        {name: filled(2, capacity=1) for name in "abcde"},
        now=0.0,
        last_event_id="a.e.2~b.e.1~c.e.0~d.f.1",
        hello=listen,
    )
    drain(stream, 0.0)

    outcomes = ["current", "replayed", "snapshot", "reset", "snapshot"]
    assert outcomes == [heard[0].outcomes[name] for name in "abcde"]
    assert heard[0].cursor == stream.cursor


def test_cut_between_lanes() -> None:
    """A reader that was cut between two lanes is resumed in each where it stood."""
    both = lanes(
        a=filled(3, "a", snapshot=Event("a0")), b=filled(2, "b", snapshot=Event("b0"))
    )
    cut = Stream(both, now=0.0, last_event_id="a.a.1~b.b.9", max_write=17)
    told = b"".join(cut.data_to_send(0.0))
    rest = Stream(both, now=1.0, last_event_id=str(cut.cursor), hello=greeting)

    assert b"data: 2\nid: a.a.2" == told
    assert b"".join(
        [
            b"event: hello\ndata: snapshot a.a.3~b.b.2 inf\n\n",
            b"data: 3\nid: a.a.3\n\n",
            b"data: b0\nid: a.a.3~b.b.0\n\n",
            b"data: 1\nid: a.a.3~b.b.1\n\n",
            b"data: 2\nid: a.a.3~b.b.2\n\n",
        ]
    ) == drain(rest, 1.0)


def test_fairness() -> None:
    """However small the writes, no lane keeps the others from talking."""
    both = lanes(a=filled(99, "a"), b=filled(1, "b"))
    stream = Stream(both, now=0.0, last_event_id="a.a.0~b.b.0", max_write=60)
    first, second = (b"".join(stream.data_to_send(0.0)) for _ in range(2))

    assert b"~b.b.1" not in first
    assert b"~b.b.1" in second


@pytest.mark.parametrize("presented", ["a.a.1~b.b.1", "a.a.1~b.old.1", "a.a.1", "?"])
def test_join(presented: str) -> None:
    """A lane that joins a running stream is new to its reader, whatever it presented.

    The ids that were sent since do not have the lane, so that after a cut behind one
    of them nobody could know what the reader had of it.
    """
    stream = Stream(
        lanes(a=filled(1, "a")), now=0.0, last_event_id=presented, gap=notice
    )
    drain(stream, 0.0)
    stream.subscribe("b", filled(2, "b", snapshot=Event("state")))

    said = drain(stream, 1.0).split(b"\n")
    told = [line for line in said if line.startswith(b"data: ")]
    assert [b"data: state", b"data: 1", b"data: 2"] == told
    assert b"event: gap" not in said
    assert str(stream.cursor) == "a.a.1~b.b.2"


def test_join_before_the_beginning() -> None:
    """A lane that joins before anything was said is followed like any other."""
    stream = Stream(lanes(a=filled(1, "a")), now=0.0, last_event_id="a.a.1~b.b.1")
    stream.subscribe("b", filled(2, "b"))

    assert b"data: 2\nid: a.a.1~b.b.2\n\n" == drain(stream, 0.0)


def test_lane_that_nobody_follows_is_left() -> None:
    """A position of a lane that is not followed is told to be gone, at once."""
    stream = Stream(
        lanes(a=filled(1, "a")), now=0.0, last_event_id="a.a.1~b.b.1", hello=greeting
    )

    hello = b"event: hello\ndata: current a.a.1 inf\n\n"
    assert hello + b"id: a.a.1\n\n" == drain(stream, 0.0)


def test_leave() -> None:
    """A lane that leaves takes its position out of the cursor, and the peer's id."""
    both = lanes(a=filled(1, "a"), b=filled(1, "b"))
    stream = Stream(both, now=0.0, last_event_id="a.a.1~b.b.1")
    drain(stream, 0.0)
    stream.unsubscribe("a")
    said = [drain(stream, 1.0)]
    both["a"].append(Event("2"), now=2.0)
    both["b"].append(Event("2"), now=2.0)
    said += [drain(stream, 2.0)]

    assert [b"id: b.b.1\n\n", b"data: 2\nid: b.b.2\n\n"] == said


def test_join_again() -> None:
    """A lane that left and joins again is new: nothing of it is told twice."""
    lane = filled(2, "b", snapshot=Event("0"))
    stream = Stream(lanes(a=filled(0), b=lane), now=0.0, last_event_id="b.b.1")
    said = [drain(stream, 0.0)]
    stream.unsubscribe("b")
    lane.append(Event("3"), now=1.0, snapshot=Event("state"))
    stream.subscribe("b", lane)
    said += [drain(stream, 1.0)]

    assert [
        b"id: a.e.0~b.b.1\n\ndata: 2\nid: a.e.0~b.b.2\n\n",
        b"id: a.e.0\n\ndata: state\nid: a.e.0~b.b.3\n\n",
    ] == said


def test_join_again_with_a_foreign_id() -> None:
    """A peer with an id that is not ours is told the state of a lane, and no gap."""
    lane = History("b", snapshot=Event("state"))
    stream = Stream(lanes(b=lane), now=0.0, last_event_id="?", gap=notice)
    drain(stream, 0.0)
    stream.unsubscribe("b")
    stream.subscribe("b", lane)

    assert b"id: \n\ndata: state\nid: b.b.0\n\n" == drain(stream, 1.0)


@pytest.mark.parametrize("last_event_id", ["?", "z.another-epoch.1", "z.e.9"])
def test_foreign_positions_are_not_written(last_event_id: str) -> None:
    """What a peer made up never comes back to it in an id."""
    stream = Stream(lanes(a=filled(0)), now=0.0, last_event_id=last_event_id)
    cursors = [str(stream.cursor)]
    drain(stream, 0.0)
    stream.subscribe("z", filled(1))
    cursors += [str(stream.cursor)]

    assert ["", "a.e.0"] == cursors
    assert b"id: a.e.0~z.e.1\n\n" == drain(stream, 0.0)


def test_joined_lanes_fit() -> None:
    """A lane that joins cannot make an id too long, whatever the peer presents."""
    first = filled(1, "a" * 32)
    stream = Stream(
        {"l1": first, "l2": filled(1, "b" * 32)},
        now=0.0,
        last_event_id=f"z.{'x' * 32}.1~l1.{'a' * 32}.1~l2.{'b' * 32}.1",
    )
    drain(stream, 0.0)
    stream.subscribe("z", filled(1, "z"))
    first.append(Event("2"), now=0.0)

    expected = f"data: 2\nid: l1.{'a' * 32}.2~l2.{'b' * 32}.1\n\n"
    assert drain(stream, 0.0).startswith(expected.encode())


def test_lanes_refused() -> None:
    """Lanes that no cursor can carry are refused, and the stream is as it was."""
    stream = Stream(lanes(a=filled(1)), now=0.0, last_event_id="a.e.1")
    stream.subscribe("b" * 32, filled(0, "e" * 32))
    with pytest.raises(LocalProtocolError, match="already subscribed to 'a'"):
        stream.subscribe("a", filled(1))
    with pytest.raises(LocalProtocolError, match="topic: expected 1 to 32"):
        stream.subscribe("", filled(1))
    with pytest.raises(LocalProtocolError, match="not subscribed to 'b'"):
        stream.unsubscribe("b")
    with pytest.raises(LocalProtocolError, match="at most 128 characters"):
        stream.subscribe("c" * 32, filled(0, "f" * 32))
    with pytest.raises(LocalProtocolError, match="topic: expected 1 to 32"):
        Stream({"a b": filled(1)}, now=0.0)

    drain(stream, 0.0)
    assert ["a", "b" * 32] == list(stream.cursor.positions)


def test_too_many_lanes() -> None:
    """The ninth lane is refused."""
    with pytest.raises(LocalProtocolError, match="at most 8, got 9"):
        Stream({f"{n}": filled(0) for n in range(MAX_TOPICS + 1)}, now=0.0)


def test_no_lane() -> None:
    """A stream may begin without a lane, and says nothing of where the reader is."""
    stream = Stream({}, now=0.0, hello=greeting)

    assert b"event: hello\ndata: current  inf\n\n" == drain(stream, 0.0)
    assert "" == str(stream.cursor)


# Time.


def test_heartbeat() -> None:
    """A comment goes out when nothing did for *heartbeat* seconds, and not else."""
    lane = filled(0)
    stream = Stream(lane, now=100.0, last_event_id="e.0", heartbeat=15.0)
    deadlines = [stream.deadline]
    said = []
    for now in (100.0, 114.9, 115.0, 115.0):
        said.append(drain(stream, now))
        deadlines.append(stream.deadline)
    lane.append(Event("1"), now=120.0)
    for now in (120.0, 130.0, 134.9, 135.0):
        said.append(drain(stream, now))
        deadlines.append(stream.deadline)

    assert [
        b":\n", b"", b":\n", b"",
        b"data: 1\nid: e.1\n\n", b"", b"", b":\n",
    ] == said  # fmt: skip
    assert [100.0, *[115.0] * 2, *[130.0] * 2, *[135.0] * 3, 150.0] == deadlines


def test_ping() -> None:
    """A ping is an event in the comment's place, and can say where the reader is."""
    stream = Stream(filled(3), now=0.0, last_event_id="e.3", heartbeat=5.0, ping=pong)

    assert b"event: ping\ndata: e.3\n\n" == drain(stream, 0.0)
    assert b"" == drain(stream, 4.9)
    assert b"event: ping\ndata: e.3\n\n" == drain(stream, 5.0)


def test_ping_is_made_once_for_a_place() -> None:
    """Thousands that stand still cost no more than the comment would."""
    lane, other = filled(3), filled(0)
    made: list[str] = []

    def ping(cursor: Cursor) -> Event:
        made.append(str(cursor))
        return pong(cursor)

    stream = Stream(lane, now=0.0, last_event_id="e.3", heartbeat=5.0, ping=ping)
    said = [drain(stream, now) for now in (0.0, 5.0, 10.0)]
    lane.append(Event("4"), now=11.0)
    drain(stream, 11.0)
    said += [drain(stream, now) for now in (16.0, 21.0)]

    pings = [b"event: ping\ndata: e.3\n\n"] * 3 + [b"event: ping\ndata: e.4\n\n"] * 2
    assert pings == said
    assert ["e.3", "e.4"] == made

    stream.subscribe("b", other)
    drain(stream, 22.0)
    other.append(Event("1"), now=23.0)
    drain(stream, 23.0)
    assert b"event: ping\ndata: e.4~b.e.1\n\n" == drain(stream, 28.0)


def test_max_age() -> None:
    """After *max_age* seconds the stream says its last words and ends."""
    lane = filled(0)
    words = CloseMessage(Event("until later", type="bye"), retry=2000)
    stream = Stream(lane, now=0.0, max_age=60.0, heartbeat=25.0, close_message=words)
    deadlines = []
    for now in (0.0, 25.0, 50.0):
        drain(stream, now)
        deadlines.append(stream.deadline)
    lane.append(Event("too late"), now=60.0)
    said = drain(stream, 60.0)

    assert [25.0, 50.0, 60.0] == deadlines
    assert b"retry: 2000\nevent: bye\ndata: until later\n\n" == said
    assert -inf == stream.deadline
    assert not stream.is_open


def test_last_words_are_made_when_the_time_has_come() -> None:
    """A function makes them, at the end and not before, and only if there is one."""
    made: list[str] = []

    def words() -> CloseMessage:
        made.append("words")
        return CloseMessage(Event("until later"))

    stream, closed = (
        Stream(filled(0), now=0.0, max_age=60.0, heartbeat=90.0, close_message=words)
        for _ in range(2)
    )
    drain(stream, 0.0)
    closed.close()
    drain(closed, 70.0)
    made_early = list(made)

    assert b"data: until later\n\n" == drain(stream, 60.0)
    assert b"" == drain(stream, 61.0)
    assert [] == made_early
    assert ["words"] == made


@pytest.mark.parametrize(("chance", "age"), [(0.0, 80.0), (0.5, 90.0), (0.999, 99.98)])
def test_streams_do_not_end_together(chance: float, age: float) -> None:
    """The age is shortened by up to a fifth, and the greeting tells the true one."""
    ages = []

    def listen(resume: ResumeInfo) -> Event:
        ages.append(resume.max_age)
        return Event("")

    stream = Stream(
        filled(0),
        now=1000.0,
        max_age=100.0,
        heartbeat=inf,
        random=lambda: chance,
        hello=listen,
    )
    drain(stream, 1000.0)

    assert [pytest.approx(age)] == ages
    assert pytest.approx(1000.0 + age) == stream.deadline


def test_short_times() -> None:
    """Times may be as short as you like."""
    stream = Stream(filled(0), now=0.0, heartbeat=0.25, max_age=0.5)
    drain(stream, 0.0)
    deadlines = [stream.deadline]
    drain(stream, 0.25)
    deadlines.append(stream.deadline)

    assert [0.25, 0.5] == deadlines
    assert b"" == drain(stream, 0.5)
    assert not stream.is_open


def test_default_heartbeat() -> None:
    """A sign of life every 15 s is what the standard advises (WHATWG HTML 9.2.7)."""
    stream = Stream(filled(0), now=0.0)
    drain(stream, 0.0)

    assert 15.0 == stream.deadline


@pytest.mark.parametrize("bound", ["heartbeat", "max_age", "max_write"])
@pytest.mark.parametrize("value", [0, -1])
def test_bounds(bound: str, value: int) -> None:
    """Times and bounds are above 0."""
    with pytest.raises(
        LocalProtocolError, match=r"^expected times and bounds above 0$"
    ):
        Stream(filled(0), now=0.0, **{bound: value})  # type: ignore[arg-type]


# The end.


@pytest.mark.parametrize(
    ("words", "written"),
    [
        pytest.param(None, b"", id="none"),
        pytest.param(CloseMessage(), b"", id="empty"),
        pytest.param(CloseMessage(retry=500), b"retry: 500\n\n", id="retry"),
        pytest.param(CloseMessage(Event("bye")), b"data: bye\n\n", id="event"),
        pytest.param(
            CloseMessage(Event("bye"), retry=0), b"retry: 0\ndata: bye\n\n", id="both"
        ),
    ],
)
def test_close(words: CloseMessage | None, written: bytes) -> None:
    """A closed stream says its last words, and then nothing ever again."""
    lane = filled(1)
    stream = Stream(lane, now=0.0)
    drain(stream, 0.0)
    stream.close(words)
    open_until_said = stream.is_open
    deadline = stream.deadline
    said = drain(stream, 1.0)
    lane.append(Event("2"), now=2.0)
    stream.close(CloseMessage(Event("once more")))

    assert bool(written) == open_until_said
    assert written == said
    assert (-inf, -inf) == (deadline, stream.deadline)
    assert not stream.is_open
    assert b"" == drain(stream, 999.0)


def test_close_in_mid_event() -> None:
    """An event that is half written is finished before the last words."""
    stream = Stream(filled(2), now=0.0, last_event_id="e.0", max_write=7)
    said = b"".join(stream.data_to_send(0.0))
    stream.close(CloseMessage(Event("bye")))
    stream.close(CloseMessage(Event("ignored")))
    pieces, open_after = [], []
    for _ in range(4):
        pieces.append(b"".join(stream.data_to_send(0.0)))
        open_after.append(stream.is_open)

    assert b"data: 1" == said
    assert [b"\nid: e.", b"1\n\ndata", b": bye\n\n", b""] == pieces
    assert [True, True, False, False] == open_after
    assert "e.1" == str(stream.cursor)


def test_close_before_the_first_word() -> None:
    """A stream that is closed before it began says hello and its last words only."""
    stream = Stream(filled(2), now=0.0, hello=greeting, max_write=20)
    stream.close(CloseMessage(retry=9))

    hello = b"event: hello\ndata: snapshot e.2 inf\n\n"
    assert hello + b"retry: 9\n\n" == drain(stream, 0.0)
    assert not stream.is_open


def test_close_without_a_word() -> None:
    """A stream that ends before it began, and without last words, says nothing."""
    stream = Stream(filled(2), now=0.0, hello=greeting)
    stream.close()

    assert b"" == drain(stream, 0.0)


def test_nameless_lane_beside_a_named_one() -> None:
    """A lane in which nothing happens puts its epoch into every id of the others."""
    both = lanes(k=filled(0, "key")) | {"": filled(2, "e")}
    stream = Stream(both, now=0.0, last_event_id="e.1", hello=greeting)
    said = drain(stream, 0.0)
    again = Stream(both, now=1.0, last_event_id=str(stream.cursor), hello=greeting)

    assert (
        b"".join(
            [
                b"event: hello\ndata: snapshot k.key.0~e.2 inf\n\n",
                b"id: k.key.0~e.1\n\n",
                b"data: 2\nid: k.key.0~e.2\n\n",
            ]
        )
        == said
    )
    assert b"event: hello\ndata: current k.key.0~e.2 inf\n\n" == drain(again, 1.0)


# What is said once, at its time.


def test_notice() -> None:
    """A notice is said once, when its time comes, and the stream goes on."""
    lane = filled(1)
    warning = (30.0, Event("soon", type="auth"))
    stream = Stream(lane, now=100.0, last_event_id="e.1", timed_event=warning)
    before = drain(stream, 100.0)
    stream.data_to_send(129.0)
    deadline = stream.deadline
    said = drain(stream, 130.0)
    lane.append(Event("2"), now=131.0)

    assert b":\n" == before
    assert 130.0 == deadline
    assert b"event: auth\ndata: soon\n\n" == said
    assert 145.0 == stream.deadline
    assert b"data: 2\nid: e.2\n\n" == drain(stream, 131.0)


def test_notice_that_is_due_at_once() -> None:
    """A notice of the very beginning comes behind the hello and before the state."""
    stream = Stream(
        filled(1), now=0.0, last_event_id="e.0", hello=greeting,
        timed_event=(0.0, Event("now")),
    )  # fmt: skip
    said = drain(stream, 0.0)

    assert [b"event: hello", b"data: now", b"data: 1"] == [
        block.splitlines()[0] for block in said.split(b"\n\n")[:-1]
    ]


def test_notice_refused() -> None:
    """A notice that cannot be written is refused when it is given."""
    with pytest.raises(LocalProtocolError, match="type: expected a single line"):
        Stream(filled(1), now=0.0, timed_event=(1.0, Event("x", type="two\nlines")))


# Where the reader stands, and from where a change goes on.


def test_position() -> None:
    """The position in a lane is that of what was handed out, and nowhere before it."""
    stream = Stream(filled(2), now=0.0, last_event_id="e.1")
    foreign = Stream(filled(2), now=0.0, last_event_id="x.1")
    before = stream.position()
    drain(stream, 0.0)

    assert Position("e", 1) == before
    assert Position("e", 2) == stream.position()
    assert foreign.position() is None


def test_delta() -> None:
    """A delta says what its reader was told before it, whoever was told what."""
    lane = History("e", snapshot=Event("state"), capacity=9)
    lane.append(Delta(lambda told: Event(f"from {told}")), now=0.0)
    early = Stream(lane, now=0.0, last_event_id="e.0")
    drain(early, 0.0)
    lane.advance(snapshot=Event("state"))
    late = Stream(lane, now=0.0)
    drain(late, 0.0)
    lane.append(Delta(lambda told: Event(f"from {told}")), now=0.0)

    assert b"data: from 1\nid: e.3\n\n" == drain(early, 0.0)
    assert b"data: from 2\nid: e.3\n\n" == drain(late, 0.0)


UNWRITABLE = CloseMessage(Event("x", type="two\nlines"))


def test_last_words_refused() -> None:
    """Last words that cannot be written are refused when they are given."""
    stream = Stream(filled(1), now=0.0, last_event_id="e.0")
    with pytest.raises(LocalProtocolError, match="type: expected a single line"):
        Stream(filled(1), now=0.0, close_message=UNWRITABLE)
    with pytest.raises(LocalProtocolError, match="type: expected a single line"):
        stream.close(UNWRITABLE)

    assert stream.is_open
    assert b"data: 1\nid: e.1\n\n" == drain(stream, 0.0)


def fail(*arguments: object) -> Event:
    raise ZeroDivisionError


@pytest.mark.parametrize("name", ["hello", "gap", "ping"])
def test_your_function_raises(name: str) -> None:
    """A stream ends with an exception of yours: it skips nothing, it stops."""
    lane = filled(2, capacity=1)
    functions: dict[str, Callable[..., Any]] = {name: fail}
    stream = Stream(lane, now=0.0, max_write=9, **functions)

    def run() -> None:
        drain(stream, 0.0)
        drain(stream, 50.0)
        lane.append(Event("3"), now=60.0)
        lane.append(Event("4"), now=60.0)
        drain(stream, 60.0)

    with pytest.raises(ZeroDivisionError):
        run()

    assert not stream.is_open
    assert -inf == stream.deadline
    assert b"" == drain(stream, 99.0)


def test_your_event_raises() -> None:
    """What was told before an event that fails to be made is lost with the stream."""
    lane = filled(1)
    lane.append(fail, now=0.0)
    stream = Stream(lane, now=0.0, last_event_id="e.0")
    with pytest.raises(ZeroDivisionError):
        stream.data_to_send(0.0)

    assert not stream.is_open


# Pieces.

EVENTS = st.lists(st.text("abc\n", max_size=30), max_size=8)


@pytest.mark.slow
@given(EVENTS, st.integers(1, 90), st.booleans())
def test_max_write(events: list[str], max_write: int, greet: bool) -> None:
    """The bytes are the same in writes of whatever size, and none is larger."""

    def start(bound: int) -> Stream:
        lane = History("e", snapshot=Event("state"))
        for data in events:
            lane.append(Event(data), now=0.0)
        hello = greeting if greet else None
        return Stream(lane, now=0.0, hello=hello, max_write=bound, ping=pong)

    whole = drain(start(1 << 20), 0.0)
    stream = start(max_write)
    writes = []
    while chunks := stream.data_to_send(0.0):
        assert all(chunks)
        writes.append(b"".join(chunks))

    assert max(map(len, writes)) <= max_write
    assert all(len(write) == max_write for write in writes[:-1])
    assert whole == b"".join(writes)


@pytest.mark.parametrize("topic", ["", "a"])
@pytest.mark.parametrize("capacity", [0, 3])
@pytest.mark.parametrize("ping", [pong, None])
@pytest.mark.parametrize("max_write", [7, 1 << 16])
def test_sent_types(topic: str, capacity: int, ping: Any, max_write: int) -> None:
    """The stream names the events that its last chunks complete, in order."""
    history = History("e0", capacity=capacity, snapshot=Event("0", type="snapshot"))
    stream = Stream(
        {topic: history}, now=0.0, hello=greeting, gap=notice, ping=ping,
        timed_event=(3.0, Event("soon", type="auth")), max_age=9.0, heartbeat=2.0,
        close_message=CloseMessage(Event("bye", type=""), 500), max_write=max_write,
    )  # fmt: skip
    parser, sent = Parser(), []
    for now in range(12):
        if now in (1, 2, 4):
            history.append(Event(str(now), type="change"), now=now)
        if now == 5:
            history.reset("e1", snapshot=Event("new", type="snapshot"))
        while chunks := stream.data_to_send(now):
            received = parser.receive_data(b"".join(chunks))
            sent += stream.sent_types

            assert tuple(event.type for event in received) == stream.sent_types

    assert ["hello", "snapshot", "change", "change", "auth"] == sent[:5]
    assert "gap" in sent
    assert ("ping" in sent) is (ping is pong)
    assert "message" == sent[-1]


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_spurious_calls(steps: list[tuple[int, bool]]) -> None:
    """A stream that is asked too often says the same at the same time."""

    def run(times: int) -> tuple[list[tuple[float, bytes]], list[float]]:
        lane = History("e", snapshot=Event("state"), capacity=2)
        stream = Stream(lane, now=0.0, heartbeat=4.0, max_age=60.0, gap=notice)
        said, deadlines, now = [], [], 0.0
        for wait, change in steps:
            now += wait
            if change:
                lane.append(Event(f"at {now}"), now=now)
            for _ in range(times):
                said.append((now, drain(stream, now)))
                assert stream.deadline > now or not stream.is_open
                deadlines.append(stream.deadline)
        return [piece for piece in said if piece[1]], deadlines

    once, deadlines = run(1)
    often, _ = run(3)

    assert once == often
    while_open = [deadline for deadline in deadlines if deadline > -inf]
    assert sorted(while_open) == while_open


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [0, 1, 3])
@given(steps=st.lists(st.sampled_from(["add", "skip", "reset", "wait", "ask"])))
def test_short_way_agrees_with_the_long_one(capacity: int, steps: list[str]) -> None:
    """A live step in short says, and waits for, what the whole step would."""

    def run() -> list[tuple[bytes, float, str]]:
        lane = History("e0", capacity=capacity, snapshot=Event("state"))
        stream = Stream(
            lane, now=0.0, gap=notice, ping=pong, max_write=40, heartbeat=2.0,
            max_age=20.0, close_message=CloseMessage(Event("bye")),
            timed_event=(7.0, Event("!")),
        )  # fmt: skip
        told, now, epoch = [], 0.0, 0
        for step in steps:
            match step:
                case "add":
                    delta = Delta(lambda told: Event(f"from {told}"))
                    lane.append(delta, snapshot=Event("now"), now=now)
                case "skip":
                    lane.advance(snapshot=Event("now"))
                case "reset":
                    epoch += 1
                    lane.reset(f"e{epoch % 10}", snapshot=Event("new"))
                case "wait":
                    now += 1
                case "ask":
                    said = b"".join(stream.data_to_send(now))
                    told.append((said, stream.deadline, str(stream.cursor)))
        return told

    in_short = run()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Stream, "_fast_path", lambda stream, now: None)
        at_length = run()

    assert at_length == in_short


def test_readers_of_one_lane_share_the_bytes() -> None:
    """Whoever was told the same is told one and the same object next."""
    lane = filled(1)
    streams = [Stream(lane, now=0.0, last_event_id="e.1") for _ in range(3)]
    for offset in (2, 3):
        for stream in streams:
            drain(stream, 0.0)
        lane.append(Delta(lambda told: Event(f"from {told}")), now=0.0)
        one, *others = [stream.data_to_send(0.0) for stream in streams]

        assert [b"data: from %d\nid: e.%d\n\n" % (offset - 1, offset)] == one
        assert all(other[0] is one[0] for other in others)


def test_your_live_event_raises() -> None:
    """A running stream ends with an event that fails to be made, in short as well."""
    lane = filled(1)
    stream = Stream(lane, now=0.0, last_event_id="e.1")
    drain(stream, 0.0)
    lane.append(fail, now=0.0)
    with pytest.raises(ZeroDivisionError):
        stream.data_to_send(0.0)

    assert not stream.is_open
    assert b"" == drain(stream, 1.0)


# The model: a reader that knows only the bytes.


@attrs.define
class Reader:
    """What a page would know: the last event id, and the lanes' states.

    A lane's state is the list of its numbers. It has none if it was told that
    something is lost, or that the lane is gone, until it is told a state.
    """

    id: str = ""
    states: dict[str, list[int]] = attrs.field(factory=dict)
    _half: bytes = b""

    def read(self, data: bytes) -> None:
        *blocks, self._half = (self._half + data).split(b"\n\n")
        for block in blocks:
            lines = [line for line in block.decode().splitlines() if line != ":"]
            self.read_fields(dict(line.split(": ", 1) for line in lines))

    def read_fields(self, fields: dict[str, str]) -> None:
        if "data" in fields:
            self.dispatch(fields["event"], fields["data"])
        if "id" in fields:
            self.id = fields["id"]
            for lane in set(self.states) - set(Cursor.parse(self.id).positions):
                del self.states[lane]

    def dispatch(self, kind: str, data: str) -> None:
        match kind.split("-"):
            case ["hello"]:
                for lane, outcome in json.loads(data).items():
                    self.forget(lane, outcome)
            case ["gap"]:
                self.forget(*data.split())
            case [lane, "state"]:
                self.states[lane] = json.loads(data)
            case [lane, "added"] if lane in self.states:
                told, number = map(int, data.split())
                position = Cursor.parse(self.id).position(lane)
                assert position is not None
                assert position.offset == told
                self.states[lane].append(number)

    def forget(self, lane: str, outcome: str) -> None:
        if outcome in ("snapshot", "reset"):
            self.states.pop(lane, None)


class Lane:
    """What a server holds: numbers, in a lane that tells them in one of three ways."""

    def __init__(self, name: str, capacity: int, keeps_state: bool) -> None:
        self.name = name
        self.capacity = capacity
        self.keeps_state = keeps_state or capacity == 0
        self.numbers: list[int] = []
        self.known: dict[Position, list[int]] = {}
        self.epochs = 0
        self.history = History("e000", capacity=capacity, snapshot=self.state())
        self.remember()

    def state(self) -> Event | None:
        data = json.dumps(self.numbers)
        return Event(data, type=f"{self.name}-state") if self.keeps_state else None

    def remember(self) -> None:
        self.known[self.history.head] = list(self.numbers)

    def add(self, number: int, now: float) -> None:
        self.numbers.append(number)
        kind = f"{self.name}-added"
        delta = Delta(lambda told: Event(f"{told} {number}", type=kind))
        self.history.append(delta, snapshot=self.state(), now=now)
        self.remember()

    def stay(self) -> None:
        self.history.advance(snapshot=self.state())
        self.remember()

    def lose(self, count: int, now: float) -> None:
        self.numbers += [-1] * count
        state = Event(json.dumps(self.numbers), type=f"{self.name}-state")
        self.history.skip_to_snapshot(state, offset=self.history.head.offset + count)
        self.remember()

    def reset(self) -> None:
        self.epochs += 1
        self.numbers = []
        self.history.reset(f"e{self.epochs:03d}", snapshot=self.state())
        self.remember()


def tell_outcomes(resume: ResumeInfo) -> Event:
    return Event(json.dumps(dict(resume.outcomes)), type="hello")


class ReaderModel(RuleBasedStateMachine):
    """A reader has just what the server had at its cursor, or was told it has not."""

    @initialize(
        shapes=st.lists(
            st.tuples(st.sampled_from([0, 1, 3]), st.booleans()), max_size=3
        )
    )
    def begin(self, shapes: list[tuple[int, bool]]) -> None:
        self.now = 0.0
        self.count = 0
        self.lanes = {
            f"l{index}": Lane(f"l{index}", *shape) for index, shape in enumerate(shapes)
        }
        self.followed = dict(self.lanes)
        # It begins with all there is, or not all lanes could tell it anything.
        heads = {name: lane.history.head for name, lane in self.lanes.items()}
        self.reader = Reader(str(Cursor(heads)), {name: [] for name in heads})
        self.connect(max_write=1 << 16, foreign=False)

    @rule(max_write=st.sampled_from([1, 7, 40, 1 << 16]), foreign=st.booleans())
    def connect(self, max_write: int, foreign: bool) -> None:
        """The reader comes back with what it was told, or has lost its place."""
        # Who presents nonsense goes on presenting it until a state brings a good id:
        # hello has none, so that dying behind it changes nothing.
        self.reader = (
            Reader("!") if foreign else Reader(self.reader.id, self.reader.states)
        )
        self.stream = Stream(
            {name: lane.history for name, lane in self.followed.items()},
            now=self.now,
            last_event_id=self.reader.id,
            hello=tell_outcomes,
            gap=notice,
            max_write=max_write,
        )

    @rule(pick=st.integers(0, 2), times=st.integers(1, 4))
    def add(self, pick: int, times: int) -> None:
        for _ in range(times):
            if lane := self.lanes.get(f"l{pick}"):
                self.count += 1
                lane.add(self.count, self.now)

    @rule(pick=st.integers(0, 2))
    def stay(self, pick: int) -> None:
        if lane := self.lanes.get(f"l{pick}"):
            lane.stay()

    @rule(pick=st.integers(0, 2), count=st.integers(1, 3))
    def lose(self, pick: int, count: int) -> None:
        if lane := self.lanes.get(f"l{pick}"):
            lane.lose(count, self.now)

    @rule(pick=st.integers(0, 2))
    def reset(self, pick: int) -> None:
        if lane := self.lanes.get(f"l{pick}"):
            lane.reset()

    @rule(pick=st.integers(0, 2))
    def join_or_leave(self, pick: int) -> None:
        name = f"l{pick}"
        if name in self.followed:
            del self.followed[name]
            self.stream.unsubscribe(name)
        elif lane := self.lanes.get(name):
            self.followed[name] = lane
            self.stream.subscribe(name, lane.history)

    @rule(seconds=st.integers(0, 20))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def write_once(self) -> None:
        self.reader.read(b"".join(self.stream.data_to_send(self.now)))

    @rule()
    def write_all(self) -> None:
        self.reader.read(drain(self.stream, self.now))
        for name, lane in self.followed.items():
            state = self.reader.states.get(name)
            if lane.keeps_state or state is not None:
                assert lane.numbers == state, name

    @invariant()
    def what_is_known_was_once_so(self) -> None:
        cursor = Cursor.parse(self.reader.id)
        for name, state in self.reader.states.items():
            position = cursor.position(name)
            assert position is not None, name
            assert self.lanes[name].known[position] == state, name


class NightlyReaderModel(ReaderModel):
    """The same promise, for a night."""


TestReaderModel = pytest.mark.slow(ReaderModel.TestCase)
TestReaderModel.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None
)
TestNightlyReaderModel = pytest.mark.nightly(NightlyReaderModel.TestCase)
TestNightlyReaderModel.settings = settings(
    max_examples=10_000, stateful_step_count=50, deadline=None
)
