"""One event of a lane: made when it is needed, and encoded for all who read it."""

from __future__ import annotations

import pytest

from roundel._cursor import Cursor, Position
from roundel._encoded_event import Delta, EncodedEvent
from roundel._errors import LocalProtocolError
from roundel._event import Event, encode

AT = Position("e", 3)
FRAME = b"data: x\nid: e.3\n\n"


def test_event_is_encoded_at_once() -> None:
    """Its id is where it stands, and time and place are as they were given."""
    entry = EncodedEvent(Event("x"), AT, 7.0)

    assert FRAME == entry.chunk
    assert (AT, 7.0, "message") == (entry.position, entry.time, entry.type)


def test_function_is_asked_once_when_it_is_needed() -> None:
    """All readers share what it makes: the bytes are one and the same object."""
    made: list[str] = []

    def make() -> Event:
        made.append("x")
        return Event("x")

    entry = EncodedEvent(make, AT, 0.0)
    made_early = list(made)
    one, two = entry.chunk, entry.chunk

    assert [] == made_early
    assert ["x"] == made
    assert FRAME == one
    assert one is two


def test_function_that_raises_is_asked_again() -> None:
    """It has made nothing."""
    answers: list[Event] = []
    entry = EncodedEvent(lambda: answers.pop(), AT, 0.0)
    with pytest.raises(IndexError):
        _ = entry.chunk
    answers.append(Event("x"))

    assert FRAME == entry.chunk


def test_id_is_refused() -> None:
    """Ids are the history's to assign, whether the event is there or is made."""
    mine = Event("x", id="mine")
    with pytest.raises(LocalProtocolError, match="id: expected none"):
        EncodedEvent(mine, AT, 0.0)
    with pytest.raises(LocalProtocolError, match="id: expected none"):
        _ = EncodedEvent(lambda: mine, AT, 0.0).chunk


def test_several_lanes() -> None:
    """A reader of several lanes gets the same event, with an id of its own."""
    entry = EncodedEvent(Event("x"), AT, 0.0)
    cursor = Cursor({"a": AT, "b": Position("f", 5)})

    assert encode(Event("x", id="a.e.3~b.f.5")) == entry.chunk_with_cursor(cursor)
    assert FRAME == entry.chunk


# Events that say from where they go on.


def test_delta_is_made_for_where_its_reader_was() -> None:
    """A delta is made once for those who follow, and anew for who comes from apart."""
    made: list[int] = []

    def make(told: int) -> Event:
        made.append(told)
        return Event(f"from {told}")

    entry = EncodedEvent(Delta(make), AT, 7.0, base_offset=1)
    usual = [
        entry.rebased_on(told).chunk
        for told in (Position("e", 1), None, Position("e", 1))
    ]
    apart = entry.rebased_on(Position("e", 2))

    assert [b"data: from 1\nid: e.3\n\n"] * 3 == usual
    assert b"data: from 2\nid: e.3\n\n" == apart.chunk
    assert (AT, 7.0) == (apart.position, apart.time)
    assert [1, 2] == made


def test_plain_event_is_the_same_for_all() -> None:
    """An event that is no delta does not care from where its reader comes."""
    entry = EncodedEvent(Event("x"), AT, 0.0, base_offset=1)

    assert entry is entry.rebased_on(Position("e", 0))
