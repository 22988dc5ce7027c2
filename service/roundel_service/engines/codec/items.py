"""The stored form of items, and of items that wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Raw

from ...domain.content import is_deeper
from ...domain.items import Item
from ...domain.waiting import Waiting
from . import rows
from .errors import RecordDecodeError

MAX_DEPTH: Final = 400
"""Nesting depth that is encoded and decoded safely at any depth of the stack.

`msgspec` counts its levels as Python does, which allows 1,000 together.
"""

_SHALLOW: Final = 2 * MAX_DEPTH
"""Length in bytes up to which a content cannot be nested deeper than `MAX_DEPTH`."""

_check_contents = msgspec.json.Decoder(list[rows.ContentRow]).decode
_decode_content = msgspec.json.Decoder(rows.ContentRow).decode


def item_row(item: Item) -> rows.ItemRow:
    """Return the stored form of *item*."""
    return rows.ItemRow(
        item.id,
        item.seq,
        item.category,
        Raw(item.content),
        item.key,
        item.source,
        item.created_at,
        item.expires_at,
        item.size,
        item.updated_at,
        item.seen + 2 * item.read + 4 * item.archived,
        item.topic,
    )


def stored_items(stored: Sequence[rows.ItemRow]) -> list[Item]:
    """Return the items of the rows *stored*; raises an error for a damaged content."""
    items = [_item(row) for row in stored]
    contents = [item.content for item in items]
    # One call for all contents: most of them are short.
    _check_contents(b"[" + b",".join(contents) + b"]")
    for content in contents:
        if len(content) > _SHALLOW and is_deeper(_data(content), MAX_DEPTH):
            raise RecordDecodeError(f"item: nested deeper than {MAX_DEPTH} levels")
    return items


def _data(content: bytes) -> object:
    return _decode_content(content).data


def _item(row: rows.ItemRow) -> Item:
    flags = row.flags
    return Item(
        id=row.id,
        seq=row.seq,
        category=row.category,
        content=bytes(row.content),
        key=row.key,
        source=row.source,
        created_at=row.created_at,
        expires_at=row.expires_at,
        size=row.size,
        updated_at=row.updated_at,
        topic=row.topic,
        seen=flags & 1 != 0,
        read=flags & 2 != 0,
        archived=flags & 4 != 0,
    )


def waiting_rows(waiting: Mapping[str, Waiting]) -> dict[str, rows.WaitingRow]:
    """Return the stored form of items that wait."""
    return {
        id_: rows.WaitingRow(
            each.until, each.is_snoozed, each.replaces, item_row(each.item)
        )
        for id_, each in waiting.items()
    }


def stored_waiting(stored: Mapping[str, rows.WaitingRow]) -> dict[str, Waiting]:
    """Return the items that wait from their stored form."""
    items = stored_items([row.item for row in stored.values()])
    return {
        id_: Waiting(
            until=row.until,
            item=item,
            is_snoozed=row.is_snoozed,
            replaces=row.replaces,
        )
        for (id_, row), item in zip(stored.items(), items, strict=True)
    }
