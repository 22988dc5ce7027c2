"""Finds every bad field of a request that the decoder refused.

The decoder stops at the first error, so each field is decoded again on its own. A
caller sizes this work: objects for 1 MiB of JSON take up to 250 ms, bytes that stay
bytes take 1 ms. So only fields that are known become objects, and unknown fields are
searched at the start of a body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from ..domain.content import is_deeper
from ..domain.names import check_user_name
from .problems import MAX_ERRORS
from .responses import FieldError
from .schemas import MAX_DEPTH, MAX_RAW_DATA, MAX_USERS, Recipients

_AT = re.compile(r"^(?P<detail>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_FIELD = re.compile(r" - at `\$\.(?P<name>\w+)[^`]*`$")
_SEARCHED: Final = 1 << 14
"""Length of the start of a body in which unknown fields are searched, in bytes."""


def too_deep(field: str) -> FieldError:
    """Return the error of a *field* whose JSON is nested too deep."""
    return FieldError(field, f"expected at most {MAX_DEPTH} levels of nesting")


_Value = TypeVar("_Value")

# Annotations are evaluated at each call: 200 µs.
_fields = lru_cache(msgspec.structs.fields)


def body_errors(
    body: bytes, kind: type[Struct], first: msgspec.ValidationError
) -> list[FieldError]:
    """Return the errors of a JSON *body*; *first* is the decoder's error."""
    try:
        raw = msgspec.json.decode(body, type=_raw_fields(kind))
    except msgspec.ValidationError:
        msgspec.json.decode(body, type=Raw)  # Raises if it is no JSON at all.
        return [field_error("", first)]
    values = msgspec.structs.asdict(raw)
    given = {name: value for name, value in values.items() if value is not UNSET}
    unknown = (name for name in _names(body, first) if name not in values)
    known = _known_errors(given, kind, _decode, first)
    return [*known, *_unknown_errors(unknown)] or [field_error("", first)]


def text_errors(
    values: Mapping[str, str], kind: type[Struct], first: msgspec.ValidationError
) -> list[FieldError]:
    """Return the errors of a query or path; *first* is the decoder's error."""
    known = {field.name for field in _fields(kind)}
    convert = partial(msgspec.convert, strict=False)
    unknown = (name for name in values if name not in known)
    errors = _known_errors(values, kind, convert, first)
    return [*errors, *_unknown_errors(unknown)]


def field_error(name: str, error: Exception) -> FieldError:
    """Return the decoder's *error* of the field *name*, or within it."""
    match = _AT.match(str(error))
    assert match is not None
    path = name + (match["path"] or "")
    return FieldError(path.removeprefix(".") or "body", match["detail"])


def _known_errors(
    values: Mapping[str, _Value],
    kind: type[Struct],
    decode: Callable[[_Value, Any], object],
    first: msgspec.ValidationError,
) -> Iterator[FieldError]:
    """Yield the errors of the fields of *kind*; that of *first* is known already."""
    found = _FIELD.search(str(first))
    for field in _fields(kind):
        if found is not None and found["name"] == field.name:
            yield field_error("", first)
        elif field.name not in values:
            if field.required:
                yield FieldError(field.name, "required")
        else:
            try:
                value = decode(values[field.name], field.type)
            except msgspec.ValidationError as error:
                yield field_error(field.name, error)
            else:
                yield from _value_errors(field.name, value)


def _value_errors(field: str, value: object) -> Iterator[FieldError]:
    """Yield the errors that the type of the field does not exclude."""
    match value:
        case Raw() if _is_too_deep(value):
            yield too_deep(field)
        case str() if field.endswith("user") and (reason := check_user_name(value)):
            yield FieldError(field, reason)
        case Recipients(user=str(name)):
            yield from _value_errors(f"{field}.user", name)
        case Recipients(users=list(names)):
            for number, name in enumerate(names[:MAX_USERS]):
                if reason := check_user_name(name):
                    yield FieldError(f"{field}.users[{number}]", reason)


def _is_too_deep(data: Raw) -> bool:
    short = len(memoryview(data)) <= MAX_RAW_DATA
    return short and is_deeper(msgspec.json.decode(data), MAX_DEPTH)


def _unknown_errors(names: Iterator[str]) -> Iterator[FieldError]:
    for name in islice(names, MAX_ERRORS):
        yield FieldError(name, "unknown field")


def _names(body: bytes, first: msgspec.ValidationError) -> Iterable[str]:
    """Return the names of the fields at the start of *body*, and in *first*."""
    if len(body) <= _SEARCHED:
        names: Mapping[str, object] = msgspec.json.decode(body)
        return names
    # The error of an inner field names its path too, and is that of a known field.
    inner = _FIELD.search(str(first))
    found = None if inner else _UNKNOWN.fullmatch(str(first))
    named = {} if found is None else {found["name"]: None}
    # A long body of many unknown fields is flat, so its start can be decoded.
    start = body[:_SEARCHED].rpartition(b",")[0] + b"}"
    try:
        return named | msgspec.json.decode(start, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return named


def _decode(value: Raw, kind: Any) -> object:  # noqa: ANN401, a type of msgspec
    return msgspec.json.decode(value, type=kind)


@lru_cache
def _raw_fields(kind: type[Struct]) -> type[Struct]:
    """Return a type with the fields of *kind* whose values stay bytes."""
    fields = [(field.name, Raw, UNSET) for field in _fields(kind)]
    return msgspec.defstruct(kind.__name__, fields)
