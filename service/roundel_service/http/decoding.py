"""From what callers send to values: each mistake is told with its field's name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar, final

import attrs
import msgspec
from msgspec import Struct
from werkzeug.datastructures import ETags
from werkzeug.http import parse_etags

from .problems import FieldError, invalid_request, malformed_body, too_large
from .schemas import NotifyRequest

MAX_BODY = 1 << 20
"""The largest body of a plain request, in bytes."""

MAX_LINE = 1 << 16
"""The largest line of a batch, in bytes."""

MAX_ITEM = 8_192
"""The largest item, in bytes of JSON."""

_T = TypeVar("_T", bound=Struct)
_AT = re.compile(r"^(?P<detail>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def decode_body(body: bytes, kind: type[_T]) -> _T:
    """Read *body* as a *kind*, or raise the `Problem` that names every bad field."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        first = error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed_body(str(error)) from None
    # The decoder stops at the first mistake; the whole JSON tells of all of them.
    raise invalid_request(*_field_errors(_parsed(body), kind, first))


def decode_query(parameters: Mapping[str, list[str]], kind: type[_T]) -> _T:
    """Read a query's parameters as a *kind*, or raise the `Problem` that names them."""
    if not parameters:
        return _from_text({}, kind, "query")
    twice = [name for name, values in parameters.items() if len(values) > 1]
    if twice:
        raise invalid_request(
            *(FieldError(name, "given more than once") for name in twice)
        )
    raw = {name: values[0] for name, values in parameters.items()}
    return _from_text(raw, kind, "query")


def decode_path(raw: Mapping[str, str], kind: type[_T]) -> _T:
    """Read the parts of a path as a *kind*, or raise the `Problem` that names them."""
    return _from_text(raw, kind, "path")


def _from_text(raw: Mapping[str, str], kind: type[_T], whole: str) -> _T:
    try:
        return msgspec.convert(raw, kind, strict=False)
    except msgspec.ValidationError as error:
        errors = list(_field_errors(raw, kind, error, strict=False))
        # What no field alone is to blame for is told of them together.
        raise invalid_request(*(errors or [_field_error(whole, error)])) from None


def _parsed(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed_body(str(error)) from None


def _field_errors(
    raw: object, kind: type[Struct], first: Exception, *, strict: bool = True
) -> Iterator[FieldError]:
    """Say what is wrong with each field; *first* is what the decoder stopped at."""
    if not isinstance(raw, dict):
        yield _field_error("", first)
        return
    fields = msgspec.structs.fields(kind)
    for field in fields:
        if field.name in raw:
            try:
                msgspec.convert(raw[field.name], field.type, strict=strict)
            except msgspec.ValidationError as error:
                yield _field_error(field.name, error)
        elif field.required:
            yield FieldError(field.name, "required")
    for name in raw.keys() - {field.name for field in fields}:
        yield FieldError(name, "unknown field")


def _field_error(name: str, error: Exception) -> FieldError:
    match = _AT.match(str(error))
    assert match is not None
    path = name + (match["path"] or "")
    return FieldError(path.removeprefix(".") or "body", match["detail"])


def item_size(notification: NotifyRequest) -> int:
    """Return how many bytes the item takes as JSON, if that is not too many (413)."""
    size = notification.size()
    if size > MAX_ITEM:
        raise too_large(
            f"the item takes {size} bytes as JSON, expected at most {MAX_ITEM}"
        )
    return size


def idempotency_key(presented: Sequence[str]) -> str | None:
    """Return the key of a call that may be repeated, or raise the `Problem` (422)."""
    if not presented:
        return None
    if len(presented) > 1 or not _KEY.fullmatch(presented[0]):
        detail = "expected 1 to 255 visible ASCII characters, once"
        raise invalid_request(FieldError("Idempotency-Key", detail))
    return presented[0]


@final
@attrs.frozen
class IfNoneMatch:
    """The entity tags of an `If-None-Match`; with ``*`` every tag is one of them."""

    _tags: ETags

    def __contains__(self, etag: str) -> bool:
        # RFC 9110 13.1.2: a weak tag is as good here as a strong one.
        return self._tags.contains_weak(etag)


def if_none_match(presented: str | None) -> IfNoneMatch:
    """Return the entity tags that a caller knows already."""
    return IfNoneMatch(parse_etags(presented))
