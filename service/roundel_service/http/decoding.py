"""Decodes bodies, queries, paths and headers; errors name each bad field."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct

from ..domain.json_depth import is_deeper
from ..domain.names import check_user_name
from .messages import Request, is_text
from .problems import FieldError, Problem, invalid_request
from .schemas import NotifyRequest, Recipients, StreamQuery

MAX_BODY = 1 << 20
"""Size limit of a body except a batch, in bytes."""

MAX_LINE = 1 << 16
"""Size limit of a line of a batch, in bytes."""

MAX_ITEM = 8_192
"""Size limit of an item, in bytes of JSON."""

MAX_DEPTH = 32
"""Maximum nesting depth of `data`."""

_T = TypeVar("_T", bound=Struct)
_TOO_DEEP = FieldError("data", f"expected at most {MAX_DEPTH} levels of nesting")
_AT = re.compile(r"^(?P<detail>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_MAX_PARAMETERS = 20
_STREAM_FIELDS = frozenset(StreamQuery.__struct_fields__)
# The name that event-source-polyfill and others reconnect with.
_STREAM_ALIASES = {"lastEventId": "cursor"}


def decode_body(body: bytes, kind: type[_T]) -> _T:
    """Decode *body* as a *kind*; raises a 400 or 422 `Problem` with every bad field."""
    try:
        try:
            request = msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError as error:
            # The decoder stops at the first error; a second pass finds all of them.
            errors = _field_errors(msgspec.json.decode(body), kind, error)
            raise invalid_request(*errors) from None
    except RecursionError:
        raise _too_deep(body, kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("malformed-body", str(error)) from None
    if isinstance(request, NotifyRequest) and is_deeper(request.data, MAX_DEPTH):
        raise invalid_request(_TOO_DEEP)
    return request


def _too_deep(body: bytes, kind: type[Struct]) -> Problem:
    """Return the problem of a body that is too deep for the decoder."""
    # The decoder did not read on: an end that is missing shows in the counts.
    if any(body.count(start) != body.count(end) for start, end in (b"[]", b"{}")):
        return Problem("malformed-body", "the JSON is nested too deep, and cut")
    return invalid_request(
        _TOO_DEEP if kind is NotifyRequest else FieldError("body", "nested too deep")
    )


async def read_body(request: Request, kind: type[_T]) -> _T:
    """Read and decode a body; raises a 400, 408, 413 or 422 `Problem`."""
    return decode_body(await request.whole_body(MAX_BODY), kind)


def decode_query(parameters: Sequence[tuple[str, str]], kind: type[_T]) -> _T:
    """Decode query *parameters* as a *kind*; raises a 422 `Problem`."""
    if len(parameters) > _MAX_PARAMETERS:
        detail = f"expected at most {_MAX_PARAMETERS} parameters"
        raise invalid_request(FieldError("query", detail))
    counts = Counter(name for name, _ in parameters)
    if len(counts) < len(parameters):
        repeated = (name for name, count in counts.items() if count > 1)
        detail = "given more than once"
        raise invalid_request(*(FieldError(name, detail) for name in repeated))
    if garbage := [name for name, value in parameters if not is_text(value)]:
        detail = "expected percent-encoded UTF-8"
        raise invalid_request(*(FieldError(name, detail) for name in garbage))
    return _from_text(dict(parameters), kind, "query")


def decode_stream_query(parameters: Sequence[tuple[str, str]]) -> StreamQuery:
    """Decode the query of a stream; raises a 422 `Problem`.

    WHATWG HTML 9.2.3: a 4xx is final for a browser. So an unknown parameter is ignored,
    and the last of a repeated one counts: polyfills and proxies append their own.
    """
    named = ((_STREAM_ALIASES.get(name, name), value) for name, value in parameters)
    known = {name: value for name, value in named if name in _STREAM_FIELDS}
    return _from_text(known, StreamQuery, "query")


def decode_path(raw: Mapping[str, str], kind: type[_T]) -> _T:
    """Decode path parameters as a *kind*; raises a 422 `Problem`."""
    return _from_text(raw, kind, "path")


def _from_text(raw: Mapping[str, str], kind: type[_T], whole: str) -> _T:
    try:
        return msgspec.convert(raw, kind, strict=False)
    except msgspec.ValidationError as error:
        errors = list(_field_errors(raw, kind, error, strict=False))
        # An error of no single field is reported for the whole.
        raise invalid_request(*(errors or [_field_error(whole, error)])) from None


def _field_errors(
    raw: object, kind: type[Struct], first: Exception, *, strict: bool = True
) -> Iterator[FieldError]:
    """Yield the errors of each field; *first* is the decoder's error."""
    if not isinstance(raw, dict):
        yield _field_error("", first)
        return
    fields = msgspec.structs.fields(kind)
    for field in fields:
        if field.name in raw:
            if names := list(_name_errors(field.name, raw[field.name])):
                yield from names
                continue
            if field.type is Any and is_deeper(raw[field.name], MAX_DEPTH):
                yield _TOO_DEEP
            try:
                msgspec.convert(raw[field.name], field.type, strict=strict)
            except msgspec.ValidationError as error:
                yield _field_error(field.name, error)
        elif field.required:
            yield FieldError(field.name, "required")
    for name in raw.keys() - {field.name for field in fields}:
        yield FieldError(name, "unknown field")


def check_recipients(to: Recipients) -> dict[str, Problem | None]:
    """Return the recipients in order, each once, with the problem of a bad name."""
    fields: dict[str, str] = {} if to.user is UNSET else {to.user: "to.user"}
    for at, name in enumerate(to.users or ()):
        fields.setdefault(name, f"to.users[{at}]")
    return {name: _name_problem(field, name) for name, field in fields.items()}


def _name_problem(field: str, name: str) -> Problem | None:
    reason = check_user_name(name)
    return invalid_request(FieldError(field, reason)) if reason else None


def _name_errors(field: str, value: object) -> Iterator[FieldError]:
    """Yield the errors of the user names in a field."""
    match value:
        case str() if field.endswith("user") and (reason := check_user_name(value)):
            yield FieldError(field, reason)
        case {"user": name}:
            yield from _name_errors(f"{field}.user", name)
        case {"users": list(names)}:
            for number, name in enumerate(names):
                reason = check_user_name(name) if isinstance(name, str) else None
                if reason is not None:
                    yield FieldError(f"{field}.users[{number}]", reason)


def _field_error(name: str, error: Exception) -> FieldError:
    match = _AT.match(str(error))
    assert match is not None
    path = name + (match["path"] or "")
    return FieldError(path.removeprefix(".") or "body", match["detail"])


def item_size(notification: NotifyRequest) -> int:
    """Return the size of the item in bytes of JSON; raises a 413 `Problem`."""
    # The recipients are not part of the item: they count as null.
    body, to = map(msgspec.json.encode, (notification, notification.to))
    size = len(body) - len(to) + len(b"null")
    if size > MAX_ITEM:
        raise Problem(
            "too-large",
            f"the item takes {size} bytes as JSON, expected at most {MAX_ITEM}",
        )
    return size


def idempotency_key(presented: Sequence[str]) -> str | None:
    """Return the idempotency key, if there is one; raises a 422 `Problem`."""
    if not presented:
        return None
    if len(presented) > 1 or not _KEY.fullmatch(presented[0]):
        detail = "expected 1 to 255 visible ASCII characters, once"
        raise invalid_request(FieldError("Idempotency-Key", detail))
    return presented[0]
