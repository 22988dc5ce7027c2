"""The server half of a response: transcripts with times, and a page as the model."""

from __future__ import annotations

import json
import re
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
    """Return a history of *count* events, ``1``, ``2`` ..., without a snapshot."""
    history = History(epoch, **bounds)
    for offset in range(1, count + 1):
        history.append(Event(str(offset)), now=0.0)
    return history


def drain(stream: Stream, now: float) -> bytes:
    """Return all the data that is due, as a driver takes it before it sleeps."""
    sent = b""
    while chunks := stream.data_to_send(now):
        sent += b"".join(chunks)
    return sent


def hello_event(resume: ResumeInfo) -> Event:
    return Event(f"{resume.outcome} {resume.cursor} {resume.max_age}", type="hello")


def gap_event(topic: str, outcome: ResumeOutcome) -> Event:
    return Event(f"{topic} {outcome}", type="gap")


def ping_event(cursor: Cursor) -> Event:
    return Event(str(cursor), type="ping")


# Start and resume.


@pytest.mark.parametrize(
    ("last_event_id", "transcript"),
    [
        pytest.param(
            None,
            b"data: state\nid: e.2\n\ndata: 3\nid: e.3\n\n",
            id="a new subscriber gets the snapshot and the events after it",
        ),
        pytest.param("e.3", b":\n", id="a current subscriber gets a heartbeat"),
        pytest.param(
            "e.2",
            b"data: 3\nid: e.3\n\n",
            id="a late subscriber gets the missing events",
        ),
        pytest.param(
            b"e.0",
            b"data: state\nid: e.2\n\ndata: 3\nid: e.3\n\n",
            id="a subscriber that fell off the ring gets the snapshot",
        ),
        pytest.param(
            "f.3",
            b"data: state\nid: e.2\n\ndata: 3\nid: e.3\n\n",
            id="a subscriber of another epoch gets the snapshot",
        ),
        pytest.param(
            "garbage\r\n",
            b"data: state\nid: e.2\n\ndata: 3\nid: e.3\n\n",
            id="an invalid id gets the snapshot",
        ),
    ],
)
def test_first_write(last_event_id: str | bytes | None, transcript: bytes) -> None:
    """The first write brings a subscriber up to date from any last event id."""
    history = filled(1, capacity=1)
    history.append(Event("2"), snapshot=Event("state"), now=0.0)
    history.append(Event("3"), now=0.0)
    stream = Stream(history, now=0.0, last_event_id=last_event_id)

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
    """The hello event has the outcome and the cursor of the resume."""
    stream = Stream(filled(3), now=0.0, last_event_id=last_event_id, hello=hello_event)
    first, *_ = stream.data_to_send(0.0)

    assert b"event: hello\ndata: %b\n\n" % data == first


RETRIES = [
    (5_000, hello_event, b"retry: 5000\nevent: hello\ndata: snapshot e.0 inf\n\n"),
    (250, hello_event, b"retry: 250\nevent: hello\ndata: snapshot e.0 inf\n\n"),
    (0, hello_event, b"retry: 0\nevent: hello\ndata: snapshot e.0 inf\n\n"),
    (5_000, None, b"retry: 5000\n\n"),
    (None, None, b""),
]


@pytest.mark.parametrize(("retry", "hello", "data"), RETRIES)
def test_retry_is_sent_before_hello(
    retry: int | None,
    hello: Callable[[ResumeInfo], Event] | None,
    data: bytes,
) -> None:
    """A stream sets the peer's reconnection time before its first event, once."""
    history = History("e", snapshot=Event("state"))
    stream = Stream(history, now=0.0, hello=hello, retry=retry, max_write=7)
    sent = drain(stream, 0.0)
    history.append(Event("1"), now=1.0)

    assert data + b"data: state\nid: e.0\n\n" == sent
    assert b"data: 1\nid: e.1\n\n" == drain(stream, 1.0)


def test_retry_replaces_that_of_a_close_message() -> None:
    """A peer that was sent far away by a drain is back to the usual time."""
    parser = Parser()
    drained = Stream(filled(1), now=0.0, retry=5_000)
    drained.close(CloseMessage(Event("drain", "bye"), retry=41_000))
    parser.receive_data(drain(drained, 0.0))
    after_drain = parser.retry
    parser.receive_data(drain(Stream(filled(1), now=9.0, retry=5_000), 9.0))

    assert (41_000, 5_000) == (after_drain, parser.retry)


@pytest.mark.parametrize("retry", [-1, 0.5, inf, float("nan"), 10**15])
def test_retry_that_no_peer_can_keep_is_refused(retry: float) -> None:
    """A reconnection time outside the wire format's bounds is the caller's error."""
    with pytest.raises(LocalProtocolError, match="retry: expected"):
        Stream(filled(0), now=0.0, retry=retry)


def test_hello_is_sent_once() -> None:
    """A stream sends hello once."""
    stream = Stream(filled(0), now=0.0, hello=hello_event)

    assert 1 == drain(stream, 0.0).count(b"event: hello")
    assert b"" == drain(stream, 0.0)


def test_without_a_snapshot() -> None:
    """Without a snapshot a block without data moves the last event id."""
    stream = Stream(filled(3, capacity=1), now=0.0, last_event_id="e.1")

    assert b"id: e.3\n\n" == drain(stream, 0.0)


# Live events.


def test_live_events() -> None:
    """Each event is sent once, by the next `data_to_send()`."""
    history = filled(0)
    stream = Stream(history, now=0.0, last_event_id="e.0")
    sent = [drain(stream, 0.0)]
    history.append(Event("one"), now=1.0)
    sent += [drain(stream, 1.0), drain(stream, 1.0)]
    history.append(Event("two\nlines", type="kind"), now=2.0)
    history.append(Event("three"), now=2.0)
    sent += [drain(stream, 2.0)]

    assert [
        b":\n",
        b"data: one\nid: e.1\n\n",
        b"",
        b"event: kind\ndata: two\ndata: lines\nid: e.2\n\ndata: three\nid: e.3\n\n",
    ] == sent


def test_streams_share_the_bytes() -> None:
    """All streams of one topic return the same bytes object."""
    history = filled(1)
    one, other = (
        Stream(history, now=0.0, last_event_id="e.0").data_to_send(0.0)
        for _ in range(2)
    )

    assert one[0] is other[0]


def test_slow_subscriber() -> None:
    """A slow subscriber gets more events at once; off the ring it gets a gap event."""
    history = filled(0, capacity=2)
    stream = Stream(history, now=0.0, hello=hello_event, gap=gap_event)
    drain(stream, 0.0)
    history.append(Event("1"), now=1.0)
    history.append(Event("2"), now=1.0)
    in_time = drain(stream, 1.0)
    for number in range(3, 7):
        history.append(Event(str(number)), now=2.0, snapshot=Event(f"state {number}"))
    too_late = drain(stream, 2.0)

    assert b"data: 1\nid: e.1\n\ndata: 2\nid: e.2\n\n" == in_time
    assert b"event: gap\ndata:  snapshot\n\ndata: state 6\nid: e.6\n\n" == too_late


def test_slow_subscriber_of_a_log() -> None:
    """Off the ring of a log, a subscriber gets its start and the whole ring.

    The parts may be of several writes, and the ring may move between them.
    """
    history = History("e", start=Event("", "clear"), capacity=2)
    stream = Stream(history, now=0.0, max_write=20)
    drain(stream, 0.0)
    for number in range(1, 6):
        history.append(Event(str(number)), now=1.0)
    first = b"".join(stream.data_to_send(1.0) + stream.data_to_send(1.0))
    history.append(Event("6"), now=1.0)

    assert first.startswith(b"event: clear\ndata: \nid: e.3\n\n")
    assert [b"4", b"5", b"6"] == re.findall(b"data: (.)", first + drain(stream, 1.0))


@pytest.mark.parametrize("last_event_id", [None, "e.0", "f.1", "?"])
def test_no_gap_event_at_the_start(last_event_id: str | None) -> None:
    """The start of a stream sends no gap event, since hello has the outcome."""
    history = filled(3, capacity=1)
    stream = Stream(history, now=0.0, last_event_id=last_event_id, gap=gap_event)

    assert b"id: e.3\n\n" == drain(stream, 0.0)


def test_no_gap_event() -> None:
    """Without a gap event the snapshot is sent alone."""
    history = filled(0, capacity=1)
    stream = Stream(history, now=0.0, gap=lambda topic, outcome: None)
    drain(stream, 0.0)
    history.append(Event("1"), now=0.0)
    history.append(Event("2"), now=0.0, snapshot=Event("state"))

    assert b"data: state\nid: e.2\n\n" == drain(stream, 0.0)


def test_reset_while_running() -> None:
    """A running stream sends a gap event and the snapshot after a reset."""
    history = filled(3)
    stream = Stream(history, now=0.0, last_event_id="e.3", gap=gap_event)
    drain(stream, 0.0)
    history.reset("f", snapshot=Event("state"))

    assert b"event: gap\ndata:  reset\n\ndata: state\nid: f.0\n\n" == drain(stream, 1.0)


def test_capacity_0() -> None:
    """With capacity 0 only the newest event is sent, without a gap event."""
    badge = filled(2, capacity=0)
    stream = Stream(badge, now=0.0, last_event_id="e.1", gap=gap_event)
    sent = [drain(stream, 0.0)]
    badge.append(Event("3"), now=1.0)
    badge.append(Event("4"), now=1.0)
    sent += [drain(stream, 1.0)]
    badge.advance(snapshot=Event("still 4"))
    sent += [drain(stream, 2.0)]
    badge.append(Event("6"), now=3.0)
    sent += [drain(stream, 3.0)]

    assert [
        b"data: 2\nid: e.2\n\n",
        b"data: 4\nid: e.4\n\n",
        b"",
        b"data: 6\nid: e.6\n\n",
    ] == sent


@pytest.mark.parametrize("last_event_id", [None, "e.2"])
def test_capacity_0_after_an_advance(last_event_id: str | None) -> None:
    """A subscriber that connects after an advance gets its snapshot."""
    badge = filled(2, capacity=0)
    badge.advance(snapshot=Event("still 2"))
    stream = Stream(badge, now=0.0, last_event_id=last_event_id, gap=gap_event)

    assert b"data: still 2\nid: e.3\n\n" == drain(stream, 0.0)
    assert b"" == drain(stream, 0.0)


# Several topics under one cursor.


def topics(**histories: History) -> dict[str, History]:
    return histories


def test_two_topics() -> None:
    """Each event's id has the positions of all topics."""
    both = topics(items=filled(2, "a"), badge=filled(5, "b", capacity=0))
    stream = Stream(both, now=0.0, last_event_id="items.a.0~badge.b.3")
    sent = [drain(stream, 0.0)]
    both["badge"].append(Event("6"), now=1.0)
    sent += [drain(stream, 1.0)]

    assert [
        (
            b"data: 1\nid: items.a.1\n\n"
            b"data: 2\nid: items.a.2\n\n"
            b"data: 5\nid: items.a.2~badge.b.5\n\n"
        ),
        b"data: 6\nid: items.a.2~badge.b.6\n\n",
    ] == sent


def test_each_topic_has_its_outcome() -> None:
    """Each topic has its own outcome."""
    received: list[ResumeInfo] = []

    def receive(resume: ResumeInfo) -> Event:
        received.append(resume)
        return Event("")

    stream = Stream(
        {name: filled(2, capacity=1) for name in "abcde"},
        now=0.0,
        last_event_id="a.e.2~b.e.1~c.e.0~d.f.1",
        hello=receive,
    )
    drain(stream, 0.0)

    outcomes = ["current", "replayed", "snapshot", "reset", "snapshot"]
    assert outcomes == [received[0].outcomes[name] for name in "abcde"]
    assert received[0].cursor == stream.cursor


def test_cut_between_topics() -> None:
    """A subscriber that was cut between two topics resumes in each at its position."""
    both = topics(
        a=filled(3, "a", snapshot=Event("a0")), b=filled(2, "b", snapshot=Event("b0"))
    )
    cut = Stream(both, now=0.0, last_event_id="a.a.1~b.b.9", max_write=17)
    received = b"".join(cut.data_to_send(0.0))
    rest = Stream(both, now=1.0, last_event_id=str(cut.cursor), hello=hello_event)

    assert b"data: 2\nid: a.a.2" == received
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
    """Topics take turns, so that a small *max_write* starves none of them."""
    both = topics(a=filled(99, "a"), b=filled(1, "b"))
    stream = Stream(both, now=0.0, last_event_id="a.a.0~b.b.0", max_write=60)
    first, second = (b"".join(stream.data_to_send(0.0)) for _ in range(2))

    assert b"~b.b.1" not in first
    assert b"~b.b.1" in second


@pytest.mark.parametrize("presented", ["a.a.1~b.b.1", "a.a.1~b.old.1", "a.a.1", "?"])
def test_subscribe(presented: str) -> None:
    """A topic that is added to a running stream starts with its snapshot.

    The ids that were sent before do not contain the topic. After a cut its position
    would be unknown, whatever the peer presented at first.
    """
    stream = Stream(
        topics(a=filled(1, "a")), now=0.0, last_event_id=presented, gap=gap_event
    )
    drain(stream, 0.0)
    stream.subscribe("b", filled(2, "b", snapshot=Event("state")))

    sent = drain(stream, 1.0).split(b"\n")
    received = [line for line in sent if line.startswith(b"data: ")]
    assert [b"data: state", b"data: 1", b"data: 2"] == received
    assert b"event: gap" not in sent
    assert str(stream.cursor) == "a.a.1~b.b.2"


def test_subscribe_before_the_first_write() -> None:
    """A topic that is added before the first write resumes at its position."""
    stream = Stream(topics(a=filled(1, "a")), now=0.0, last_event_id="a.a.1~b.b.1")
    stream.subscribe("b", filled(2, "b"))

    assert b"data: 2\nid: a.a.1~b.b.2\n\n" == drain(stream, 0.0)


def test_position_of_another_topic_is_removed() -> None:
    """The first write removes positions of other topics from the last event id."""
    stream = Stream(
        topics(a=filled(1, "a")),
        now=0.0,
        last_event_id="a.a.1~b.b.1",
        hello=hello_event,
    )

    hello = b"event: hello\ndata: current a.a.1 inf\n\n"
    assert hello + b"id: a.a.1\n\n" == drain(stream, 0.0)


def test_unsubscribe() -> None:
    """`unsubscribe()` removes the topic's position from cursor and last event id."""
    both = topics(a=filled(1, "a"), b=filled(1, "b"))
    stream = Stream(both, now=0.0, last_event_id="a.a.1~b.b.1")
    drain(stream, 0.0)
    stream.unsubscribe("a")
    sent = [drain(stream, 1.0)]
    both["a"].append(Event("2"), now=2.0)
    both["b"].append(Event("2"), now=2.0)
    sent += [drain(stream, 2.0)]

    assert [b"id: b.b.1\n\n", b"data: 2\nid: b.b.2\n\n"] == sent


def test_subscribe_again() -> None:
    """A topic that is added again starts with its snapshot; no event is sent twice."""
    history = filled(2, "b", snapshot=Event("0"))
    stream = Stream(topics(a=filled(0), b=history), now=0.0, last_event_id="b.b.1")
    sent = [drain(stream, 0.0)]
    stream.unsubscribe("b")
    history.append(Event("3"), now=1.0, snapshot=Event("state"))
    stream.subscribe("b", history)
    sent += [drain(stream, 1.0)]

    assert [
        b"id: a.e.0~b.b.1\n\ndata: 2\nid: a.e.0~b.b.2\n\n",
        b"id: a.e.0\n\ndata: state\nid: a.e.0~b.b.3\n\n",
    ] == sent


def test_subscribe_again_after_an_invalid_id() -> None:
    """After an invalid id a topic that is added again sends no gap event."""
    history = History("b", snapshot=Event("state"))
    stream = Stream(topics(b=history), now=0.0, last_event_id="?", gap=gap_event)
    drain(stream, 0.0)
    stream.unsubscribe("b")
    stream.subscribe("b", history)

    assert b"id: \n\ndata: state\nid: b.b.0\n\n" == drain(stream, 1.0)


@pytest.mark.parametrize("last_event_id", ["?", "z.another-epoch.1", "z.e.9"])
def test_invalid_positions_are_not_sent(last_event_id: str) -> None:
    """An invalid position of the peer is never part of an id."""
    stream = Stream(topics(a=filled(0)), now=0.0, last_event_id=last_event_id)
    cursors = [str(stream.cursor)]
    drain(stream, 0.0)
    stream.subscribe("z", filled(1))
    cursors += [str(stream.cursor)]

    assert ["", "a.e.0"] == cursors
    assert b"id: a.e.0~z.e.1\n\n" == drain(stream, 0.0)


def test_added_topics_fit() -> None:
    """An added topic cannot make an id too long, whatever the peer presents."""
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


def test_topics_that_do_not_fit() -> None:
    """Topics that do not fit into a cursor raise, and the stream is unchanged."""
    stream = Stream(topics(a=filled(1)), now=0.0, last_event_id="a.e.1")
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


def test_too_many_topics() -> None:
    """A ninth topic raises."""
    with pytest.raises(LocalProtocolError, match="at most 8, got 9"):
        Stream({f"{n}": filled(0) for n in range(MAX_TOPICS + 1)}, now=0.0)


def test_no_topic() -> None:
    """A stream can start without a topic; its cursor is empty."""
    stream = Stream({}, now=0.0, hello=hello_event)

    assert b"event: hello\ndata: current  inf\n\n" == drain(stream, 0.0)
    assert "" == str(stream.cursor)


# Heartbeat and age.


def test_heartbeat() -> None:
    """A comment is sent after *heartbeat* seconds without output, and only then."""
    history = filled(0)
    stream = Stream(history, now=100.0, last_event_id="e.0", heartbeat=15.0)
    deadlines = [stream.deadline]
    sent = []
    for now in (100.0, 114.9, 115.0, 115.0):
        sent.append(drain(stream, now))
        deadlines.append(stream.deadline)
    history.append(Event("1"), now=120.0)
    for now in (120.0, 130.0, 134.9, 135.0):
        sent.append(drain(stream, now))
        deadlines.append(stream.deadline)

    assert [
        b":\n", b"", b":\n", b"",
        b"data: 1\nid: e.1\n\n", b"", b"", b":\n",
    ] == sent  # fmt: skip
    assert [100.0, *[115.0] * 2, *[130.0] * 2, *[135.0] * 3, 150.0] == deadlines


def test_ping() -> None:
    """A ping is an event instead of the comment, made from the cursor."""
    stream = Stream(
        filled(3), now=0.0, last_event_id="e.3", heartbeat=5.0, ping=ping_event
    )

    assert b"event: ping\ndata: e.3\n\n" == drain(stream, 0.0)
    assert b"" == drain(stream, 4.9)
    assert b"event: ping\ndata: e.3\n\n" == drain(stream, 5.0)


def test_ping_is_made_once_per_position() -> None:
    """The ping of one position is made once."""
    history, other = filled(3), filled(0)
    made: list[str] = []

    def ping(cursor: Cursor) -> Event:
        made.append(str(cursor))
        return ping_event(cursor)

    stream = Stream(history, now=0.0, last_event_id="e.3", heartbeat=5.0, ping=ping)
    sent = [drain(stream, now) for now in (0.0, 5.0, 10.0)]
    history.append(Event("4"), now=11.0)
    drain(stream, 11.0)
    sent += [drain(stream, now) for now in (16.0, 21.0)]

    pings = [b"event: ping\ndata: e.3\n\n"] * 3 + [b"event: ping\ndata: e.4\n\n"] * 2
    assert pings == sent
    assert ["e.3", "e.4"] == made

    stream.subscribe("b", other)
    drain(stream, 22.0)
    other.append(Event("1"), now=23.0)
    drain(stream, 23.0)
    assert b"event: ping\ndata: e.4~b.e.1\n\n" == drain(stream, 28.0)


def test_max_age() -> None:
    """After *max_age* seconds the stream sends its close message and closes."""
    history = filled(0)
    message = CloseMessage(Event("until later", type="bye"), retry=2000)
    stream = Stream(
        history, now=0.0, max_age=60.0, heartbeat=25.0, close_message=message
    )
    deadlines = []
    for now in (0.0, 25.0, 50.0):
        drain(stream, now)
        deadlines.append(stream.deadline)
    history.append(Event("too late"), now=60.0)
    sent = drain(stream, 60.0)

    assert [25.0, 50.0, 60.0] == deadlines
    assert b"retry: 2000\nevent: bye\ndata: until later\n\n" == sent
    assert -inf == stream.deadline
    assert not stream.is_open


def test_close_message_is_made_at_max_age() -> None:
    """A function makes the close message at *max_age*, and not before."""
    made: list[str] = []

    def message() -> CloseMessage:
        made.append("message")
        return CloseMessage(Event("until later"))

    stream, closed = (
        Stream(filled(0), now=0.0, max_age=60.0, heartbeat=90.0, close_message=message)
        for _ in range(2)
    )
    drain(stream, 0.0)
    closed.close()
    drain(closed, 70.0)
    early = list(made)

    assert b"data: until later\n\n" == drain(stream, 60.0)
    assert b"" == drain(stream, 61.0)
    assert [] == early
    assert ["message"] == made


@pytest.mark.parametrize(("chance", "age"), [(0.0, 80.0), (0.5, 90.0), (0.999, 99.98)])
def test_random_shortens_max_age(chance: float, age: float) -> None:
    """*random* shortens *max_age* by up to a fifth; hello has the actual age."""
    ages = []

    def receive(resume: ResumeInfo) -> Event:
        ages.append(resume.max_age)
        return Event("")

    stream = Stream(
        filled(0),
        now=1000.0,
        max_age=100.0,
        heartbeat=inf,
        random=lambda: chance,
        hello=receive,
    )
    drain(stream, 1000.0)

    assert [pytest.approx(age)] == ages
    assert pytest.approx(1000.0 + age) == stream.deadline


def test_short_times() -> None:
    """Times below a second work."""
    stream = Stream(filled(0), now=0.0, heartbeat=0.25, max_age=0.5)
    drain(stream, 0.0)
    deadlines = [stream.deadline]
    drain(stream, 0.25)
    deadlines.append(stream.deadline)

    assert [0.25, 0.5] == deadlines
    assert b"" == drain(stream, 0.5)
    assert not stream.is_open


def test_default_heartbeat() -> None:
    """The default heartbeat is 15 s, as WHATWG HTML 9.2.7 advises."""
    stream = Stream(filled(0), now=0.0)
    drain(stream, 0.0)

    assert 15.0 == stream.deadline


@pytest.mark.parametrize("bound", ["heartbeat", "max_age", "max_write"])
@pytest.mark.parametrize("value", [0, -1])
def test_bounds(bound: str, value: int) -> None:
    """Times and bounds of 0 or less raise."""
    with pytest.raises(
        LocalProtocolError, match=r"^expected times and bounds above 0$"
    ):
        Stream(filled(0), now=0.0, **{bound: value})  # type: ignore[arg-type]


# Close.


@pytest.mark.parametrize(
    ("message", "written"),
    [
        pytest.param(None, b"", id="none"),
        pytest.param(CloseMessage(), b"", id="empty"),
        pytest.param(
            CloseMessage(Event("bye"), retry=0), b"retry: 0\ndata: bye\n\n", id="both"
        ),
    ],
)
def test_close(message: CloseMessage | None, written: bytes) -> None:
    """A closed stream sends its close message, and nothing after it."""
    history = filled(1)
    stream = Stream(history, now=0.0)
    drain(stream, 0.0)
    stream.close(message)
    open_before = stream.is_open
    deadline = stream.deadline
    sent = drain(stream, 1.0)
    history.append(Event("2"), now=2.0)
    stream.close(CloseMessage(Event("once more")))

    assert bool(written) == open_before
    assert written == sent
    assert (-inf, -inf) == (deadline, stream.deadline)
    assert not stream.is_open
    assert b"" == drain(stream, 999.0)


def test_close_in_the_middle_of_an_event() -> None:
    """The rest of a cut event is sent before the close message."""
    stream = Stream(filled(2), now=0.0, last_event_id="e.0", max_write=7)
    sent = b"".join(stream.data_to_send(0.0))
    stream.close(CloseMessage(Event("bye")))
    stream.close(CloseMessage(Event("ignored")))
    writes, open_after = [], []
    for _ in range(4):
        writes.append(b"".join(stream.data_to_send(0.0)))
        open_after.append(stream.is_open)

    assert b"data: 1" == sent
    assert [b"\nid: e.", b"1\n\ndata", b": bye\n\n", b""] == writes
    assert [True, True, False, False] == open_after
    assert "e.1" == str(stream.cursor)


def test_close_before_the_first_write() -> None:
    """A stream that is closed before its first write sends hello and the message."""
    stream = Stream(filled(2), now=0.0, hello=hello_event, max_write=20)
    stream.close(CloseMessage(retry=9))

    hello = b"event: hello\ndata: snapshot e.2 inf\n\n"
    assert hello + b"retry: 9\n\n" == drain(stream, 0.0)
    assert not stream.is_open


def test_close_before_the_first_write_without_a_message() -> None:
    """A stream closed before its first write without a message sends nothing."""
    stream = Stream(filled(2), now=0.0, hello=hello_event)
    stream.close()

    assert b"" == drain(stream, 0.0)


def test_unnamed_and_named_topic() -> None:
    """A topic without events has its position in every id of the other topics."""
    both = topics(k=filled(0, "key")) | {"": filled(2, "e")}
    stream = Stream(both, now=0.0, last_event_id="e.1", hello=hello_event)
    sent = drain(stream, 0.0)
    again = Stream(both, now=1.0, last_event_id=str(stream.cursor), hello=hello_event)

    assert (
        b"".join(
            [
                b"event: hello\ndata: snapshot k.key.0~e.2 inf\n\n",
                b"id: k.key.0~e.1\n\n",
                b"data: 2\nid: k.key.0~e.2\n\n",
            ]
        )
        == sent
    )
    assert b"event: hello\ndata: current k.key.0~e.2 inf\n\n" == drain(again, 1.0)


# The timed event.


def test_timed_event() -> None:
    """A timed event is sent once at its time, and the stream stays open."""
    history = filled(1)
    warning = (30.0, Event("soon", type="auth"))
    stream = Stream(history, now=100.0, last_event_id="e.1", timed_event=warning)
    before = drain(stream, 100.0)
    stream.data_to_send(129.0)
    deadline = stream.deadline
    sent = drain(stream, 130.0)
    history.append(Event("2"), now=131.0)

    assert b":\n" == before
    assert 130.0 == deadline
    assert b"event: auth\ndata: soon\n\n" == sent
    assert 145.0 == stream.deadline
    assert b"data: 2\nid: e.2\n\n" == drain(stream, 131.0)


def test_timed_event_at_once() -> None:
    """A timed event of 0 seconds is sent after hello and before the events."""
    stream = Stream(
        filled(1), now=0.0, last_event_id="e.0", hello=hello_event,
        timed_event=(0.0, Event("now")),
    )  # fmt: skip
    sent = drain(stream, 0.0)

    assert [b"event: hello", b"data: now", b"data: 1"] == [
        block.splitlines()[0] for block in sent.split(b"\n\n")[:-1]
    ]


def test_timed_event_that_cannot_be_encoded() -> None:
    """A timed event that cannot be encoded raises in the constructor."""
    with pytest.raises(LocalProtocolError, match="type: expected a single line"):
        Stream(filled(1), now=0.0, timed_event=(1.0, Event("x", type="two\nlines")))


# Positions and deltas.


def test_cursor() -> None:
    """The cursor follows the data that was handed out; it is empty at first."""
    stream = Stream(filled(2), now=0.0, last_event_id="e.1")
    invalid = Stream(filled(2), now=0.0, last_event_id="x.1")
    before = stream.cursor
    drain(stream, 0.0)

    assert Cursor({"": Position("e", 1)}) == before
    assert Cursor({"": Position("e", 2)}) == stream.cursor
    assert Cursor() == invalid.cursor


def test_delta() -> None:
    """A delta is made from the offset of its subscriber's last event."""
    history = History("e", snapshot=Event("state"), capacity=9)
    history.append(Delta(lambda base: Event(f"from {base}")), now=0.0)
    early = Stream(history, now=0.0, last_event_id="e.0")
    drain(early, 0.0)
    history.advance(snapshot=Event("state"))
    late = Stream(history, now=0.0)
    drain(late, 0.0)
    history.append(Delta(lambda base: Event(f"from {base}")), now=0.0)

    assert b"data: from 1\nid: e.3\n\n" == drain(early, 0.0)
    assert b"data: from 2\nid: e.3\n\n" == drain(late, 0.0)


INVALID_MESSAGE = CloseMessage(Event("x", type="two\nlines"))


def test_close_message_that_cannot_be_encoded() -> None:
    """A close message that cannot be encoded raises when it is given."""
    stream = Stream(filled(1), now=0.0, last_event_id="e.0")
    with pytest.raises(LocalProtocolError, match="type: expected a single line"):
        Stream(filled(1), now=0.0, close_message=INVALID_MESSAGE)
    with pytest.raises(LocalProtocolError, match="type: expected a single line"):
        stream.close(INVALID_MESSAGE)

    assert stream.is_open
    assert b"data: 1\nid: e.1\n\n" == drain(stream, 0.0)


def fail(*arguments: object) -> Event:
    raise ZeroDivisionError


@pytest.mark.parametrize("name", ["hello", "gap", "ping"])
def test_callers_function_raises(name: str) -> None:
    """An exception of a caller's function closes the stream."""
    history = filled(2, capacity=1)
    functions: dict[str, Callable[..., Any]] = {name: fail}
    stream = Stream(history, now=0.0, max_write=9, **functions)

    def run() -> None:
        drain(stream, 0.0)
        drain(stream, 50.0)
        history.append(Event("3"), now=60.0)
        history.append(Event("4"), now=60.0)
        drain(stream, 60.0)

    with pytest.raises(ZeroDivisionError):
        run()

    assert not stream.is_open
    assert -inf == stream.deadline
    assert b"" == drain(stream, 99.0)


def test_factory_raises() -> None:
    """An exception of an event's factory closes the stream."""
    history = filled(1)
    history.append(fail, now=0.0)
    stream = Stream(history, now=0.0, last_event_id="e.0")
    with pytest.raises(ZeroDivisionError):
        stream.data_to_send(0.0)

    assert not stream.is_open


# Write sizes.

EVENTS = st.lists(st.text("abc\n", max_size=30), max_size=8)


@pytest.mark.slow
@given(EVENTS, st.integers(1, 90), st.booleans())
def test_max_write(events: list[str], max_write: int, greet: bool) -> None:
    """Every *max_write* gives the same bytes, and no larger write."""

    def start(bound: int) -> Stream:
        history = History("e", snapshot=Event("state"))
        for data in events:
            history.append(Event(data), now=0.0)
        hello = hello_event if greet else None
        return Stream(history, now=0.0, hello=hello, max_write=bound, ping=ping_event)

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
@pytest.mark.parametrize("ping", [ping_event, None])
@pytest.mark.parametrize("max_write", [7, 1 << 16])
def test_sent_types(topic: str, capacity: int, ping: Any, max_write: int) -> None:
    """The stream names the events that its last chunks complete, in order."""
    history = History("e0", capacity=capacity, snapshot=Event("0", type="snapshot"))
    stream = Stream(
        {topic: history}, now=0.0, hello=hello_event, gap=gap_event, ping=ping,
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
    assert ("ping" in sent) is (ping is ping_event)
    assert "message" == sent[-1]


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_repeated_calls(steps: list[tuple[int, bool]]) -> None:
    """Repeated calls change neither the data nor the deadlines."""

    def run(times: int) -> tuple[list[tuple[float, bytes]], list[float]]:
        history = History("e", snapshot=Event("state"), capacity=2)
        stream = Stream(history, now=0.0, heartbeat=4.0, max_age=60.0, gap=gap_event)
        sent, deadlines, now = [], [], 0.0
        for wait, change in steps:
            now += wait
            if change:
                history.append(Event(f"at {now}"), now=now)
            for _ in range(times):
                sent.append((now, drain(stream, now)))
                assert stream.deadline > now or not stream.is_open
                deadlines.append(stream.deadline)
        return [write for write in sent if write[1]], deadlines

    once, deadlines = run(1)
    often, _ = run(3)

    assert once == often
    while_open = [deadline for deadline in deadlines if deadline > -inf]
    assert sorted(while_open) == while_open


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [0, 1, 3])
@given(steps=st.lists(st.sampled_from(["add", "skip", "reset", "wait", "ask"])))
def test_fast_path_agrees_with_the_general_path(
    capacity: int, steps: list[str]
) -> None:
    """The fast path returns the same data and deadlines as the general path."""

    def run() -> list[tuple[bytes, float, str]]:
        history = History("e0", capacity=capacity, snapshot=Event("state"))
        stream = Stream(
            history, now=0.0, gap=gap_event, ping=ping_event, max_write=40,
            heartbeat=2.0, max_age=20.0, close_message=CloseMessage(Event("bye")),
            timed_event=(7.0, Event("!")),
        )  # fmt: skip
        outputs, now, epoch = [], 0.0, 0
        for step in steps:
            match step:
                case "add":
                    delta = Delta(lambda base: Event(f"from {base}"))
                    history.append(delta, snapshot=Event("now"), now=now)
                case "skip":
                    history.advance(snapshot=Event("now"))
                case "reset":
                    epoch += 1
                    history.reset(f"e{epoch % 10}", snapshot=Event("new"))
                case "wait":
                    now += 1
                case "ask":
                    data = b"".join(stream.data_to_send(now))
                    outputs.append((data, stream.deadline, str(stream.cursor)))
        return outputs

    fast = run()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Stream, "_fast_path", lambda stream, now: None)
        general = run()

    assert general == fast


def test_streams_share_the_bytes_of_a_delta() -> None:
    """Streams at one position return the same bytes object, also for a delta."""
    history = filled(1)
    streams = [Stream(history, now=0.0, last_event_id="e.1") for _ in range(3)]
    for offset in (2, 3):
        for stream in streams:
            drain(stream, 0.0)
        history.append(Delta(lambda base: Event(f"from {base}")), now=0.0)
        one, *others = [stream.data_to_send(0.0) for stream in streams]

        assert [b"data: from %d\nid: e.%d\n\n" % (offset - 1, offset)] == one
        assert all(other[0] is one[0] for other in others)


def test_factory_raises_on_the_fast_path() -> None:
    """An exception of a factory closes the stream on the fast path too."""
    history = filled(1)
    stream = Stream(history, now=0.0, last_event_id="e.1")
    drain(stream, 0.0)
    history.append(fail, now=0.0)
    with pytest.raises(ZeroDivisionError):
        stream.data_to_send(0.0)

    assert not stream.is_open
    assert b"" == drain(stream, 1.0)


# The model: a page that knows only the bytes.


@attrs.define
class Page:
    """A page: the last event id, and each topic's state as a list of numbers.

    A topic has no state after a lost event or an `unsubscribe()`, until a snapshot.
    """

    id: str = ""
    states: dict[str, list[int]] = attrs.field(factory=dict)
    _unread: bytes = b""

    def read(self, data: bytes) -> None:
        *blocks, self._unread = (self._unread + data).split(b"\n\n")
        for block in blocks:
            lines = [line for line in block.decode().splitlines() if line != ":"]
            self.read_fields(dict(line.split(": ", 1) for line in lines))

    def read_fields(self, fields: dict[str, str]) -> None:
        if "data" in fields:
            self.dispatch(fields["event"], fields["data"])
        if "id" in fields:
            self.id = fields["id"]
            for topic in set(self.states) - set(Cursor.parse(self.id).positions):
                del self.states[topic]

    def dispatch(self, kind: str, data: str) -> None:
        match kind.split("-"):
            case ["hello"]:
                for topic, outcome in json.loads(data).items():
                    self.drop_if_lost(topic, outcome)
            case ["gap"]:
                self.drop_if_lost(*data.split())
            case [topic, "state"]:
                self.states[topic] = json.loads(data)
            case [topic, "added"] if topic in self.states:
                base, number = map(int, data.split())
                position = Cursor.parse(self.id).position(topic)
                assert position is not None
                assert position.offset == base
                self.states[topic].append(number)

    def drop_if_lost(self, topic: str, outcome: str) -> None:
        if outcome in ("snapshot", "reset"):
            self.states.pop(topic, None)


class Topic:
    """A topic of the server: a list of numbers, sent as states, deltas or both."""

    def __init__(self, name: str, capacity: int, has_snapshot: bool) -> None:
        self.name = name
        self.capacity = capacity
        self.has_snapshot = has_snapshot or capacity == 0
        self.numbers: list[int] = []
        self.states_by_position: dict[Position, list[int]] = {}
        self.epochs = 0
        self.history = History("e000", capacity=capacity, snapshot=self.state())
        self.record_state()

    def state(self) -> Event | None:
        data = json.dumps(self.numbers)
        return Event(data, type=f"{self.name}-state") if self.has_snapshot else None

    def record_state(self) -> None:
        self.states_by_position[self.history.head] = list(self.numbers)

    def add(self, number: int, now: float) -> None:
        self.numbers.append(number)
        kind = f"{self.name}-added"
        delta = Delta(lambda base: Event(f"{base} {number}", type=kind))
        self.history.append(delta, snapshot=self.state(), now=now)
        self.record_state()

    def advance(self) -> None:
        self.history.advance(snapshot=self.state())
        self.record_state()

    def skip(self, count: int, now: float) -> None:
        self.numbers += [-1] * count
        state = Event(json.dumps(self.numbers), type=f"{self.name}-state")
        self.history.skip_to_snapshot(state, offset=self.history.head.offset + count)
        self.record_state()

    def reset(self) -> None:
        self.epochs += 1
        self.numbers = []
        self.history.reset(f"e{self.epochs:03d}", snapshot=self.state())
        self.record_state()


def outcomes_event(resume: ResumeInfo) -> Event:
    return Event(json.dumps(dict(resume.outcomes)), type="hello")


class StreamModel(RuleBasedStateMachine):
    """A page has the server's state at its cursor, or knows that it has none."""

    @initialize(
        shapes=st.lists(
            st.tuples(st.sampled_from([0, 1, 3]), st.booleans()), max_size=3
        )
    )
    def start(self, shapes: list[tuple[int, bool]]) -> None:
        self.now = 0.0
        self.count = 0
        self.topics = {
            f"l{index}": Topic(f"l{index}", *shape)
            for index, shape in enumerate(shapes)
        }
        self.subscribed = dict(self.topics)
        # The page starts with every state: not every topic has a snapshot.
        heads = {name: topic.history.head for name, topic in self.topics.items()}
        self.page = Page(str(Cursor(heads)), {name: [] for name in heads})
        self.connect(max_write=1 << 16, is_invalid=False)

    @rule(max_write=st.sampled_from([1, 7, 40, 1 << 16]), is_invalid=st.booleans())
    def connect(self, max_write: int, is_invalid: bool) -> None:
        """The page reconnects with its last event id, or with an invalid one."""
        # An invalid id stays until a snapshot brings a valid one: hello has no id.
        self.page = Page("!") if is_invalid else Page(self.page.id, self.page.states)
        self.stream = Stream(
            {name: topic.history for name, topic in self.subscribed.items()},
            now=self.now,
            last_event_id=self.page.id,
            hello=outcomes_event,
            gap=gap_event,
            max_write=max_write,
        )

    @rule(pick=st.integers(0, 2), times=st.integers(1, 4))
    def add(self, pick: int, times: int) -> None:
        for _ in range(times):
            if topic := self.topics.get(f"l{pick}"):
                self.count += 1
                topic.add(self.count, self.now)

    @rule(pick=st.integers(0, 2))
    def advance(self, pick: int) -> None:
        if topic := self.topics.get(f"l{pick}"):
            topic.advance()

    @rule(pick=st.integers(0, 2), count=st.integers(1, 3))
    def skip(self, pick: int, count: int) -> None:
        if topic := self.topics.get(f"l{pick}"):
            topic.skip(count, self.now)

    @rule(pick=st.integers(0, 2))
    def reset(self, pick: int) -> None:
        if topic := self.topics.get(f"l{pick}"):
            topic.reset()

    @rule(pick=st.integers(0, 2))
    def subscribe_or_unsubscribe(self, pick: int) -> None:
        name = f"l{pick}"
        if name in self.subscribed:
            del self.subscribed[name]
            self.stream.unsubscribe(name)
        elif topic := self.topics.get(name):
            self.subscribed[name] = topic
            self.stream.subscribe(name, topic.history)

    @rule(seconds=st.integers(0, 20))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def write_once(self) -> None:
        self.page.read(b"".join(self.stream.data_to_send(self.now)))

    @rule()
    def write_all(self) -> None:
        self.page.read(drain(self.stream, self.now))
        for name, topic in self.subscribed.items():
            state = self.page.states.get(name)
            if topic.has_snapshot or state is not None:
                assert topic.numbers == state, name

    @invariant()
    def states_are_right_at_the_cursor(self) -> None:
        cursor = Cursor.parse(self.page.id)
        for name, state in self.page.states.items():
            position = cursor.position(name)
            assert position is not None, name
            assert self.topics[name].states_by_position[position] == state, name


class NightlyStreamModel(StreamModel):
    """The same property with more examples."""


TestStreamModel = pytest.mark.slow(StreamModel.TestCase)
TestStreamModel.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None
)
TestNightlyStreamModel = pytest.mark.nightly(NightlyStreamModel.TestCase)
TestNightlyStreamModel.settings = settings(
    max_examples=10_000, stateful_step_count=50, deadline=None
)
