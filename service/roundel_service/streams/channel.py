"""What the streams of one user share: a lane for each way of looking at a mailbox."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, final, get_args
from weakref import ref

import attrs
import trio

from roundel import Delta, History
from roundel_adapters.wakeup import Wakeup

from ..domain.badge import Badge, badge_from_counts
from ..domain.changes import Change
from ..domain.record import Record
from . import events as frames

if TYPE_CHECKING:
    from .subscriber import Subscriber

Level: TypeAlias = Literal["badge", "items"]


@final
@attrs.frozen
class View:
    """What a stream is about: its *level*, and just these *categories*, if given."""

    level: Level = "badge"
    categories: frozenset[str] | None = None


@final
class ViewHistory:
    """The history of one view; it lives as long as a stream reads it.

    *frames* counts what it has told, *told_at* is when it did last, by trio's clock,
    and *badge* is the newest of that.
    """

    __slots__ = ("__weakref__", "appended_at", "badge", "events", "history", "view")

    def __init__(self, view: View, record: Record, *, ring: int) -> None:
        self.view = view
        self.events = 0
        self.appended_at = trio.current_time()
        self.badge = record.badge.filter(view.categories)
        mailbox, changes = record.mailbox, record.changes
        replays = view.level == "items" and bool(changes)
        oldest = mailbox.v - len(changes)
        self.history = History(
            mailbox.epoch,
            offset=oldest if replays else mailbox.v,
            snapshot=None if replays else self._snapshot(record),
            capacity=ring if view.level == "items" else 0,
        )
        if replays:
            is_whole = oldest == 0
            empty = badge_from_counts(mailbox.epoch, 0, {}, more=False)
            self._append_changes(changes, record, empty if is_whole else None)

    def update(self, record: Record) -> None:
        """Take the mailbox's new state, of the same epoch or of another."""
        mailbox, head = record.mailbox, self.history.head
        before, self.badge = self.badge, record.badge.filter(self.view.categories)
        if mailbox.epoch != head.epoch:
            snapshot = self._snapshot(record)
            self.history.reset(mailbox.epoch, offset=mailbox.v, snapshot=snapshot)
        elif mailbox.v == head.offset:
            return
        elif self.view.level == "badge":
            self._append_badge(before)
        else:
            self._append_events(record, before)

    def _append_events(self, record: Record, before: Badge) -> None:
        last = self.history.head.offset
        news = record.changes.since(last)
        if news and news[0].v == last + 1:
            self._append_changes(news, record, before)
        else:
            # What lies between is nowhere any more: it is told whole, not passed over.
            self.history.skip_to_snapshot(
                self._snapshot(record), offset=record.mailbox.v
            )
            self.events += 1
            self.appended_at = trio.current_time()

    def _append_badge(self, before: Badge) -> None:
        event = partial(frames.badge_event, self.badge)
        if self.badge.is_visually_equal(before):
            self.history.advance(offset=self.badge.v, snapshot=event)
        else:
            self._append(event, self.badge.v)

    def _append_changes(
        self, news: Iterable[Change], record: Record, before: Badge | None
    ) -> None:
        for change in news:
            is_last = change.v == record.mailbox.v
            snapshot = self._snapshot(record) if is_last else None
            told = change.filter(self.view.categories)
            if _is_visible_in_view(change, told, before):
                event = Delta(partial(frames.change_event, told))
                self._append(event, change.v, snapshot)
            else:
                self.history.advance(offset=change.v, snapshot=snapshot)
            before = told.badge

    def _append(
        self,
        event: frames.EventFactory | Delta,
        v: int,
        snapshot: frames.EventFactory | None = None,
    ) -> None:
        self.events += 1
        self.appended_at = trio.current_time()
        self.history.append(event, offset=v, snapshot=snapshot, now=self.appended_at)

    def _snapshot(self, record: Record) -> frames.EventFactory:
        if self.view.level == "badge":
            return partial(frames.badge_event, self.badge)
        return partial(frames.snapshot_event, record.mailbox, self.view.categories)


def _is_visible_in_view(change: Change, told: Change, before: Badge | None) -> bool:
    """Tell whether *told*, a view's part of *change*, shows anything new in it."""
    if told.steps:
        return True
    if before is not None:
        return not told.badge.is_visually_equal(before)
    # What the ring begins with has nothing before it to be compared with. Nobody
    # misses anything if it is told, except where it cannot have changed this badge:
    # only a gauge does so without a step, or an eviction elsewhere by its `more`.
    return not change.steps or told.badge.more


@final
class UserChannel:
    """A user with open streams; it lives as long as one of them does."""

    __slots__ = (
        "__weakref__",
        "_change_log_size",
        "_views",
        "record",
        "subscribers",
        "user",
        "wakeup",
    )  # fmt: skip

    def __init__(self, user: str, record: Record, *, change_log_size: int) -> None:
        self.user = user
        self.record = record
        self.wakeup = Wakeup()
        self.subscribers: set[Subscriber] = set()
        self._change_log_size = change_log_size
        # A lane is kept by the streams that read it and by nothing else. Most users
        # have one: a WeakValueDictionary would take as much as all the rest of it.
        self._views: dict[View, ref[ViewHistory]] = {}

    @property
    def badge(self) -> Badge:
        """The badge as it is now."""
        return self.record.badge

    @property
    def delivered_badge(self) -> Badge | None:
        """The whole badge as the streams are told it; `None` if none reads it whole."""
        for level in get_args(Level):
            if lane := self._read(View(level)):
                return lane.badge
        return None

    def view_history(self, view: View) -> ViewHistory:
        """Return the lane of *view*, made from the record when first needed."""
        lane = self._read(view)
        if lane is None:
            lane = ViewHistory(view, self.record, ring=self._change_log_size)
            self._views = {lane.view: ref(lane) for lane in (*self._living(), lane)}
        return lane

    def _read(self, view: View) -> ViewHistory | None:
        known = self._views.get(view)
        return known() if known else None

    def _living(self) -> list[ViewHistory]:
        return [lane for known in self._views.values() if (lane := known())]

    def is_behind(self, record: Record) -> bool:
        """Tell whether *record* may be newer than what is known here."""
        known, told = self.record.mailbox, record.mailbox
        return (
            told.epoch != known.epoch
            or told.v > known.v
            or (told.v == known.v and told.ended_at != known.ended_at)
        )

    def update(self, record: Record) -> None:
        """Take the mailbox's new state, tell it to the lanes and wake the streams.

        A state that is older than the one there is changes nothing.
        """
        if not self.is_behind(record):
            return
        self.record = record
        for lane in self._living():
            lane.update(record)
        self.wakeup.notify()
