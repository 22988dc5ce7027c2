"""A second, independent count of a badge, for the audit.

It shares no code with `roundel_service.domain.badge`, so that a mistake in one of the
two counts shows as a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from .badge import Badge
from .items import ExternalCount, Item

Counts: TypeAlias = dict[str, Any]
"""The counts of a badge as plain values: total, and `by` category."""


def recount(
    items: Iterable[Item], gauges: Mapping[str, ExternalCount], more: bool
) -> Counts:
    """Count *items* and *gauges* one by one."""
    unread: dict[str, int] = {}
    unseen: dict[str, int] = {}
    for category, gauge in gauges.items():
        unread[category] = gauge.count
    for item in items:
        if item.read or item.archived:
            continue
        unread[item.category] = unread.get(item.category, 0) + 1
        if not item.seen:
            unseen[item.category] = unseen.get(item.category, 0) + 1
    total = sum(unread.values())
    by = {
        category: {"unread": count, "unseen": unseen.get(category, 0)}
        for category, count in unread.items()
        if count != 0
    }
    return {
        "unread": total,
        "unseen": sum(unseen.values()),
        "more": more and total > 0,
        "by": by,
    }


def counts_of(badge: Badge) -> Counts:
    """Return the counts that *badge* shows."""
    by = {
        category: {"unread": count.unread, "unseen": count.unseen}
        for category, count in badge.by.items()
    }
    return {
        "unread": badge.unread,
        "unseen": badge.unseen,
        "more": badge.more,
        "by": by,
    }
