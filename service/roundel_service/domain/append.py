"""Appends a plain notification to a mailbox, as the builder does, in fewer steps.

Most notifications only add an item: they replace none, do not wait, and have no
operation id. For them `append_item()` returns what `apply()` returns. The rules are
those of `MailboxBuilder`; a test compares both.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from .badge import badge_from_counts, fold_list
from .changes import Added, Change, Removed
from .item_edits import new_item
from .items import Item, MailboxLimits
from .mailbox import Applied, Mailbox
from .operations import Notify


def append_item(
    mailbox: Mailbox, operation: Notify, *, now: float, limits: MailboxLimits
) -> Applied | None:
    """Return *mailbox* with the item of *operation*, or `None` if it is not plain.

    It is not plain either if no item of its category is counted: then the limit of
    categories must be checked.
    """
    held = mailbox.items
    if not _is_plain(operation) or not held.has_counted(operation.category):
        return None
    v, size, due_at = mailbox.v + 1, mailbox.size + operation.size, mailbox.due_at
    more, evicted_upto = mailbox.more, mailbox.evicted_upto
    item = new_item(operation, now, seq=v)
    added = Added(item.id, item.category, v)
    steps: tuple[Added] | tuple[Removed, Added] = (added,)
    evicted = held.oldest(count=len(held) + 1 - limits.items, size=size - limits.bytes)
    if evicted:
        more = more or _has_counted(mailbox, evicted)
        evicted_upto = evicted[-1].seq
        size -= sum([each.size for each in evicted])
        ids = {each.id: each.category for each in evicted}
        steps = (Removed(ids, "evicted"), added)
    items = held.append(item, without=len(evicted))
    if item.expires_at is not None and item.expires_at < due_at:
        due_at = item.expires_at
    by = fold_list(items, mailbox.gauges, mailbox.muted)
    badge = badge_from_counts(mailbox.epoch, v, by, more=more)
    after = replace(
        mailbox,
        v=v,
        items=items,
        more=badge.more,
        evicted_upto=evicted_upto,
        due_at=due_at,
        size=size,
    )
    change = Change(
        v=v, steps=steps, badge=badge, operation="notify", by="producer", time=now
    )
    return Applied(after, change, badge, item.id)


def _is_plain(operation: Notify) -> bool:
    # Without a key, `quiet` has no effect.
    return (
        operation.key is None
        and operation.replaces is None
        and operation.op_id is None
        and operation.at is None
    )


def _has_counted(mailbox: Mailbox, items: Sequence[Item]) -> bool:
    """Return whether the badge of *mailbox* counts one of *items*."""
    covers = mailbox.muted.covers
    return any(
        item.is_counted and not covers(item.category, item.topic) for item in items
    )
