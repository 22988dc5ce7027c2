"""Cursors: a text that a peer presents is one that `str()` returns, or invalid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundel._cursor import (
    INVALID_POSITION,
    MAX_OFFSET,
    MAX_TOPICS,
    Cursor,
    Position,
    check_name,
    check_topics,
)
from roundel._errors import LocalProtocolError
from roundel._event import MAX_ID_LENGTH, is_resumable_id

ALPHABET = "ABCXYZabcxyz0123456789_-"
NAMES = st.text(ALPHABET, min_size=1, max_size=32)
OFFSETS = st.integers(0, MAX_OFFSET)
POSITIONS = st.builds(Position, NAMES, OFFSETS)
CURSORS = st.builds(
    Cursor, st.dictionaries(st.just("") | NAMES, POSITIONS, max_size=MAX_TOPICS)
).filter(lambda cursor: len(str(cursor)) <= MAX_ID_LENGTH)

EXAMPLES = [
    pytest.param({}, "", id="empty"),
    pytest.param({"": Position("e", 0)}, "e.0", id="one topic, at the start"),
    pytest.param({"": Position("e", 63)}, "e.-", id="last digit"),
    pytest.param({"": Position("e", 64)}, "e.10", id="first carry"),
    pytest.param({"": Position("e", MAX_OFFSET)}, "e.-------", id="highest offset"),
    pytest.param({"badge": Position("e1", 7)}, "badge.e1.7", id="a named topic"),
    pytest.param(
        {"items": Position("a", 1), "badge": Position("b", 2)},
        "items.a.1~badge.b.2",
        id="two topics, in order",
    ),
]

INVALID_TEXTS = [
    pytest.param("1718000000-0", id="another server's id"),
    pytest.param("e.", id="no offset"),
    pytest.param(".1", id="no epoch"),
    pytest.param("e.01", id="a leading zero"),
    pytest.param("e.00000000", id="eight digits"),
    pytest.param("e.10000000", id="an offset beyond the highest"),
    pytest.param("e.1 ", id="a trailing space"),
    pytest.param("e.1\n", id="a trailing line end"),
    pytest.param("e.1~", id="an empty topic"),
    pytest.param("~", id="only a separator"),
    pytest.param("e.1~e.2", id="the unnamed topic twice"),
    pytest.param("a.e.1~a.e.2", id="the same name twice"),
    pytest.param("a.b.c.1", id="four parts"),
    pytest.param("e.é", id="not ASCII"),
    pytest.param("\ud800", id="a lone surrogate"),
    pytest.param("e" * 33 + ".1", id="an epoch of 33"),
    pytest.param("~".join(f"{n}.e.1" for n in "abcdefghi"), id="nine topics"),
    pytest.param("~".join(f"{n * 30}.e.1" for n in "abcd"), id="129 characters"),
]


@pytest.mark.parametrize(("positions", "text"), EXAMPLES)
def test_text(positions: dict[str, Position], text: str) -> None:
    """A cursor has one text, and `parse()` returns the cursor."""
    actual = str(Cursor(positions))
    read = Cursor.parse(text)

    assert text == actual
    assert Cursor(positions) == read


@pytest.mark.parametrize("text", INVALID_TEXTS)
def test_invalid(text: str) -> None:
    """A text that `str()` never returns is an invalid cursor."""
    cursor = Cursor.parse(text)

    assert Cursor(is_invalid=True) == cursor
    assert INVALID_POSITION == cursor.position("badge")


@pytest.mark.parametrize(("length", "is_invalid"), [(128, False), (129, True)])
def test_longest(length: int, is_invalid: bool) -> None:
    """A cursor may have the 128 bytes that a browser sends without a preflight."""
    head = "~".join(f"{name * 32}.e.1" for name in "abc")
    text = f"{head}~{'d' * (length - len(head) - 5)}.e.1"

    assert length == len(text)
    assert is_invalid == Cursor.parse(text).is_invalid


def test_bytes() -> None:
    """A header value may be bytes, and need not be ASCII."""
    position = Position("e", 10)

    assert Cursor({"": position}) == Cursor.parse(b"e.A")
    assert Cursor(is_invalid=True) == Cursor.parse(b"e.A\xff")


@pytest.mark.parametrize("text", [None, "", b""])
def test_no_id(text: str | bytes | None) -> None:
    """A missing or empty id is the empty cursor, which is not invalid."""
    cursor = Cursor.parse(text)

    assert Cursor() == cursor
    assert cursor.position("") is None


@pytest.mark.slow
@given(CURSORS)
def test_inverse(cursor: Cursor) -> None:
    """`parse()` is the inverse of `str()`, order included, and ids are resumable."""
    text = str(cursor)
    read = Cursor.parse(text)

    assert cursor == read
    assert list(cursor.positions) == list(read.positions)
    assert is_resumable_id(text)


@given(st.text() | st.text("Az09.~_-", max_size=40) | st.binary())
def test_parse_is_total(text: str | bytes) -> None:
    """Any text or bytes are a cursor with exactly that text, or invalid."""
    cursor = Cursor.parse(text)
    plain = text.decode("latin-1") if isinstance(text, bytes) else text

    assert cursor.is_invalid or plain == str(cursor)


@given(OFFSETS, OFFSETS)
def test_offsets_are_distinct(one: int, other: int) -> None:
    """Different offsets have different texts."""
    texts = {str(Cursor({"": Position("e", offset)})) for offset in (one, other)}

    assert len({one, other}) == len(texts)


def test_longest_cursor_of_eight_topics() -> None:
    """Eight topics fit into 128 characters at the highest offset."""
    epochs = {f"l{n}": "abcd" for n in range(MAX_TOPICS)}
    check_topics(epochs)
    widest = Cursor({topic: Position(epochs[topic], MAX_OFFSET) for topic in epochs})

    assert len(str(widest)) <= 128
    assert widest == Cursor.parse(str(widest))


def test_topics_that_just_fit() -> None:
    """A cursor of exactly 128 characters passes the check."""
    epochs = dict.fromkeys("abc", "e" * 32)
    check_topics(epochs)
    widest = Cursor({topic: Position("e" * 32, MAX_OFFSET) for topic in epochs})

    assert 128 == len(str(widest))


@pytest.mark.parametrize(
    ("epochs", "message"),
    [
        pytest.param(
            {f"{n}": "e" for n in range(9)},
            "topics: expected at most 8, got 9",
            id="too many",
        ),
        pytest.param(
            {f"l{n}": "abcde" for n in range(8)},
            "at most 128 characters, these can take 135",
            id="eight, one character too wide",
        ),
        pytest.param(
            {"a" * 2: "e" * 32, "b": "e" * 32, "c": "e" * 32},
            "at most 128 characters, these can take 129",
            id="three, one character too wide",
        ),
    ],
)
def test_topics_that_do_not_fit(epochs: dict[str, str], message: str) -> None:
    """Topics whose cursor can exceed an id raise."""
    with pytest.raises(LocalProtocolError, match=message):
        check_topics(epochs)


@pytest.mark.slow
@given(st.dictionaries(st.just("") | NAMES, st.tuples(NAMES, OFFSETS)))
def test_checked_topics_fit(topics: dict[str, tuple[str, int]]) -> None:
    """No cursor of topics that passed the check is too long."""
    try:
        check_topics({name: epoch for name, (epoch, _) in topics.items()})
    except LocalProtocolError:
        return
    cursor = Cursor({name: Position(*position) for name, position in topics.items()})

    assert cursor == Cursor.parse(str(cursor))


@pytest.mark.parametrize("name", ["", "a" * 33, "a.b", "a~b", "a b", "é", "a\n"])
def test_invalid_name(name: str) -> None:
    """A name that a cursor cannot carry raises an error that shows it."""
    with pytest.raises(LocalProtocolError) as caught:
        check_name(name, "epoch")

    expected = f"epoch: expected 1 to 32 of A-Z a-z 0-9 _ -, got {name!r}"
    assert expected == str(caught.value)


def test_name() -> None:
    """A valid name is returned unchanged."""
    name = "Az09_-" + "x" * 26

    assert name == check_name(name, "topic")
