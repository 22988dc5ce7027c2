"""The shared state of one user's streams, and of one topic's followers."""

from __future__ import annotations

from typing import Protocol, final
from weakref import WeakSet, ref

import attrs

from roundel_adapters.wakeup import Wakeup

from ..domain.badge import Badge
from ..domain.record import Record
from .events import CloseReason
from .view_history import View, ViewHistory


class ChannelSubscriber(Protocol):
    """A subscriber as its channel sees it."""

    def end(self, reason: CloseReason) -> None:
        """End the stream for *reason*."""
        ...


@final
@attrs.define(eq=False)
class TopicChannel:
    """Holds the *record* of a topic's mailbox, and the *followers* on this node.

    The record is missing until it was read. Only the channels of the followers
    reference a topic channel, so it lives as long as they do.
    """

    name: str
    record: Record | None = None
    followers: WeakSet[UserChannel] = attrs.field(factory=WeakSet, init=False)

    def is_ahead_of(self, channel: UserChannel) -> bool:
        """Return whether *channel* lacks something that the topic has."""
        record = self.record
        return record is not None and channel.record.is_behind({self.name: record})


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
    # The topics that the user follows, except `ALL`.
    topics: tuple[TopicChannel, ...] = attrs.field(default=(), init=False)
    # Long polls that wait for a change.
    polls: int = attrs.field(default=0, init=False)
    # Only subscribers reference a view history. Most users have one view: a
    # WeakValueDictionary would take as much memory as the rest of the channel.
    _views: tuple[ref[ViewHistory], ...] = attrs.field(default=(), init=False)

    @property
    def badge(self) -> Badge:
        """The current badge."""
        return self.record.badge

    @property
    def delivered_badge(self) -> Badge | None:
        """The badge that unfiltered streams deliver; `None` without such a stream."""
        live = self._live_histories()
        return next((it.badge for it in live if it.view.categories is None), None)

    def view_history(self, view: View) -> ViewHistory:
        """Return the history of *view*; create it from the record if needed."""
        live = self._live_histories()
        for history in live:
            if history.view == view:
                return history
        history = ViewHistory(view, self.record, change_log_size=self._change_log_size)
        self._views = tuple(map(ref, (*live, history)))
        return history

    def _live_histories(self) -> list[ViewHistory]:
        return [history for reference in self._views if (history := reference())]

    def _replace_histories(self) -> None:
        # A running history takes no longer epoch, and an engine never makes one: the
        # stored epoch was changed by hand. New streams get new histories.
        self._views = ()
        for subscriber in self.subscribers:
            subscriber.end("shed")

    def update(self, record: Record) -> None:
        """Append *record* to the view histories and wake the streams.

        An older record is ignored; the hub finds out why it is older. A record without
        a visible change wakes no stream. If it ends the user's streams, each subscriber
        ends as revoked.
        """
        old, new = self.record.mailbox, record.mailbox
        if new.epoch == old.epoch:
            # Both only grow in an epoch, so a delayed read has an older pair.
            before, after = (old.v, old.disconnected_at), (new.v, new.disconnected_at)
            if after < before:
                return
            if after == before:
                self.record = record
                return
        # A store that lost the mailbox lost the earlier disconnect too.
        is_revoked = new.disconnected_at > old.disconnected_at
        self.record = record
        if len(new.epoch) > len(old.epoch):
            self._replace_histories()
        for history in self._live_histories():
            history.update(record)
        self.wakeup.notify()
        if is_revoked:
            for subscriber in self.subscribers:
                subscriber.end("revoked")
