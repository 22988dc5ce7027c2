"""When a store writes a snapshot instead of an entry."""

from __future__ import annotations

from typing import Final

MIN_ENTRIES: Final = 16
"""Entries after which a small mailbox gets a snapshot."""

MAX_ENTRIES: Final = 128
"""Entries after which a large mailbox gets a snapshot."""

MAX_SNAPSHOT_CHANGES: Final = 64
"""Maximum number of changes in a snapshot.

A client that was away for longer than they reach gets the whole state instead.
"""


def snapshot_changes(items: int) -> int:
    """Return how many changes the snapshot of a mailbox of *items* has at most.

    A change takes about 140 bytes, an item 200 or more: so most of a snapshot is items.
    """
    return max(MIN_ENTRIES, min(MAX_SNAPSHOT_CHANGES, items // 2))


def is_snapshot_due(entries: int, items: int) -> bool:
    """Return whether *entries* after a snapshot are many for a mailbox of *items*.

    A snapshot costs O(items), so one in as many entries costs O(1) for each.
    """
    return entries >= max(MIN_ENTRIES, min(MAX_ENTRIES, items))
