"""The shared state of one user's streams."""

from __future__ import annotations

from typing import Protocol, final, get_args
from weakref import ref

import attrs

from roundel_adapters.wakeup import Wakeup

from ..domain.badge import Badge
from ..domain.record import Record
from .events import CloseReason
from .view_history import Level, View, ViewHistory


class ChannelSubscriber(Protocol):
    """A subscriber as its channel sees it."""

    def end(self, reason: CloseReason) -> None:
        """End the stream for *reason*."""
        ...


@final
@attrs.define(eq=False)
class UserChannel:
    """Holds the record and the view histories of a user with open streams.

    Only its subscribers and pending calls reference it, so it lives as long as they do.
    """

    user: str
    record: Record
    _change_log_size: int = attrs.field(kw_only=True)
    wakeup: Wakeup = attrs.field(factory=Wakeup, init=False)
    subscribers: set[ChannelSubscriber] = attrs.field(factory=set, init=False)
    # Only subscribers reference a view history. Most users have one view: a
    # WeakValueDictionary would take as much memory as the rest of the channel.
    _views: dict[View, ref[ViewHistory]] = attrs.field(factory=dict, init=False)

    @property
    def badge(self) -> Badge:
        """The current badge."""
        return self.record.badge

    @property
    def delivered_badge(self) -> Badge | None:
        """The badge that unfiltered streams deliver; `None` without such a stream."""
        for level in get_args(Level):
            if history := self._find(View(level)):
                return history.badge
        return None

    def view_history(self, view: View) -> ViewHistory:
        """Return the history of *view*; create it from the record if needed."""
        history = self._find(view)
        if history is None:
            history = ViewHistory(
                view, self.record, change_log_size=self._change_log_size
            )
            live = (*self._live_histories(), history)
            self._views = {each.view: ref(each) for each in live}
        return history

    def _find(self, view: View) -> ViewHistory | None:
        reference = self._views.get(view)
        return reference() if reference else None

    def _live_histories(self) -> list[ViewHistory]:
        found = [reference() for reference in self._views.values()]
        return [history for history in found if history is not None]

    def is_behind(self, record: Record) -> bool:
        """Return whether *record* may be newer than the channel's record."""
        current, other = self.record.mailbox, record.mailbox
        return (
            other.epoch != current.epoch
            or other.v > current.v
            or (
                other.v == current.v
                and other.disconnected_at != current.disconnected_at
            )
        )

    def update(self, record: Record) -> None:
        """Append *record* to the view histories and wake the streams.

        An older record is ignored. If the record ends the user's streams, each
        subscriber ends as revoked.
        """
        if not self.is_behind(record):
            return
        is_revoked = (
            record.mailbox.disconnected_at != self.record.mailbox.disconnected_at
        )
        self.record = record
        for history in self._live_histories():
            history.update(record)
        self.wakeup.notify()
        if is_revoked:
            for subscriber in self.subscribers:
                subscriber.end("revoked")
