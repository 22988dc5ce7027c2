"""A subscriber: one open stream with its accounting."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import attrs

from roundel import CloseMessage, Stream

from ..telemetry.metrics import Metrics
from .channel import UserChannel
from .events import CloseReason
from .view_history import ViewHistory

_STATE_EVENTS = frozenset({"badge", "snapshot", "change"})


@final
@attrs.define(eq=False, kw_only=True, weakref_slot=False)
class Subscriber:
    """Wraps *stream* for its driver, counts its events and ends it if it is slow.

    A write that takes *slow_after* seconds or more ends the stream: a reconnection
    serves such a client better. *max_age_reason* is the reason of the end at the
    maximum age. `disconnected_at` is that of the mailbox when the stream was opened.

    Coalesced versions: *view_history* counts the events that it appended. When the
    stream is drained, events that were appended but not sent have been replaced by a
    later state. `versions_skipped` counts them.
    """

    _stream: Stream
    channel: UserChannel
    view_history: ViewHistory
    request_id: str
    _max_age_reason: CloseReason
    _slow_after: float
    _close_message: Callable[[CloseReason], CloseMessage]
    _metrics: Metrics
    disconnected_at: float = attrs.field(init=False)
    close_reason: CloseReason | None = attrs.field(default=None, init=False)
    on_state: Callable[[], None] | None = attrs.field(default=None, init=False)
    events_sent: int = attrs.field(default=0, init=False)
    versions_skipped: int = attrs.field(default=0, init=False)
    # When the chunks that are being written were handed out.
    _handed_at: float | None = attrs.field(default=None, init=False)
    # Events of the view history that were delivered, coalesced, or in the first state.
    _accounted: int = attrs.field(default=0, init=False)
    _has_state: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.disconnected_at = self.channel.record.mailbox.disconnected_at

    @property
    def is_open(self) -> bool:
        """Whether the stream has anything to send, now or later."""
        return self._stream.is_open

    @property
    def deadline(self) -> float:
        """The latest time of the next `data_to_send()`."""
        return self._stream.deadline

    def data_to_send(self, now: float) -> list[bytes]:
        """Return the next chunks to write; the previous chunks count as written."""
        handed_at, self._handed_at = self._handed_at, None
        if handed_at is not None:
            if self.on_state and self._has_state:
                on_state, self.on_state = self.on_state, None
                on_state()
            if now - handed_at >= self._slow_after:
                self.end("slow")
        chunks = self._stream.data_to_send(now)
        if chunks:
            self._handed_at = now
            self._count_sent(now)
        elif skipped := self.view_history.appended - self._accounted:
            self._accounted += skipped
            self.versions_skipped += skipped
            self._metrics.versions_coalesced.add(count=skipped)
        return chunks

    def end(self, reason: CloseReason) -> None:
        """End the stream with a close message; only the first call counts."""
        if self.close_reason is None:
            self.close_reason = reason
            self._stream.close(self._close_message(reason))

    def close(self, close_message: CloseMessage | None = None) -> None:
        """End the stream; without a close message the connection is closed."""
        if self.close_reason is None and not self._stream.is_open:
            self.close_reason = self._max_age_reason
        self._stream.close(close_message)

    def is_stuck(self, now: float) -> bool:
        """Return whether the current write exceeds the limit of a slow client."""
        return self._handed_at is not None and now - self._handed_at >= self._slow_after

    def _count_sent(self, now: float) -> None:
        history = self.view_history
        if not self.events_sent:
            # The first state contains the events that were appended before.
            self._accounted = history.appended
        for event_type in self._stream.sent_types:
            self.events_sent += 1
            self._metrics.events_sent.add(event_type)
            if event_type in _STATE_EVENTS:
                self._has_state = True
                if self._accounted < history.appended:
                    self._accounted += 1
                    self._metrics.delivery_seconds.observe(now - history.appended_at)
