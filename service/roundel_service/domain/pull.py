"""Pulls the items of a topic into the mailbox of a user who follows it.

The pull compares two states: the items of the topic, and their copies in the mailbox.
It does not replay a log of events: a log is bounded, and a retraction that was trimmed
from it would never reach a user who was away. With states, a late or repeated pull
changes nothing: a late pull leads to the same copies as early ones.

A copy has the id of its original, so it cannot appear twice. Copies whose original is
gone go, copies whose original was edited are edited, and items of the topic behind the
position appear, each as a version of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter

from .changes import Change, RemovalReason, Removed
from .items import Item
from .mailbox import Mailbox
from .operations import Pull
from .subscriptions import Subscription

_edited_fields = attrgetter("updated_at", "expires_at", "source", "content")


def pulls(
    mailbox: Mailbox,
    name: str,
    subscription: Subscription,
    topic: Mailbox,
    changes: Sequence[Change],
) -> Iterator[Pull]:
    """Yield what brings *mailbox* up to date with the topic *name*, in order.

    *changes* are the latest changes of the topic. Cost: O(items of both).
    """
    upto = subscription.pulled_upto(topic)
    if upto is None:
        return
    copies = _copies(mailbox, name)
    fresh = [
        item
        for item in topic.items.values()
        if item.seq > upto
        and item.id not in copies
        and subscription.includes(item.created_at)
    ]
    replaced = {(item.category, item.key) for item in fresh if item.key is not None}
    gone = [
        copy.id
        for copy in copies.values()
        if copy.id not in topic.items and (copy.category, copy.key) not in replaced
    ]
    first = Pull(
        topic=name,
        removed=_by_reason(gone, topic, changes) if gone else {},
        updated=_updated(copies, topic),
        added=fresh[0] if fresh else None,
        is_incomplete=topic.evicted_upto > upto,
    )
    if first.removed or first.updated or first.added or first.is_incomplete:
        yield first
    for item in fresh[1:]:
        yield Pull(topic=name, added=item)


def _copies(mailbox: Mailbox, name: str) -> dict[str, Item]:
    """Return the items that were pulled from the topic *name*, waiting ones too."""
    copies = {i.id: i for i in mailbox.items.values() if i.topic == name}
    for id_, waiting in mailbox.waiting.items():
        if waiting.item.topic == name:
            copies[id_] = waiting.item
    return copies


def _updated(copies: Mapping[str, Item], topic: Mailbox) -> tuple[Item, ...]:
    # The time alone does not tell two edits of one moment apart.
    originals = ((copy, topic.items.get(copy.id)) for copy in copies.values())
    return tuple(
        original
        for copy, original in originals
        if original is not None and _edited_fields(original) != _edited_fields(copy)
    )


def _by_reason(
    ids: Sequence[str], topic: Mailbox, changes: Sequence[Change]
) -> dict[RemovalReason, list[str]]:
    """Group *ids* by the reason for which *topic* removed them.

    Where its changes do not reach back, an item may have been evicted if any was.
    """
    unknown: RemovalReason = "evicted" if topic.evicted_upto else "retracted"
    reasons = {
        id_: step.reason
        for change in changes
        for step in change.steps
        if isinstance(step, Removed)
        for id_ in step.ids
    }
    grouped: dict[RemovalReason, list[str]] = {}
    for id_ in ids:
        grouped.setdefault(reasons.get(id_, unknown), []).append(id_)
    return grouped
