"""Events and the only code that writes the wire format (WHATWG HTML 9.2.5)."""

from __future__ import annotations

import re
from typing import final

import attrs

from ._errors import LocalProtocolError

MAX_ID_LENGTH = 128
"""The longest id, in bytes, that a browser sends back without a CORS preflight."""

MAX_RETRY = 999_999_999_999_999
"""The longest reconnection time, in milliseconds: some 31 700 years.

The standard knows no largest number. This one is exact as a float too, and spares
everybody the conversion of as many digits as a peer cares to send.
"""

# Fetch, "CORS-unsafe request-header byte": a Last-Event-ID that holds one of these
# costs every cross-origin reconnect a preflight request.
_CORS_UNSAFE = frozenset('"():<>?@[\\]{}')

# What nearly every id is: resumable, and without a space. One match instead of five
# tests, since this is most of what encoding a badge costs.
_is_plain_id = re.compile(rf"[!#-'*-9;=A-Z^-z|~]{{1,{MAX_ID_LENGTH}}}").fullmatch


@final
@attrs.frozen(init=False)
class Event:
    """One server-sent event: what is written on one side and dispatched on the other.

    *data* is any text; its line ends arrive as LF. *type* is the name that listeners
    are registered by; an empty one means ``"message"``, the type that `onmessage`
    hears. *id* is what the peer will present as ``Last-Event-ID`` when it comes
    back: ``None`` leaves the peer's as it is, ``""`` clears it (WHATWG HTML 9.2.6).
    """

    data: str
    type: str
    id: str | None

    def __init__(self, data: str, type: str = "message", id: str | None = None) -> None:  # noqa: A002, WHATWG's names
        # A frozen class looks its slots up by name whenever it fills them. Filled by
        # their descriptors an event costs half, and reading a stream two thirds.
        _set_data(self, data)
        _set_type(self, type)
        _set_id(self, id)


_set_data = Event.__dict__["data"].__set__
_set_type = Event.__dict__["type"].__set__
_set_id = Event.__dict__["id"].__set__


def encode(event: Event, *, retry: int | None = None, any_id: bool = False) -> bytes:
    """Encode one event as the bytes of a stream.

    Encode once and share the bytes among all readers. *retry* is the reconnection
    time to set with it, in milliseconds. Nothing is ever stripped or repaired: a
    value that could not arrive as it is (a line end, NUL, a lone surrogate, a wrong
    type) raises `LocalProtocolError`, which names the field.

    An id must also be one that a browser can send back (`is_resumable_id()`);
    *any_id* says that you mean it all the same, for peers that are no browsers.
    Follows WHATWG HTML 9.2.5.
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
        # One of the two holds a lone surrogate; this says which.
        return _utf8(f"event: {kind}\n", "type") + _utf8(f"data: {data}\n", "data")


def encode_id(value: str, *, any_id: bool = False) -> bytes:
    """Encode the line that sets the peer's last event id."""
    if type(value) is str and _is_plain_id(value):
        return f"id: {value}\n".encode()
    line = _single_line(value, "id")
    if "\0" in line:
        raise LocalProtocolError("id: expected no NUL, which peers ignore the id for")
    if not any_id and not is_resumable_id(line):
        raise LocalProtocolError(
            f"id: expected at most {MAX_ID_LENGTH} printable ASCII characters that "
            f"browsers send back without a preflight, got {line!r}; "
            "pass any_id=True if no browser will read it"
        )
    return _utf8(f"id: {line}\n", "id")


def encode_retry(milliseconds: int) -> bytes:
    """Encode the line that sets the peer's reconnection time."""
    whole = type(milliseconds) is int
    if not whole or not 0 <= milliseconds <= MAX_RETRY:
        # Python refuses to write a number of thousands of digits, so none is.
        got = "another number" if whole else repr(milliseconds)
        raise LocalProtocolError(
            f"retry: expected a whole number of milliseconds, 0 to {MAX_RETRY}, "
            f"got {got}"
        )
    return b"retry: %d\n" % milliseconds


def encode_comment(text: str = "") -> bytes:
    """Encode a comment: bytes that keep a connection busy and that no page sees.

    Text of several lines becomes several comment lines. There is no blank line
    behind it, since parsers are known that take one for an event.
    """
    lines = _text(text, "comment").replace("\r\n", "\n").replace("\r", "\n")
    return _utf8(
        "".join(f": {line}\n" if line else ":\n" for line in lines.split("\n")),
        "comment",
    )


def is_resumable_id(value: str) -> bool:
    """Tell whether a browser can send *value* back as ``Last-Event-ID``, for free.

    True for at most 128 printable ASCII characters, none of them CORS-unsafe
    (Fetch, "CORS-safelisted request-header") and no space at either end (an HTTP
    field value has none). The empty id counts: it clears the peer's.
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
    # The text that a subclass holds, whatever it would rather be formatted as.
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
