"""A subscriber: one open stream with its accounting."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from roundel import CloseMessage, Stream

from ..telemetry.metrics import Metrics
from .channel import UserChannel
from .events import CloseReason
from .view_history import ViewHistory

_STATE_EVENTS = frozenset({"badge", "snapshot", "change"})


@final
class Subscriber:
    """Wraps *stream* for its driver, counts its events and ends it if it is slow.

    A write that takes *slow_after* seconds or more ends the stream: a reconnection
    serves such a client better. *max_age_reason* is the reason of the end at the
    maximum age. `disconnected_at` is that of the mailbox when the stream was opened.

    Coalesced versions: *view_history* counts the events that it appended. When the
    stream is drained, events that were appended but not sent have been replaced by a
    later state. `versions_skipped` counts them.
    """

    __slots__ = (
        "_close_message",
        "_counted",
        "_delivered",
        "_handed_at",
        "_has_state",
        "_max_age_reason",
        "_metrics",
        "_slow_after",
        "_stream",
        "_view_history",
        "channel",
        "close_reason",
        "disconnected_at",
        "events_sent",
        "on_state",
        "request_id",
        "versions_skipped",
    )  # fmt: skip

    def __init__(
        self,
        stream: Stream,
        channel: UserChannel,
        view_history: ViewHistory,
        *,
        max_age_reason: CloseReason,
        slow_after: float,
        close_message: Callable[[CloseReason], CloseMessage],
        request_id: str,
        metrics: Metrics,
    ) -> None:
        self._stream = stream
        self.channel = channel
        self.disconnected_at = channel.record.mailbox.disconnected_at
        self._view_history = view_history
        self._max_age_reason: CloseReason = max_age_reason
        self._slow_after = slow_after
        self._close_message = close_message
        self.request_id = request_id
        self._metrics = metrics
        # When the chunks that are being written were handed out.
        self._handed_at: float | None = None
        # Events of the view history that are accounted for, and deliveries beyond them.
        self._counted = view_history.appended
        self._delivered = 0
        self._has_state = False
        self.events_sent = 0
        self.versions_skipped = 0
        self.close_reason: CloseReason | None = None
        self.on_state: Callable[[], None] | None = None

    @property
    def level(self) -> str:
        """The level of the view: ``"badge"`` or ``"items"``."""
        return self._view_history.view.level

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
        if handed_at is not None and (
            self.on_state or now - handed_at >= self._slow_after
        ):
            self._on_written(now - handed_at)
        chunks = self._stream.data_to_send(now)
        if chunks:
            self._handed_at = now
            self._count_sent(now)
        elif self._delivered:
            self._on_drained()
        return chunks

    def end(self, reason: CloseReason) -> None:
        """End the stream with a close message; only the first call counts."""
        if self.close_reason is None:
            self.close_reason = reason
            self._stream.close(self._close_message(reason))

    def close(self) -> None:
        """End the stream without a close message: the connection is closed."""
        if self.close_reason is None and not self._stream.is_open:
            self.close_reason = self._max_age_reason
        self._stream.close()

    def is_stuck(self, now: float) -> bool:
        """Return whether the current write exceeds the limit of a slow client."""
        return self._handed_at is not None and now - self._handed_at >= self._slow_after

    def _on_written(self, seconds: float) -> None:
        if self.on_state is not None and self._has_state:
            on_state, self.on_state = self.on_state, None
            on_state()
        if seconds >= self._slow_after:
            self.end("slow")

    def _count_sent(self, now: float) -> None:
        if not self.events_sent:
            # The first state contains the events that were appended before.
            self._counted = self._view_history.appended
        for event_type in self._stream.sent_types:
            self.events_sent += 1
            self._metrics.events_sent.add(event_type)
            if event_type in _STATE_EVENTS:
                self._has_state = True
                self._record_delivery(now)

    def _record_delivery(self, now: float) -> None:
        history = self._view_history
        undelivered = history.appended - self._counted
        if undelivered <= 0:
            # The first state was not published just now.
            return
        self._metrics.delivery_seconds.observe(now - history.appended_at)
        if undelivered == 1:
            self._counted = history.appended
        else:
            self._delivered += 1

    def _on_drained(self) -> None:
        skipped = self._view_history.appended - self._counted - self._delivered
        if skipped > 0:
            self.versions_skipped += skipped
            self._metrics.versions_coalesced.add(count=skipped)
        self._counted, self._delivered = self._view_history.appended, 0
