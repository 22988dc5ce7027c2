"""A badge is a fold: it is computed from the items, every time, and never kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, final

import attrs


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

    def only(self, categories: frozenset[str] | None) -> Badge:
        """Return the badge as a reader of just these *categories* is told it."""
        if categories is None:
            return self
        by = {name: count for name, count in self.by.items() if name in categories}
        return whole(self.epoch, self.v, by, more=self.more)

    def shows_the_same(self, other: Badge) -> bool:
        """Tell whether a person would see no difference."""
        return attrs.evolve(self, v=other.v) == other

    def document(self) -> dict[str, Any]:
        """Return the badge as the contract's JSON object."""
        return {
            "epoch": self.epoch,
            "v": self.v,
            "unread": self.unread,
            "unseen": self.unseen,
            "more": self.more,
            "by": {name: attrs.asdict(count) for name, count in self.by.items()},
        }


def fold(
    unread: Iterable[tuple[str, bool]], gauges: Mapping[str, int]
) -> dict[str, Count]:
    """Count by category: the unread items, given as (category, seen), and *gauges*."""
    by = {name: Count(count) for name, count in gauges.items() if count}
    for category, seen in unread:
        count = by.get(category, _NONE)
        by[category] = Count(count.unread + 1, count.unseen + (not seen))
    return by


def whole(epoch: str, v: int, by: Mapping[str, Count], *, more: bool) -> Badge:
    """Return the badge whose parts are *by*; a number of 0 is never a lower bound."""
    unread = sum(count.unread for count in by.values())
    unseen = sum(count.unseen for count in by.values())
    return Badge(epoch, v, unread, unseen, more and unread > 0, by)


_NONE = Count()
