"""Pure functions that make and edit items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter

from msgspec.structs import replace

from .content import merge_content
from .items import MAX_ITEM_SIZE, Item
from .operations import Mark, Notify, Update
from .refusals import ItemTooLarge

_visible_fields = attrgetter("content", "source", "expires_at")


def final_flags(item: Item, marks: Sequence[Mark]) -> dict[str, bool]:
    """Return the flags that *marks* set or clear on *item*."""
    flags: dict[str, bool] = {}
    for mark in marks:
        if mark.selects(item):
            flags |= mark.flags
    return flags


def with_flags(item: Item, flags: Mapping[str, bool]) -> Item:
    """Return *item* with *flags*, by name; others stay."""
    return replace(
        item,
        seen=flags.get("seen", item.seen),
        read=flags.get("read", item.read),
        archived=flags.get("archived", item.archived),
    )


def new_item(operation: Notify, time: float, *, seq: int = 0) -> Item:
    """Return the item of *operation*, sent at *time*, which appears at version *seq*.

    An item that waits has 0 until it appears.
    """
    return Item(
        id=operation.id,
        seq=seq,
        category=operation.category,
        content=operation.content,
        key=operation.key,
        source=operation.source,
        created_at=time,
        expires_at=expiry_of(operation, time),
        size=operation.size,
    )


def has_key_of(item: Item, operation: Notify) -> bool:
    """Return whether *operation* has the key of *item*, which is no topic's."""
    key = (operation.category, operation.key)
    is_own = item.topic is None and item.key is not None
    return is_own and (item.category, item.key) == key


def has_same_key(other: Item, item: Item) -> bool:
    """Return whether both have the same category and key, and come from one place."""
    return item.key is not None and (other.topic, other.category, other.key) == (
        item.topic,
        item.category,
        item.key,
    )


def is_replaced(other: Item, item: Item, replaces: str | None) -> bool:
    """Return whether *other* has the id *replaces* and comes from where *item* does."""
    return other.id == replaces and other.topic == item.topic


def updated_item(
    item: Item, update: Update, now: float, *, sent_at: float
) -> Item | None:
    """Return *item* after *update*, whose time to live counts from *sent_at*."""
    content = merge_content(item.content, update.content)
    changed = replace(
        item,
        content=content,
        expires_at=expiry_of(update, sent_at) if update.expires else item.expires_at,
        size=item.size + len(content) - len(item.content),
    )
    return edited_item(item, changed, now)


def edited_item(item: Item, changed: Item, now: float) -> Item | None:
    """Return *changed*, edited *now*, or `None` if it equals *item*."""
    if _visible_fields(item) == _visible_fields(changed):
        return None
    if changed.size > MAX_ITEM_SIZE:
        raise ItemTooLarge(
            f"the item {item.id!r} would take {changed.size} bytes as JSON, "
            f"expected at most {MAX_ITEM_SIZE}"
        )
    return replace(changed, updated_at=now)


def edited_copy(copy: Item, original: Item) -> Item:
    """Return *original* as an item of the mailbox that holds *copy*."""
    return replace(
        original,
        seq=copy.seq,
        topic=copy.topic,
        seen=copy.seen,
        read=copy.read,
        archived=copy.archived,
    )


def expiry_of(operation: Notify | Update, now: float) -> float | None:
    """Return when an item of *operation* expires, in seconds since 1970."""
    return None if operation.ttl is None else now + operation.ttl


def is_expired(item: Item, now: float) -> bool:
    """Return whether *item* is over at *now*."""
    return item.expires_at is not None and item.expires_at <= now
