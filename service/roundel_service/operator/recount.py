"""A second, independent count of a badge, for the audit.

It shares no code with `roundel_service.domain.badge`, so that a mistake in one of the
two counts shows as a difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from ..domain.badge import Badge
from ..domain.items import ExternalCount, Item
from ..domain.subscriptions import NOTHING_MUTED, Muted

Counts: TypeAlias = dict[str, Any]
"""The counts of a badge as plain values: total, and `by` category."""


def recount(
    items: Iterable[Item],
    gauges: Mapping[str, ExternalCount],
    more: bool,
    muted: Muted = NOTHING_MUTED,
) -> Counts:
    """Count *items* and *gauges* one by one, without what is *muted*."""
    unread = Counter(
        {
            category: gauge.count
            for category, gauge in gauges.items()
            if category not in muted.categories
        }
    )
    unseen: Counter[str] = Counter()
    for item in items:
        if item.category in muted.categories or item.topic in muted.topics:
            continue
        if not item.read and not item.archived:
            unread[item.category] += 1
            unseen[item.category] += not item.seen
    total = unread.total()
    by = {
        category: {"unread": count, "unseen": unseen[category]}
        for category, count in unread.items()
        if count != 0
    }
    return {
        "unread": total,
        "unseen": unseen.total(),
        "more": more and total > 0,
        "by": by,
    }


def counts_of(badge: Badge) -> Counts:
    """Return the counts that *badge* shows."""
    counts: Counts = msgspec.to_builtins(badge)
    del counts["epoch"], counts["v"]
    return counts
