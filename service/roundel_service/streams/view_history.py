"""The event history of one view of a mailbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Literal, TypeAlias, final

import attrs
import trio

from roundel import Delta, Event, History

from ..domain.badge import Badge, badge_from_counts
from ..domain.changes import Change
from ..domain.items import Item
from ..domain.record import Record
from . import events

Level: TypeAlias = Literal["badge", "items"]


@final
@attrs.frozen
class View:
    """The part of a mailbox that a stream delivers.

    The *level* is the badge alone or the items too. A filter by *categories* is
    optional.
    """

    level: Level = "badge"
    categories: frozenset[str] | None = None


@final
@attrs.define(eq=False)
class _NewestItems:
    """Makes the events of changes, with the text that their items have now.

    It is an object of its own, because events that refer to their view history would
    keep it alive until a collection of cycles.
    """

    items: Mapping[str, Item]

    def change_event(self, change: Change, previous: int) -> Event:
        return events.change_event(change, self.items, previous)


@final
class ViewHistory:
    """Holds the event history of one view, while a subscriber references it.

    *appended* counts the events. *appended_at* is the trio time of the newest one.
    *badge* is the view's badge at the head of the history.
    """

    __slots__ = (
        "__weakref__", "_newest", "appended", "appended_at", "badge", "history", "view",
    )  # fmt: skip

    def __init__(self, view: View, record: Record, *, change_log_size: int) -> None:
        self.view: View = view
        self.appended: int = 0
        self.appended_at: float = trio.current_time()
        self.badge: Badge = record.badge.filter(view.categories)
        self._newest = _NewestItems(record.mailbox.items)
        mailbox, changes = record.mailbox, record.changes
        replays = view.level == "items" and bool(changes)
        oldest = mailbox.v - len(changes)
        self.history: History = History(
            mailbox.epoch,
            offset=oldest if replays else mailbox.v,
            snapshot=None if replays else self._snapshot(record),
            capacity=change_log_size if view.level == "items" else 0,
        )
        if replays:
            empty = badge_from_counts(mailbox.epoch, 0, {}, more=False)
            self._append_changes(changes, record, empty if oldest == 0 else None)

    def update(self, record: Record) -> None:
        """Append what *record* changed; a new epoch resets the history."""
        mailbox, head = record.mailbox, self.history.head
        previous, self.badge = self.badge, record.badge.filter(self.view.categories)
        self._newest.items = mailbox.items
        if mailbox.epoch != head.epoch:
            snapshot = self._snapshot(record)
            self.history.reset(mailbox.epoch, offset=mailbox.v, snapshot=snapshot)
        elif mailbox.v == head.offset:
            return
        elif self.view.level == "badge":
            self._append_badge(previous)
        else:
            self._append_items(record, previous)

    def _append_items(self, record: Record, previous: Badge) -> None:
        head = self.history.head.offset
        changes = record.changes.since(head)
        if changes and changes[0].v == head + 1:
            self._append_changes(changes, record, previous)
        else:
            # The change log lost versions in between. A snapshot replaces them.
            snapshot = self._snapshot(record)
            self.history.skip_to_snapshot(snapshot, offset=record.mailbox.v)
            self._count_event()

    def _append_badge(self, previous: Badge) -> None:
        event = partial(events.badge_event, self.badge)
        if self.badge.is_visually_equal(previous):
            self.history.advance(offset=self.badge.v, snapshot=event)
        else:
            self._append(event, self.badge.v)

    def _append_changes(
        self, changes: Iterable[Change], record: Record, previous: Badge | None
    ) -> None:
        for change in changes:
            is_last = change.v == record.mailbox.v
            snapshot = self._snapshot(record) if is_last else None
            filtered = change.filter(self.view.categories)
            is_whole = self.view.categories is None
            if is_whole or _is_visible_in_view(change, filtered, previous):
                event = Delta(partial(self._newest.change_event, filtered))
                self._append(event, change.v, snapshot)
            else:
                self.history.advance(offset=change.v, snapshot=snapshot)
            previous = filtered.badge

    def _append(
        self,
        event: events.EventFactory | Delta,
        v: int,
        snapshot: events.EventFactory | None = None,
    ) -> None:
        self._count_event()
        self.history.append(event, offset=v, snapshot=snapshot, now=self.appended_at)

    def _count_event(self) -> None:
        self.appended += 1
        self.appended_at = trio.current_time()

    def _snapshot(self, record: Record) -> events.EventFactory:
        if self.view.level == "badge":
            return partial(events.badge_event, self.badge)
        return partial(events.snapshot_event, record.mailbox, self.view.categories)


def _is_visible_in_view(
    change: Change, filtered: Change, previous: Badge | None
) -> bool:
    """Return whether *filtered*, a view's part of *change*, shows anything new.

    *previous* is the view's badge one version earlier, if it is known.
    """
    if filtered.steps:
        return True
    if previous is not None:
        return not filtered.badge.is_visually_equal(previous)
    # The oldest change of a trimmed log has no previous badge to compare with. Sending
    # it is harmless. It is silent only if it cannot have changed this badge: without a
    # step only a gauge or a mute changes a badge, or an eviction elsewhere (`more`).
    return not change.steps or filtered.badge.more
