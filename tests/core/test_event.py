"""`Event` and its encoder: an invalid value raises, and is never repaired."""

from __future__ import annotations

import enum

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundel import (
    Event,
    LocalProtocolError,
    ProtocolError,
    _event,
    encode,
    encode_comment,
    is_resumable_id,
)
from roundel._event import MAX_ID_LENGTH, encode_fields, encode_id, encode_retry
from support.whatwg import interpret

ENCODED = [
    pytest.param(Event("a"), b"data: a\n\n", id="data"),
    pytest.param(Event(""), b"data: \n\n", id="data-empty"),
    pytest.param(Event(" a"), b"data:  a\n\n", id="data-leading-space"),
    pytest.param(Event("a:b"), b"data: a:b\n\n", id="data-colon"),
    pytest.param(Event("\0"), b"data: \0\n\n", id="data-nul"),
    pytest.param(Event("é…🥟"), "data: é…🥟\n\n".encode(), id="data-utf-8"),
    pytest.param(Event("\ufeff"), b"data: \xef\xbb\xbf\n\n", id="data-bom"),
    pytest.param(Event("a\nb"), b"data: a\ndata: b\n\n", id="data-lf"),
    pytest.param(Event("a\rb"), b"data: a\ndata: b\n\n", id="data-cr"),
    pytest.param(Event("a\r\nb"), b"data: a\ndata: b\n\n", id="data-crlf"),
    pytest.param(Event("a\n\rb"), b"data: a\ndata: \ndata: b\n\n", id="data-lf-cr"),
    pytest.param(Event("\n"), b"data: \ndata: \n\n", id="data-only-lf"),
    pytest.param(Event("a\n\n"), b"data: a\ndata: \ndata: \n\n", id="data-ends-in-lf"),
    pytest.param(
        Event("a\nid: 1"), b"data: a\ndata: id: 1\n\n", id="data-like-a-field"
    ),
    pytest.param(
        Event("a\x85b\u2028c\vd"),
        "data: a\x85b\u2028c\vd\n\n".encode(),
        id="data-other-separators",
    ),
    pytest.param(Event("a", "t"), b"event: t\ndata: a\n\n", id="type"),
    pytest.param(Event("a", "message"), b"data: a\n\n", id="type-message"),
    pytest.param(Event("a", ""), b"data: a\n\n", id="type-empty"),
    pytest.param(Event("a", " t "), b"event:  t \ndata: a\n\n", id="type-spaces"),
    pytest.param(Event("a", "t\0"), b"event: t\0\ndata: a\n\n", id="type-nul"),
    pytest.param(Event("a", id="1"), b"data: a\nid: 1\n\n", id="id"),
    pytest.param(Event("a", id=""), b"data: a\nid: \n\n", id="id-empty-clears"),
    pytest.param(
        Event("a\nb", "t", "1"), b"event: t\ndata: a\ndata: b\nid: 1\n\n", id="all"
    ),
]


@pytest.mark.parametrize(("event", "expected"), ENCODED)
def test_encode(event, expected):
    """Each event has one encoding, as the grammar of WHATWG HTML 9.2.5 defines it."""
    actual = encode(event)

    assert expected == actual


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        pytest.param(None, b"data: a\n\n", id="none"),
        pytest.param(0, b"retry: 0\ndata: a\n\n", id="zero"),
        pytest.param(3000, b"retry: 3000\ndata: a\n\n", id="some"),
    ],
)
def test_encode_with_retry(retry, expected):
    """An event may have a reconnection time in whole milliseconds."""
    actual = encode(Event("a"), retry=retry)

    assert expected == actual


class Stringlike:
    def __str__(self) -> str:
        return "not text"


NOT_TEXT = [
    pytest.param(value, id=type(value).__name__)
    for value in (b"a", bytearray(b"a"), 1, 1.5, True, ["a"], {"a": 1}, Stringlike())
]
LINE_ENDS = [
    pytest.param("\n", id="lf"),
    pytest.param("\r", id="cr"),
    pytest.param("\r\n", id="crlf"),
    pytest.param("a\nb", id="within"),
    pytest.param("\ra", id="first"),
    pytest.param("a\n", id="last"),
    pytest.param("a\ndata: injected", id="injection"),
]


@pytest.mark.parametrize("field", ["data", "type"])
def test_none(field):
    """Data and type are required."""
    event = attrs.evolve(Event("a"), **{field: None})

    with pytest.raises(LocalProtocolError, match=rf"^{field}: expected str, got None"):
        encode(event)


@pytest.mark.parametrize("field", ["data", "type", "id"])
@pytest.mark.parametrize("value", NOT_TEXT)
def test_no_text(field, value):
    """A value that is no str raises an error that names the field."""
    event = attrs.evolve(Event("a"), **{field: value})

    with pytest.raises(LocalProtocolError, match=f"^{field}: expected str, got "):
        encode(event)


@pytest.mark.parametrize("any_id", [False, True])
@pytest.mark.parametrize("field", ["type", "id"])
@pytest.mark.parametrize("value", LINE_ENDS)
def test_line_end_in_type_or_id(field, value, any_id):
    """A line end in a type or an id raises, since it would inject a field."""
    event = attrs.evolve(Event("a"), **{field: value})

    with pytest.raises(LocalProtocolError, match=f"^{field}: expected a single line"):
        encode(event, any_id=any_id)


@pytest.mark.parametrize("any_id", [False, True])
@pytest.mark.parametrize("value", ["\0", "a\0", "\0a", "a\0b"])
def test_nul_in_an_id(value, any_id):
    """An id with NUL raises with any option, since peers ignore it."""
    with pytest.raises(LocalProtocolError, match=r"^id: expected no NUL"):
        encode(Event("a", id=value), any_id=any_id)


@pytest.mark.parametrize("value", ["\ud800", "a\udfff", "\udc00\ud800"])
def test_lone_surrogate_in_data(value):
    """A lone surrogate in the data raises."""
    with pytest.raises(LocalProtocolError, match=r"^data: expected Unicode text"):
        encode(Event(value))


def test_lone_surrogate_in_a_type():
    """A lone surrogate in the type raises an error that names the type."""
    with pytest.raises(LocalProtocolError, match=r"^type: expected Unicode text"):
        encode(Event("a", "\ud800"))


def test_lone_surrogate_in_an_id():
    """A lone surrogate in an id raises, also with *any_id*."""
    with pytest.raises(LocalProtocolError, match=r"^id: expected at most 128"):
        encode(Event("a", id="\ud800"))
    with pytest.raises(LocalProtocolError, match=r"^id: expected Unicode text"):
        encode(Event("a", id="\ud800"), any_id=True)


def test_lone_surrogate_in_a_comment():
    """A lone surrogate in a comment raises."""
    with pytest.raises(LocalProtocolError, match=r"^comment: expected Unicode text"):
        encode_comment("\ud800")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(value, id=repr(value))
        for value in (
            -1,
            1.0,
            1.5,
            float("inf"),
            True,
            False,
            "3000",
            b"1",
            [],
            -(10**9),
        )
    ],
)
def test_invalid_retry(value):
    """A reconnection time that is negative or no int raises."""
    with pytest.raises(LocalProtocolError, match=r"^retry: expected a whole number"):
        encode(Event("a"), retry=value)
    with pytest.raises(LocalProtocolError, match=r"^retry: expected a whole number"):
        encode_retry(value)


@pytest.mark.parametrize("value", [10**5000, -(10**5000)], ids=["large", "negative"])
def test_retry_of_too_many_digits(value):
    """An int of more digits than Python prints raises the same error."""
    with pytest.raises(LocalProtocolError, match=r"^retry: expected"):
        encode_retry(value)


class EventType(str, enum.Enum):  # noqa: UP042 - the older spelling formats differently
    BADGE = "badge"


class NewKind(enum.StrEnum):
    BADGE = "badge"


class Formatted(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "injected\ndata: x"

    def __format__(self, spec: str) -> str:
        return "injected\ndata: x"


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(EventType.BADGE, id="enum-and-str"),
        pytest.param(NewKind.BADGE, id="str-enum"),
        pytest.param(Formatted("badge"), id="str-that-formats"),
    ],
)
def test_subclass_of_str(kind):
    """A subclass of str is encoded by its value, not by its `str()`."""
    actual = encode(Event(kind, kind, kind)) + encode_comment(kind)

    assert actual == b"event: badge\ndata: badge\nid: badge\n\n: badge\n"


IDS = [
    pytest.param("", True, id="empty"),
    pytest.param("1", True, id="digit"),
    pytest.param("k3-17", True, id="epoch-and-offset"),
    pytest.param("a b", True, id="inner-space"),
    pytest.param("!#$%&'*+-./;=^_`|~,", True, id="safe-punctuation"),
    pytest.param("x" * MAX_ID_LENGTH, True, id="128-bytes"),
    pytest.param("x" * (MAX_ID_LENGTH + 1), False, id="129-bytes"),
    pytest.param(" a", False, id="space-first"),
    pytest.param("a ", False, id="space-last"),
    pytest.param(" ", False, id="space-alone"),
    pytest.param("é", False, id="latin-1"),
    pytest.param("…", False, id="unicode"),
    pytest.param("\t", False, id="tab"),
    pytest.param("a\x01", False, id="control"),
    pytest.param("a\x7f", False, id="del"),
    *(
        pytest.param(f"a{character}b", False, id=f"unsafe-{ord(character):x}")
        for character in '"():<>?@[\\]{}'
    ),
]


@pytest.mark.parametrize(("value", "resumable"), IDS)
def test_is_resumable_id(value, resumable):
    """An id is resumable if a browser sends it back without a preflight."""
    assert is_resumable_id(value) is resumable


@pytest.mark.parametrize(("value", "resumable"), IDS)
def test_ids_must_be_resumable(value, resumable):
    """An id that is not resumable raises without *any_id*."""
    event = Event("a", id=value)
    line = f"id: {value}\n".encode()

    assert encode(event, any_id=True) == b"data: a\n" + line + b"\n"
    if resumable:
        assert encode(event) == b"data: a\n" + line + b"\n"
    else:
        with pytest.raises(LocalProtocolError, match="pass any_id=True if no browser"):
            encode(event)


def test_parts():
    """The encoded parts are the lines of the encoded event."""
    event = Event("a\nb", "t", "1")
    parts = encode_retry(5) + encode_fields(event) + encode_id("1") + b"\n"

    assert encode(event, retry=5) == parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", b":\n", id="empty"),
        pytest.param("hi", b": hi\n", id="one-line"),
        pytest.param(" hi", b":  hi\n", id="leading-space"),
        pytest.param("é", b": \xc3\xa9\n", id="utf-8"),
        pytest.param("a\nb", b": a\n: b\n", id="lf"),
        pytest.param("a\rb", b": a\n: b\n", id="cr"),
        pytest.param("a\r\nb", b": a\n: b\n", id="crlf"),
        pytest.param("a\n\nb", b": a\n:\n: b\n", id="empty-line-within"),
        pytest.param("a\n", b": a\n:\n", id="line-end-last"),
        pytest.param("\ndata: x", b":\n: data: x\n", id="injection"),
    ],
)
def test_comment(text, expected):
    """Each line of a comment is a comment line, and no line is blank."""
    actual = encode_comment(text)

    assert expected == actual


def test_default_comment():
    """The default comment has two bytes."""
    assert encode_comment() == b":\n"


@pytest.mark.parametrize("value", [pytest.param(None, id="None"), *NOT_TEXT])
def test_comment_of_no_text(value):
    """A comment that is no str raises."""
    with pytest.raises(LocalProtocolError, match=r"^comment: expected str, got "):
        encode_comment(value)


def text(without: str = "") -> st.SearchStrategy[str]:
    return st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters=without)
        | st.sampled_from(sorted(set(": \n\r\ufeff\0ad") - set(without)))
    )


@given(
    text(), text("\r\n"), st.none() | text("\r\n\0"), st.none() | st.integers(0, 9**9)
)
def test_round_trip(data, kind, identity, retry):
    """The standard's algorithm parses an encoded event as the same event."""
    source = interpret(encode(Event(data, kind, identity), retry=retry, any_id=True))
    [actual] = source.dispatched

    assert actual.data == data.replace("\r\n", "\n").replace("\r", "\n")
    assert actual.type == (kind or "message")
    assert actual.last_event_id == (identity or "")
    assert source.reconnection_time == retry


@given(text())
def test_comments_change_no_event(comment):
    """No text of a comment changes the events of a page."""
    source = interpret(b"data: a\n" + encode_comment(comment) + b"data: b\n\n")
    [actual] = source.dispatched

    assert actual.data == "a\nb"
    assert source.last_event_id_string == ""
    assert source.reconnection_time is None


@given(st.text())
def test_encoded_or_raises(data):
    """Any text is encoded unchanged or raises `LocalProtocolError`."""
    try:
        stream = encode(Event(data, data, data), any_id=True) + encode_comment(data)
    except LocalProtocolError:
        return
    [actual] = interpret(stream).dispatched

    assert (actual.data, actual.last_event_id) == (data, data)


def test_events_are_values():
    """Events are equal by value, hashable and immutable."""
    event = Event("a", "t", "1")

    assert event == Event("a", "t", "1")
    assert hash(event) == hash(Event("a", "t", "1"))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.data = "b"


def test_errors_are_value_errors():
    """`LocalProtocolError` is a `ProtocolError` and a `ValueError`."""
    assert issubclass(LocalProtocolError, ProtocolError)
    assert issubclass(LocalProtocolError, ValueError)


@given(st.text(st.characters(max_codepoint=0x100), max_size=130))
def test_plain_ids(value):
    """The regular expression matches the resumable ids without a space."""
    plain = bool(_event._is_plain_id(value))

    assert plain == (is_resumable_id(value) and value != "" and " " not in value)
