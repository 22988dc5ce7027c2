"""Values that a mailbox contains: items, external counts and their limits."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import final

from msgspec import Struct
from msgspec.structs import replace

MAX_ITEM_SIZE = 8_192
"""Size limit of an item, in bytes of JSON."""


@final
class Item(Struct, frozen=True, gc=False, kw_only=True):
    """One notification; *seq* is the version at which it appeared.

    *content* is JSON, as `encode_content()` returns it. *topic* is the topic that it
    was pulled from, if it was; *id* is the same there. *updated_at* is when it was
    changed last, if it was. Times are seconds since 1970. *size* is the length of the
    item's JSON in bytes, for the limit of the mailbox; clients do not receive it.
    """

    id: str
    seq: int
    category: str
    content: bytes
    key: str | None
    source: str | None
    created_at: float
    expires_at: float | None
    size: int
    updated_at: float | None = None
    topic: str | None = None
    seen: bool = False
    read: bool = False
    archived: bool = False

    @property
    def is_counted(self) -> bool:
        """Whether the badge counts the item."""
        return not (self.read or self.archived)


def without_flags(item: Item) -> Item:
    """Return *item* as it appeared."""
    if not (item.seen or item.read or item.archived):
        return item
    return replace(item, seen=False, read=False, archived=False)


def total_size(items: Iterable[Item]) -> int:
    """Return the sum of the sizes of *items* in bytes."""
    return sum([item.size for item in items])


def next_expiry(items: Iterable[Item]) -> float:
    """Return the earliest expiry time of *items*, or ``inf`` if none expires."""
    times = [item.expires_at for item in items if item.expires_at is not None]
    return min(times, default=inf)


@final
class Count(Struct, frozen=True, gc=False):
    """Numbers of *unread* items, and of unread items never shown (*unseen*)."""

    unread: int = 0
    unseen: int = 0


@final
class ExternalCount(Struct, frozen=True, gc=False):
    """A *count* from another database, at that database's own *source_version*."""

    count: int
    source_version: int


@final
class MailboxLimits(Struct, frozen=True, gc=False, kw_only=True):
    """The limits of one mailbox: number of *items* and *bytes* of their JSON.

    *waiting* limits the number of items that wait; their JSON has the same limit of
    *bytes*, for itself. *categories* limits the distinct categories of items and gauges
    together, and *topics* the topics that a producer lets the user follow.
    """

    items: int = 200
    bytes: int = 262_144
    categories: int = 64
    waiting: int = 100
    topics: int = 64
