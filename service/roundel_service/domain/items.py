"""What a mailbox holds: values, without behaviour."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from sys import intern
from typing import TypeAlias, final

import attrs

SEEN, UNSEEN = "s", "u"

CountKey: TypeAlias = str | None
"""`SEEN` or `UNSEEN` with the category behind it, or `None` for what is not counted."""


@final
@attrs.frozen(kw_only=True)
class Item:
    """One notification; *seq* is the version at which it appeared.

    Times are seconds since 1970. *size* is what it counts against the bound of
    bytes, and is not told to anybody.
    """

    id: str
    seq: int
    category: str
    title: str
    body: str | None
    url: str | None
    icon: str | None
    key: str | None
    source: str | None
    data: object
    created_at: float
    expires_at: float | None
    size: int
    seen: bool = False
    read: bool = False
    archived: bool = False
    count_key: CountKey = attrs.field(init=False, eq=False, repr=False)
    """What the badge counts it as: one value for all that are counted alike."""

    @count_key.default
    def _tally(self) -> CountKey:
        if self.read or self.archived:
            return None
        return intern(f"{SEEN if self.seen else UNSEEN}{self.category}")

    @property
    def is_counted(self) -> bool:
        """Whether the badge counts it."""
        return self.count_key is not None


def total_size(items: Iterable[Item]) -> int:
    """Return how many bytes *items* count together."""
    return sum([item.size for item in items])


def next_expiry(items: Iterable[Item]) -> float:
    """Return when the first of *items* expires; ``inf`` is never."""
    ends = [item.expires_at for item in items if item.expires_at is not None]
    return min(ends, default=inf)


@final
@attrs.frozen
class ExternalCount:
    """A *count* that another database owns, as of its own *source_version*."""

    count: int
    source_version: int


@final
@attrs.frozen(kw_only=True)
class MailboxLimits:
    """The bounds of one mailbox: *items* by count, their JSON by *bytes*.

    *categories* bounds how many there are of items and gauges together.
    """

    items: int = 200
    bytes: int = 262_144
    categories: int = 64
