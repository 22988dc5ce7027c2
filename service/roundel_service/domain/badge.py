"""The badge: counts that are folded from the items and never stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import TypeAlias, final

from msgspec import Struct

from .item_list import ItemList
from .items import Count, ExternalCount, Item
from .subscriptions import NOTHING_MUTED, Muted


@final
class Badge(Struct, frozen=True, gc=False):
    """The counts at version *v* of *epoch*, in total and by category.

    If *more* is set, unread items were evicted from a full mailbox, and *unread* is a
    lower bound. *by* contains only categories with an unread item.
    """

    epoch: str
    v: int
    unread: int
    unseen: int
    more: bool
    by: Mapping[str, Count]

    @property
    def etag(self) -> str:
        """The opaque part of the entity tag: ``EPOCH.V`` (RFC 9110 8.8.3)."""
        return f"{self.epoch}.{self.v}"

    def filter(self, categories: frozenset[str] | None) -> Badge:
        """Return the badge as a subscriber to *categories* receives it."""
        if categories is None:
            return self
        by = {name: count for name, count in self.by.items() if name in categories}
        return badge_from_counts(self.epoch, self.v, by, more=self.more)

    def is_visually_equal(self, other: Badge) -> bool:
        """Return whether a person would see no difference."""
        return _visible_fields(self) == _visible_fields(other)


_NOTHING = Count()
_visible_fields = attrgetter("epoch", "more", "unread", "unseen", "by")
_CountKey: TypeAlias = tuple[str, bool, bool, bool]
_count_key: Callable[[Item], _CountKey] = attrgetter(
    "category", "seen", "read", "archived"
)


def fold(
    items: Iterable[Item],
    gauges: Mapping[str, ExternalCount],
    muted: Muted = NOTHING_MUTED,
) -> dict[str, Count]:
    """Return the counts by category: unread *items* plus *gauges*, without *muted*."""
    if muted:
        items = (item for item in items if not muted.covers(item.category, item.topic))
        gauges = {name: g for name, g in gauges.items() if not muted.covers(name, None)}
    unread = _gauge_counts(gauges)
    unseen: dict[str, int] = {}
    # Counter counts the items in C; the loop below sees each distinct key once.
    totals = Counter(map(_count_key, items))
    for (category, seen, read, archived), count in totals.items():
        if read or archived:
            continue
        unread[category] = unread.get(category, 0) + count
        if not seen:
            unseen[category] = count
    return {name: Count(count, unseen.get(name, 0)) for name, count in unread.items()}


def fold_list(
    items: ItemList,
    gauges: Mapping[str, ExternalCount],
    muted: Muted = NOTHING_MUTED,
) -> dict[str, Count]:
    """Return what `fold()` returns, by the column of *items* if it has what counts."""
    by = None if muted.topics else items.counts()
    if by is None:
        return fold(items.values(), gauges, muted)
    if gauges:
        for category, external in _gauge_counts(gauges).items():
            count = by.get(category, _NOTHING)
            by[category] = Count(count.unread + external, count.unseen)
    if muted.categories:
        return {
            name: count for name, count in by.items() if name not in muted.categories
        }
    return by


def _gauge_counts(gauges: Mapping[str, ExternalCount]) -> dict[str, int]:
    return {name: gauge.count for name, gauge in gauges.items() if gauge.count}


def badge_from_counts(
    epoch: str, v: int, by: Mapping[str, Count], *, more: bool
) -> Badge:
    """Return the badge with the counts *by*; *more* is ignored if nothing is unread."""
    unread = unseen = 0
    for count in by.values():
        unread += count.unread
        unseen += count.unseen
    return Badge(epoch, v, unread, unseen, more and unread > 0, by)
