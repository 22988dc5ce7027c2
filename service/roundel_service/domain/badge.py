"""A badge is a fold: it is computed from the items, every time, and never kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import final

import attrs

from .items import UNSEEN, CountKey, ExternalCount, Item


@final
@attrs.frozen
class Count:
    """How many items are *unread*, and how many of those no client has shown."""

    unread: int = 0
    unseen: int = 0


@final
@attrs.frozen
class Badge:
    """The whole number that is true at version *v* of *epoch*.

    With *more*, unread items were evicted from a full mailbox, and *unread* is a
    lower bound. *by* holds the categories that have an unread item.
    """

    epoch: str
    v: int
    unread: int
    unseen: int
    more: bool
    by: Mapping[str, Count]

    @property
    def etag(self) -> str:
        """The version as an entity tag's opaque part, ``EPOCH.V``."""
        return f"{self.epoch}.{self.v}"

    def filter(self, categories: frozenset[str] | None) -> Badge:
        """Return the badge as a reader of just these *categories* is told it."""
        if categories is None:
            return self
        by = {name: count for name, count in self.by.items() if name in categories}
        return badge_from_counts(self.epoch, self.v, by, more=self.more)

    def is_visually_equal(self, other: Badge) -> bool:
        """Tell whether a person would see no difference."""
        return (self.epoch, self.more, self.unread, self.unseen) == (
            other.epoch,
            other.more,
            other.unread,
            other.unseen,
        ) and self.by == other.by


_count_key: Callable[[Item], CountKey] = attrgetter("count_key")


def fold(
    items: Iterable[Item], gauges: Mapping[str, ExternalCount]
) -> dict[str, Count]:
    """Count by category what of *items* is unread, and *gauges*."""
    unread = {name: gauge.count for name, gauge in gauges.items() if gauge.count}
    unseen: dict[str, int] = {}
    # The items are counted in C, all of them; here it goes on with a few kinds.
    tallies = Counter(map(_count_key, items))
    tallies.pop(None, None)
    for tally, count in tallies.items():
        assert tally is not None
        category = tally[1:]
        unread[category] = unread.get(category, 0) + count
        if tally[0] == UNSEEN:
            unseen[category] = count
    return {name: Count(count, unseen.get(name, 0)) for name, count in unread.items()}


def badge_from_counts(
    epoch: str, v: int, by: Mapping[str, Count], *, more: bool
) -> Badge:
    """Return the badge whose parts are *by*; a number of 0 is never a lower bound."""
    unread = sum([count.unread for count in by.values()])
    unseen = sum([count.unseen for count in by.values()])
    return Badge(epoch, v, unread, unseen, more and unread > 0, by)
