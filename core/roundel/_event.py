"""Events and their encoding (WHATWG HTML 9.2.5); no other module writes the format."""

from __future__ import annotations

import re
from typing import final

import attrs

from ._errors import LocalProtocolError

MAX_ID_LENGTH = 128
"""Longest id, in bytes, that a browser sends back without a CORS preflight."""

MAX_RETRY = 999_999_999_999_999
"""Longest reconnection time in milliseconds, about 31,700 years.

The standard has no limit. This one is exact as a float, and bounds the digits that a
parser converts.
"""

# Fetch, "CORS-unsafe request-header byte": with one of these in Last-Event-ID every
# cross-origin reconnect needs a preflight request.
_CORS_UNSAFE = frozenset('"():<>?@[\\]{}')

# Most ids are resumable and have no space. One match replaces the five tests of
# is_resumable_id(), which are most of the cost of encoding a badge.
_is_plain_id = re.compile(rf"[!#-'*-9;=A-Z^-z|~]{{1,{MAX_ID_LENGTH}}}").fullmatch


@final
@attrs.frozen(init=False)
class Event:
    """A server-sent event, as it is written by a server and dispatched by a client.

    *data* is any text; its line ends arrive as LF. *type* is the name for which a page
    registers listeners; an empty one means ``"message"``. *id* is what the peer
    presents as ``Last-Event-ID`` when it reconnects: `None` leaves the peer's id
    unchanged, ``""`` clears it (WHATWG HTML 9.2.6).
    """

    data: str
    type: str
    id: str | None

    def __init__(self, data: str, type: str = "message", id: str | None = None) -> None:  # noqa: A002, WHATWG's names
        # The generated __init__ of a frozen class looks up each slot by name. Calling
        # the slots' descriptors halves the cost of an event.
        _set_data(self, data)
        _set_type(self, type)
        _set_id(self, id)


_set_data = Event.__dict__["data"].__set__
_set_type = Event.__dict__["type"].__set__
_set_id = Event.__dict__["id"].__set__


def encode(event: Event, *, retry: int | None = None, any_id: bool = False) -> bytes:
    """Encode one event as the bytes of a stream.

    Encode once and share the bytes among all subscribers. *retry* also sets the peer's
    reconnection time, in milliseconds. No value is stripped or repaired: one that
    cannot arrive unchanged (a line end, NUL, a lone surrogate, a wrong type) raises
    `LocalProtocolError`, which names the field.

    U+0085, U+2028 and U+2029 are no line ends of the format and are sent as they are. A
    reader that splits text at them, such as `str.splitlines()` and httpx's
    `iter_lines()`, loses such an event: in JSON, send them as escapes.

    An id must also be one that a browser can send back (`is_resumable_id()`), unless
    *any_id* is true. Follows WHATWG HTML 9.2.5.
    """
    chunk = encode_fields(event)
    if event.id is not None:
        chunk += encode_id(event.id, any_id=any_id)
    if retry is not None:
        chunk = encode_retry(retry) + chunk
    return chunk + b"\n"


def encode_fields(event: Event) -> bytes:
    """Encode *event* without its id and without the blank line that dispatches it."""
    kind = _single_line(event.type, "type")
    data = _text(event.data, "data")
    if "\r" in data:
        data = data.replace("\r\n", "\n").replace("\r", "\n")
    if "\n" in data:
        data = data.replace("\n", "\ndata: ")
    named = kind not in ("message", "")
    text = f"event: {kind}\ndata: {data}\n" if named else f"data: {data}\n"
    try:
        return text.encode()
    except UnicodeEncodeError:
        # The type or the data holds a lone surrogate; the error must name the field.
        return _utf8(f"event: {kind}\n", "type") + _utf8(f"data: {data}\n", "data")


def encode_id(value: str, *, any_id: bool = False) -> bytes:
    """Encode the line that sets the peer's last event id."""
    if type(value) is str and _is_plain_id(value):
        return f"id: {value}\n".encode()
    line = _single_line(value, "id")
    if "\0" in line:
        raise LocalProtocolError("id: expected no NUL, since peers ignore such an id")
    if not any_id and not is_resumable_id(line):
        raise LocalProtocolError(
            f"id: expected at most {MAX_ID_LENGTH} printable ASCII characters that "
            f"browsers send back without a preflight, got {line!r}; "
            "pass any_id=True if no browser reads the stream"
        )
    return _utf8(f"id: {line}\n", "id")


def encode_retry(milliseconds: int) -> bytes:
    """Encode the line that sets the peer's reconnection time."""
    check_retry(milliseconds)
    return b"retry: %d\n" % milliseconds


def check_retry(milliseconds: int) -> None:
    """Raise `LocalProtocolError` if no peer can keep this reconnection time."""
    is_int = type(milliseconds) is int
    if not is_int or not 0 <= milliseconds <= MAX_RETRY:
        # Python raises ValueError for the repr() of an int of thousands of digits.
        got = "another number" if is_int else repr(milliseconds)
        raise LocalProtocolError(
            f"retry: expected a whole number of milliseconds, 0 to {MAX_RETRY}, "
            f"got {got}"
        )


def encode_comment(text: str = "") -> bytes:
    """Encode a comment, which keeps a connection busy and which no page sees.

    Text of several lines becomes several comment lines. No blank line follows, since
    some parsers dispatch an event for it.
    """
    lines = _text(text, "comment").replace("\r\n", "\n").replace("\r", "\n")
    return _utf8(
        "".join(f": {line}\n" if line else ":\n" for line in lines.split("\n")),
        "comment",
    )


def is_resumable_id(value: str) -> bool:
    """Return whether a browser can send *value* as ``Last-Event-ID`` without preflight.

    True for at most 128 printable ASCII characters, none of them CORS-unsafe
    (Fetch, "CORS-safelisted request-header") and no space at either end (RFC 9110
    5.5). The empty id is resumable: it clears the peer's.
    """
    return (
        value.isascii()
        and value.isprintable()
        and len(value) <= MAX_ID_LENGTH
        and value[:1] != " " != value[-1:]
        and _CORS_UNSAFE.isdisjoint(value)
    )


def _text(value: str, field: str) -> str:
    if type(value) is str:
        return value
    if not isinstance(value, str):
        raise LocalProtocolError(f"{field}: expected str, got {value!r}")
    # A subclass may override __str__() and __format__().
    return str.__str__(value)


def _single_line(value: str, field: str) -> str:
    text = _text(value, field)
    if "\n" in text or "\r" in text:
        raise LocalProtocolError(f"{field}: expected a single line, got {text!r}")
    return text


def _utf8(text: str, field: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"{field}: expected Unicode text: {error}") from None
