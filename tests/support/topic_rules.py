"""Rules of single mailboxes, for `support.topic_world`."""

from __future__ import annotations

from msgspec.structs import replace

from roundel_service.documents import step_documents
from roundel_service.domain.change_log import ChangeLog
from roundel_service.domain.changes import Added, Change
from roundel_service.domain.items import Item
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import (
    DeleteUser,
    Operation,
    StartNewEpoch,
)
from roundel_service.domain.record import Record
from support.documents import document, plain

TOPIC_CHANGES = 3
"""Number of changes of a topic that its followers see."""


def trimmed(record: Record) -> Record:
    """Return a topic's record as its followers see it."""
    changes = record.changes[-TOPIC_CHANGES:]
    return replace(record, changes=ChangeLog(changes))


def new_changes(before: Record, after: Record) -> list[Change]:
    """Return the changes that led from *before* to *after*, and check their order."""
    changes = list(after.changes.since(before.mailbox.v))
    if before.mailbox.epoch != after.mailbox.epoch:
        return []
    versions = [change.v for change in changes]
    expected = list(range(before.mailbox.v + 1, after.mailbox.v + 1))
    assert expected == versions, f"STEP: {versions} after {before.mailbox.v}"
    for change in changes:
        added = [step for step in change.steps if isinstance(step, Added)]
        assert len(added) <= 1, f"STEP: {added} at one version"
        assert all(step.seq == change.v for step in added), f"STEP: {added}"
    return changes


def copies(mailbox: Mailbox) -> list[Item]:
    """Return the items that were pulled, also those that wait."""
    waiting = (each.item for each in mailbox.waiting.values())
    held = (*mailbox.items.values(), *waiting)
    return [item for item in held if item.topic is not None]


def follows(mailbox: Mailbox, topic: str) -> bool:
    """Return whether the user of *mailbox* follows the topic of a mailbox."""
    return topic == "#all" or topic[1:] in mailbox.subscriptions


def check_mailbox(mailbox: Mailbox, now: float, operation: Operation | None) -> None:
    """Check what must hold for a mailbox by itself."""
    assert count(mailbox) == plain_badge(mailbox), "FOLD"
    seqs = [item.seq for item in mailbox.items.values()]
    assert sorted(set(seqs)) == seqs, f"STEP: {seqs}"
    assert all(seq <= mailbox.v for seq in seqs), f"STEP: {seqs} at {mailbox.v}"
    assert not mailbox.items.keys() & mailbox.waiting.keys(), "TIME: waits and is there"
    if not isinstance(operation, (DeleteUser, StartNewEpoch)):
        waiting = [each.item for each in mailbox.waiting.values()]
        ends = [i.expires_at for i in (*mailbox.items.values(), *waiting)]
        assert all(end is None or end > now for end in ends), "TIME: expired"
        untils = [each.until for each in mailbox.waiting.values()]
        assert all(until > now for until in untils), "TIME: waits too long"


def count(mailbox: Mailbox) -> dict[str, tuple[int, int]]:
    """Count the unread and unseen items by a loop."""
    by: dict[str, tuple[int, int]] = {}
    for item in mailbox.items.values():
        is_muted = item.category in mailbox.muted.categories
        is_muted = is_muted or item.topic in mailbox.muted.topics
        if not (item.read or item.archived or is_muted):
            unread, unseen = by.get(item.category, (0, 0))
            by[item.category] = unread + 1, unseen + (not item.seen)
    return by


def plain_badge(mailbox: Mailbox) -> dict[str, tuple[int, int]]:
    by = mailbox.badge.by
    assert sum(one.unread for one in by.values()) == mailbox.badge.unread, "FOLD"
    return {name: (one.unread, one.unseen) for name, one in by.items()}


def check_copies(mailbox: Mailbox, topics: dict[str, Record]) -> None:
    """Check that each copy is that of an item that its topic still holds."""
    for copy in copies(mailbox):
        topic = f"#{copy.topic}"
        assert follows(mailbox, topic), f"BACK: {copy.id} of {topic}, which was left"
        if topic in topics:
            original = topics[topic].mailbox.items.get(copy.id)
            assert original is not None, f"BACK: {copy.id} is not in {topic}"
            texts = copy.content, copy.expires_at
            assert texts == (original.content, original.expires_at), f"BACK: {copy.id}"


def check_page(before: Record, after: Record, changes: list[Change]) -> None:
    """Check that a page that applies *changes* shows the mailbox."""
    if before.mailbox.epoch != after.mailbox.epoch:
        return
    items = after.mailbox.items
    page = {item.id: document(item) for item in before.mailbox.items.values()}
    for change in changes:
        for step in plain(step_documents(change.steps, items)):
            match step:
                case {"add": item} | {"update": item}:
                    page[item["id"]] = item
                case {"set": ids, **flags}:
                    for id_ in ids:
                        if id_ in page:
                            page[id_] |= flags
                case {"remove": ids}:
                    for id_ in ids:
                        page.pop(id_, None)
    shown = [document(item) for item in items.values()]
    assert sorted(page.values(), key=lambda item: item["seq"]) == shown, "PAGE"
    if changes:
        assert changes[-1].badge == after.mailbox.badge, "PAGE: badge"
