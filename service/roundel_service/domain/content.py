"""The content of an item: its text and its data, as one piece of JSON.

A request encodes the content once, when it measures its size. Events, responses and
stores copy these bytes, and no count depends on them. Only an update decodes them, to
set single fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import msgspec
from msgspec import Raw, Struct


@final
class ItemContent(Struct, frozen=True, gc=False):
    """The fields of the content, in the order of the JSON."""

    title: str
    body: str | None = None
    url: str | None = None
    icon: str | None = None
    data: object = None


def encode_content(
    title: str,
    *,
    body: str | None = None,
    url: str | None = None,
    icon: str | None = None,
    data: object = None,
) -> bytes:
    """Return the JSON of a content; *data* is any JSON value."""
    return _encode(ItemContent(title, body, url, icon, data))


def decode_content(content: bytes) -> ItemContent:
    """Return the fields of a *content*; raises `msgspec.DecodeError`."""
    return _decode(content)


def content_fields(content: bytes) -> dict[str, Raw]:
    """Return the JSON of each field of a *content*, or of a part of one."""
    return _decode_fields(content)


def merge_content(content: bytes, changed: bytes) -> bytes:
    """Return *content* with new values, those of the JSON object *changed*.

    The fields keep their order, so that equal contents have equal bytes.
    """
    return _encode(_decode_fields(content) | _decode_fields(changed))


def is_deeper(value: object, limit: int) -> bool:
    """Return whether lists and objects of *value* are nested deeper than *limit*.

    Level by level and without recursion, so that no depth is an error; O(n).
    """
    level = _containers([value])
    for _ in range(limit):
        if not level:
            return False
        level = [child for each in level for child in _containers(_children(each))]
    return bool(level)


def _containers(values: Iterable[object]) -> list[Iterable[object]]:
    return [each for each in values if isinstance(each, (list, tuple, dict))]


def _children(container: Iterable[object]) -> Iterable[object]:
    return container.values() if isinstance(container, dict) else container


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ItemContent).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
