"""One event of a topic: made when needed, encoded once for all subscribers."""

from __future__ import annotations

import pytest

from roundel._cursor import Cursor, Position
from roundel._encoded_event import Delta, EncodedEvent
from roundel._errors import LocalProtocolError
from roundel._event import Event, encode

POSITION = Position("e", 3)
CHUNK = b"data: x\nid: e.3\n\n"


def test_event_is_encoded_by_the_constructor() -> None:
    """The constructor encodes an event, with its position as id."""
    event = EncodedEvent(Event("x"), POSITION, 7.0)

    assert CHUNK == event.chunk
    assert (POSITION, 7.0, "message") == (event.position, event.time, event.type)


def test_factory_is_called_once_when_needed() -> None:
    """A factory is called once; all subscribers share one bytes object."""
    made: list[str] = []

    def make() -> Event:
        made.append("x")
        return Event("x")

    event = EncodedEvent(make, POSITION, 0.0)
    made_before = list(made)
    one, two = event.chunk, event.chunk

    assert [] == made_before
    assert ["x"] == made
    assert CHUNK == one
    assert one is two


def test_factory_that_raised_is_called_again() -> None:
    """A factory that raised is called again."""
    answers: list[Event] = []
    event = EncodedEvent(lambda: answers.pop(), POSITION, 0.0)
    with pytest.raises(IndexError):
        _ = event.chunk
    answers.append(Event("x"))

    assert CHUNK == event.chunk


def test_event_with_an_id_raises() -> None:
    """An event with an id raises, whether it is given or made."""
    with_id = Event("x", id="own")
    with pytest.raises(LocalProtocolError, match="id: expected none"):
        EncodedEvent(with_id, POSITION, 0.0)
    with pytest.raises(LocalProtocolError, match="id: expected none"):
        _ = EncodedEvent(lambda: with_id, POSITION, 0.0).chunk


def test_several_topics() -> None:
    """A subscriber of several topics gets the same event with its cursor as id."""
    event = EncodedEvent(Event("x"), POSITION, 0.0)
    cursor = Cursor({"a": POSITION, "b": Position("f", 5)})

    assert encode(Event("x", id="a.e.3~b.f.5")) == event.chunk_with_cursor(cursor)
    assert CHUNK == event.chunk


def test_another_epoch() -> None:
    """A copy at the same offset of another epoch keeps type and time."""
    copy = EncodedEvent(Event("x", "kind"), POSITION, 7.0).with_epoch("f")

    assert encode(Event("x", "kind", id="f.3")) == copy.chunk
    assert (Position("f", 3), 7.0, "kind") == (copy.position, copy.time, copy.type)
    cursor = Cursor({"a": Position("f", 3)})
    assert encode(Event("x", "kind", id="a.f.3")) == copy.chunk_with_cursor(cursor)


def test_another_epoch_of_a_factory() -> None:
    """A factory that was not called is called by the copy."""
    copy = EncodedEvent(lambda: Event("x"), POSITION, 0.0).with_epoch("f")

    assert encode(Event("x", id="f.3")) == copy.chunk


# Deltas.


def test_delta_is_made_for_the_previous_position() -> None:
    """A delta is made for the offset of each subscriber, or for the base offset."""
    event = EncodedEvent(Delta(lambda base: Event(f"from {base}")), POSITION, 7.0, 1)
    one, two, new = map(event.rebased_on, (Position("e", 1), Position("e", 2), None))

    assert b"data: from 1\nid: e.3\n\n" == one.chunk == new.chunk
    assert b"data: from 2\nid: e.3\n\n" == two.chunk
    assert (POSITION, 7.0) == (two.position, two.time)
    assert (True, False) == (event.is_delta, one.is_delta)


def test_delta_keeps_no_content() -> None:
    """A delta that is sent again has the content that it would have by then."""
    contents = ["a text"]
    event = EncodedEvent(Delta(lambda base: Event(contents[0])), POSITION, 7.0)
    before = event.rebased_on(None)

    assert b"data: a text\nid: e.3\n\n" == before.chunk is before.chunk
    contents[0] = "nothing"
    assert b"data: nothing\nid: e.3\n\n" == event.rebased_on(None).chunk


def test_event_is_the_same_for_all() -> None:
    """An event that is no delta is the same for every previous position."""
    event = EncodedEvent(Event("x"), POSITION, 0.0, base_offset=1)

    assert event is event.rebased_on(Position("e", 0))
