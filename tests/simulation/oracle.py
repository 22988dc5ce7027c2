"""The oracle: the correct state at each version, counted by a simple loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, final

from msgspec.structs import replace

from roundel_service.domain.badge import Badge
from roundel_service.domain.change_log import ChangeLog
from roundel_service.domain.changes import Added, Change, Flagged, Removed
from roundel_service.domain.content import decode_content
from roundel_service.domain.item_list import ItemList
from roundel_service.domain.items import Item, without_flags
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.record import Record

from .page import Page

Numbers: TypeAlias = tuple[int, int, bool, dict[str, tuple[int, int]]]
ItemState: TypeAlias = tuple[str, int, bool, bool, bool]


def count(mailbox: Mailbox, categories: frozenset[str] | None = None) -> Numbers:
    """Return the counts of gauges and of items neither read, archived nor muted."""
    muted = mailbox.muted
    by = {
        name: (g.count, 0)
        for name, g in mailbox.gauges.items()
        if g.count and name not in muted.categories
    }
    for item in mailbox.items.values():
        is_muted = item.category in muted.categories or item.topic in muted.topics
        if not (item.read or item.archived or is_muted):
            unread, unseen = by.get(item.category, (0, 0))
            by[item.category] = (unread + 1, unseen + (not item.seen))
    if categories is not None:
        by = {name: counted for name, counted in by.items() if name in categories}
    unread = sum(counted[0] for counted in by.values())
    unseen = sum(counted[1] for counted in by.values())
    return unread, unseen, mailbox.more and unread > 0, by


def counts_of(badge: Badge) -> Numbers:
    """Return the counts of a server's badge."""
    by = {name: (count.unread, count.unseen) for name, count in badge.by.items()}
    return badge.unread, badge.unseen, badge.more, by


def counts_of_page(badge: dict[str, Any]) -> Numbers:
    """Return the counts of a page's badge."""
    counts = badge["by"].items()
    by = {name: (count["unread"], count["unseen"]) for name, count in counts}
    return badge["unread"], badge["unseen"], badge["more"], by


def one_by_one(
    before: Record | None, after: Record, archive: Mapping[str, Item]
) -> list[Record]:
    """Return the records of all versions after *before*, up to *after*.

    An engine may report several changes at once: an expiry, what was pulled, and the
    operation after it. Pages receive each change. *archive* has all items ever held.
    """
    if before is None:
        return [after]
    steps, mailbox = [], before.mailbox
    for number, change in enumerate(after.changes[:-1], 1):
        if change.badge.epoch == mailbox.epoch and change.v == mailbox.v + 1:
            mailbox = _changed(mailbox, change, after.mailbox, archive)
            steps.append(Record(mailbox, ChangeLog(after.changes[:number])))
    return [*steps, after]


def _changed(
    mailbox: Mailbox, change: Change, newest: Mailbox, archive: Mapping[str, Item]
) -> Mailbox:
    """Return the items of a page after *change*, without gauges.

    An added item may be gone from the *newest* mailbox.
    """
    items = dict(mailbox.items)
    for step in change.steps:
        match step:
            case Added(name):
                item = without_flags(newest.items.get(name) or archive[name])
                items[name] = replace(item, seq=step.seq)
            case Flagged(ids, flags):
                items |= {name: replace(items[name], **flags) for name in ids}
            case Removed(ids):
                items = {name: items[name] for name in items if name not in ids}
    muted = newest.muted if change.operation == "mute" else mailbox.muted
    held = ItemList(items.values())
    return replace(mailbox, v=change.v, items=held, muted=muted, more=change.badge.more)


@final
class Oracle:
    """Stores the mailbox at each version, and counts *unsafe* states of pages.

    Three states are unsafe: a server badge that differs from the count of its items,
    two different mailboxes at one version, and a page that differs from the mailbox at
    the page's version.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Mailbox] = {}
        self._newest: dict[str, Mailbox] = {}
        self._counted: dict[tuple[object, ...], Numbers] = {}
        self.unsafe: list[str] = []

    def record_state(self, record: Record) -> None:
        """Record the server's state at a version."""
        mailbox = record.mailbox
        at = (mailbox.epoch, mailbox.v)
        before = self._known.setdefault(at, mailbox)
        if mailbox.v >= self._newest.setdefault(mailbox.epoch, mailbox).v:
            self._newest[mailbox.epoch] = mailbox
        if before is not mailbox and _state(before) != _state(mailbox):
            self.unsafe.append(f"two states at {at}")
        badge = record.badge
        if (badge.epoch, badge.v) != at or counts_of(badge) != self._count(at, None):
            self.unsafe.append(f"the server has {counts_of(badge)} at {at}")

    def check(self, page: Page) -> None:
        """Compare the state of *page* with the correct state at its version."""
        if page.badge is None or page.epoch is None:
            return
        at = (page.epoch, page.v)
        if at not in self._known:
            self.unsafe.append(f"a page shows {at}, which never existed")
        elif not self.agrees(page, at):
            self.unsafe.append(f"a page shows {counts_of_page(page.badge)} at {at}")

    def agrees(self, page: Page, at: tuple[str, int]) -> bool:
        """Return whether *page* shows the correct state of version *at*.

        A replay leaves out items that are gone by now.
        """
        mailbox, categories = self._known.get(at), page.view.categories
        if mailbox is None or page.badge is None:
            return False
        if counts_of_page(page.badge) != self._count(at, categories):
            return False
        if page.view.level == "badge":
            return True
        left = self._newest[mailbox.epoch].items
        return _page_items(page) == _item_states(
            item
            for item in mailbox.items.values()
            if (categories is None or item.category in categories)
            and (item.id in page.items or _is_left(item, left))
        )

    def _count(self, at: tuple[str, int], only: frozenset[str] | None) -> Numbers:
        key = (*at, only)
        if key not in self._counted:
            self._counted[key] = count(self._known[at], only)
        return self._counted[key]


def has_text(page: Page, mailbox: Mailbox) -> bool:
    """Return whether *page* shows the items of *mailbox* with their text.

    Before the newest version a page may have a later text: an item of a replay has
    the text that it has by then.
    """
    if page.view.level == "badge":
        return True
    return all(
        id_ in mailbox.items
        and decode_content(mailbox.items[id_].content).title == item["title"]
        for id_, item in page.items.items()
    )


def has_copies_of(topics: Mapping[str, Record], mailbox: Mailbox) -> bool:
    """Return whether each copy in *mailbox* is that of an item of its topic."""
    for item in mailbox.items.values():
        if item.topic is not None:
            original = topics[f"#{item.topic}"].mailbox.items.get(item.id)
            if original is None or original.content != item.content:
                return False
    return True


def _is_left(item: Item, newest: Mapping[str, Item]) -> bool:
    """Return whether a replay has *item*: not one that went, even if it came again."""
    left = newest.get(item.id)
    return left is not None and left.seq == item.seq


def _state(mailbox: Mailbox) -> object:
    return _item_states(mailbox.items.values()), count(mailbox)


def _item_states(items: Iterable[Item]) -> list[ItemState]:
    return [(i.id, i.seq, i.seen, i.read, i.archived) for i in items]


def _page_items(page: Page) -> list[ItemState]:
    return [
        (i["id"], i["seq"], i["seen"], i["read"], i["archived"])
        for i in page.items.values()
    ]
