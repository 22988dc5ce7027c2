"""Decodes bodies, queries, paths and headers; errors name each bad field."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from ..domain.content import is_deeper
from ..domain.items import MAX_ITEM_SIZE
from ..domain.names import check_user_name, topic_mailbox
from . import problems
from .field_errors import body_errors, field_error, text_errors, too_deep
from .messages import Request, is_text
from .problems import Problem, invalid_request
from .responses import FieldError
from .schemas import (
    MAX_AHEAD,
    MAX_DEPTH,
    MAX_OPS,
    MAX_RAW_DATA,
    NotifyRequest,
    OpsRequest,
    Recipients,
    StreamQuery,
    UpdatedFields,
    UpdateRequest,
)

MAX_BODY = 1 << 20
"""Size limit of a body except a batch, in bytes."""

MAX_LINE = 1 << 16
"""Size limit of a line of a batch, in bytes."""

MAX_TEXTS = 50_000
"""Maximum number of texts in a body: 1 MiB has room for 37,000 ids of items."""

MAX_PARAMETERS = 20
"""Maximum number of parameters of a query, except that of a stream."""

_T = TypeVar("_T", bound=Struct)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# An operation takes 2 µs to decode, and the decoder counts them afterwards. More braces
# than these are not in ids alone.
_MAX_OBJECTS = 10 * MAX_OPS
_STREAM_FIELDS = frozenset(StreamQuery.__struct_fields__)
# The name that event-source-polyfill and others reconnect with.
_STREAM_ALIASES = {"lastEventId": "cursor"}


def decode_body(body: bytes, kind: type[_T]) -> _T:
    """Decode *body* as a *kind*; raises a 400 or 422 `Problem` with each bad field."""
    if len(body) > _MAX_OBJECTS:
        _check_counts(body, kind)
    try:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError as error:
            raise invalid_request(*body_errors(body, kind, error)) from None
    except RecursionError:
        raise _too_deep(body, kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("malformed-body", str(error)) from None


def _check_counts(body: bytes, kind: type[Struct]) -> None:
    """Raise a 422 `Problem` for more values than a request of *kind* can have."""
    if kind is OpsRequest and body.count(b"{") > _MAX_OBJECTS:
        raise invalid_request(FieldError("ops", f"expected at most {MAX_OPS}"))
    # Each text has two quotes; those of fields have a colon behind them.
    if body.count(b'"') - 2 * body.count(b'":') > 2 * MAX_TEXTS:
        detail = f"expected at most {MAX_TEXTS} texts"
        raise invalid_request(FieldError("body", detail))


def _too_deep(body: bytes, kind: type[Struct]) -> Problem:
    """Return the problem of a body that is too deep for the decoder."""
    # The decoder did not read on: an end that is missing shows in the counts.
    if any(body.count(start) != body.count(end) for start, end in (b"[]", b"{}")):
        return Problem("malformed-body", "the JSON is nested too deep, and cut")
    field = {NotifyRequest: "data", UpdateRequest: "set.data"}.get(kind)
    return invalid_request(
        too_deep(field) if field else FieldError("body", "nested too deep")
    )


async def read_body(request: Request, kind: type[_T]) -> _T:
    """Read and decode a body; raises a 400, 408, 413 or 422 `Problem`."""
    return decode_body(await request.whole_body(MAX_BODY), kind)


def decode_query(parameters: Sequence[tuple[str, str]], kind: type[_T]) -> _T:
    """Decode query *parameters* as a *kind*; raises a 422 `Problem`."""
    if not parameters and not kind.__struct_fields__:
        return kind()  # Nearly all writes.
    if len(parameters) > MAX_PARAMETERS:
        detail = f"expected at most {MAX_PARAMETERS} parameters"
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
        errors = text_errors(raw, kind, error)
        # An error of no single field is reported for the whole.
        raise invalid_request(*(errors or [field_error(whole, error)])) from None


def check_recipients(to: Recipients) -> dict[str, Problem | None]:
    """Return the mailboxes in order, each once, with the problem of a bad name."""
    if to.topic_name is not None:
        return {topic_mailbox(to.topic_name): None}
    if to.user is not UNSET:
        return {to.user: _name_problem("to.user", to.user)}
    users = enumerate(to.users or ())
    return check_names((f"to.users[{at}]", name) for at, name in users)


def check_names(named: Iterable[tuple[str, str]]) -> dict[str, Problem | None]:
    """Return the users in order, each once, with the problem of a bad name.

    *named* has pairs of the path of a field and the name in it.
    """
    fields: dict[str, str] = {}
    for field, name in named:
        fields.setdefault(name, field)
    return {name: _name_problem(field, name) for name, field in fields.items()}


def _name_problem(field: str, name: str) -> Problem | None:
    reason = check_user_name(name)
    return invalid_request(FieldError(field, reason)) if reason else None


def decode_data(fields: NotifyRequest | UpdatedFields) -> object:
    """Return the `data` of *fields*, where its canonical JSON replaces it.

    Raises a 400, 413 or 422 `Problem`.
    """
    raw = b"null" if fields.data is UNSET else bytes(fields.data)
    if raw == b"null":
        return None
    if len(raw) > MAX_RAW_DATA:
        raise problems.item_too_large(len(raw))
    try:
        data = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("malformed-body", str(error)) from None
    # Counting is much faster, and most data have few lists and objects.
    may_be_deep = raw.count(b"[") + raw.count(b"{") > MAX_DEPTH
    if may_be_deep and is_deeper(data, MAX_DEPTH):
        is_item = isinstance(fields, NotifyRequest)
        raise invalid_request(too_deep("data" if is_item else "set.data"))
    fields.data = Raw(msgspec.json.encode(data, order="deterministic"))
    return data


def check_time(notification: NotifyRequest, now: float) -> None:
    """Raise a 422 `Problem` for a notification that is too far in the future."""
    if notification.is_too_far(now):
        detail = f"expected at most {MAX_AHEAD // 86_400} days ahead"
        raise invalid_request(FieldError("at", detail))


def check_untils(request: OpsRequest, now: float) -> None:
    """Raise a 422 `Problem` for each time that is past or too far in the future."""
    detail = f"expected a time to come, at most {MAX_AHEAD // 86_400} days ahead"
    if errors := [
        FieldError(f"ops[{number}].until", detail)
        for number, op in enumerate(request.ops)
        if not op.is_in_time(now)
    ]:
        raise invalid_request(*errors)


def item_size(notification: NotifyRequest, content: bytes) -> int:
    """Return the size of the item in bytes of JSON; raises a 413 `Problem`."""
    size = notification.size(content)
    if size > MAX_ITEM_SIZE:
        raise problems.item_too_large(size)
    return size


def idempotency_key(presented: Sequence[str]) -> str | None:
    """Return the idempotency key, if there is one; raises a 422 `Problem`."""
    if not presented:
        return None
    if len(presented) > 1 or not _KEY.fullmatch(presented[0]):
        detail = "expected 1 to 255 visible ASCII characters, once"
        raise invalid_request(FieldError("Idempotency-Key", detail))
    return presented[0]
