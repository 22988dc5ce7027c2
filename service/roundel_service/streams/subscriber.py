"""One open stream as its driver sees it, with all that is counted of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import final

from roundel import CloseMessage, Stream

from ..telemetry.metrics import Metrics
from .channel import UserChannel, ViewHistory
from .events import CloseReason

_EVENT = re.compile(rb"(?:retry: \d+\n)?event: (\w+)\n")
# What most frames begin with, so that those are not searched.
_TYPES = {
    f"event: {name}".encode(): name for name in ("badge", "snapshot", "change", "ping")
}
_STATES = frozenset({"badge", "snapshot", "change"})


@final
class Subscriber:
    """Drives like the *stream* that it wraps, and keeps its books.

    A write that takes *slow_after* seconds or more ends the stream: such a reader
    does better to come back than to be fed. *ages* is why the stream ends when it
    is told nothing else. *last_words* makes what is said before an end. *ended_at*
    is when the user's streams had last been ended when this one was opened.
    """

    __slots__ = (
        "_begun",
        "_close_message",
        "_delivered",
        "_handed",
        "_has_state",
        "_max_age_reason",
        "_metrics",
        "_missed",
        "_slow_after",
        "_stream",
        "_view_history",
        "channel",
        "close_reason",
        "ended_at",
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
        self.ended_at = channel.record.mailbox.ended_at
        self._view_history = view_history
        self._max_age_reason: CloseReason = max_age_reason
        self._slow_after = slow_after
        self._close_message = close_message
        self.request_id = request_id
        self._metrics = metrics
        self._handed: float | None = None
        # How many frames of the lane there were when all of them had been told, and
        # how many have been told since.
        self._missed = view_history.events
        self._delivered = 0
        # Whether a state has been handed out, and whether all of it has.
        self._begun = self._has_state = False
        self.events_sent = 0
        self.versions_skipped = 0
        self.close_reason: CloseReason | None = None
        self.on_state: Callable[[], None] | None = None

    @property
    def level(self) -> str:
        """What the stream tells: ``"badge"`` or ``"items"``."""
        return self._view_history.view.level

    @property
    def is_open(self) -> bool:
        """False once the last words are taken."""
        return self._stream.is_open

    @property
    def deadline(self) -> float:
        """When to call `data_to_send()` at the latest, even without news."""
        return self._stream.deadline

    def data_to_send(self, now: float) -> list[bytes]:
        """Hand out what is to be written now; asked again, that has been written."""
        handed, self._handed = self._handed, None
        if handed is not None and (self.on_state or now - handed >= self._slow_after):
            self._written(now - handed)
        chunks = self._stream.data_to_send(now)
        if chunks:
            self._handed = now
            self._count(chunks, now)
        elif self._delivered:
            self._drained()
        return chunks

    def end(self, reason: CloseReason) -> None:
        """Say *why* the stream ends, and when to come back; the first call counts."""
        if self.close_reason is None:
            self.close_reason = reason
            self._stream.close(self._close_message(reason))

    def close(self) -> None:
        """End the stream without a word: the connection is gone."""
        if self.close_reason is None and not self._stream.is_open:
            self.close_reason = self._max_age_reason
        self._stream.close()

    def is_stuck(self, now: float) -> bool:
        """Tell whether the connection has been busy with one write for too long."""
        return self._handed is not None and now - self._handed >= self._slow_after

    def _written(self, seconds: float) -> None:
        if self.on_state is not None and self._has_state:
            on_state, self.on_state = self.on_state, None
            on_state()
        if seconds >= self._slow_after:
            self.end("slow")

    def _count(self, chunks: list[bytes], now: float) -> None:
        if not self.events_sent:
            # What was told to others until now is in the state that it begins with.
            self._missed = self._view_history.events
        for chunk in chunks:
            event = _TYPES.get(chunk[: chunk.find(b"\n")]) or _event_of(chunk)
            if event is not None:
                self.events_sent += 1
                self._metrics.events_sent(event)
                if event in _STATES:
                    self._record_delivery(now)
        if self.on_state is not None:
            self._has_state = self._begun and chunks[-1].endswith(b"\n\n")

    def _record_delivery(self, now: float) -> None:
        self._begun = True
        lane = self._view_history
        news = lane.events - self._missed
        # The state that a stream begins with was not published just now.
        if news > 0:
            self._metrics.delivered(now - lane.appended_at)
            if news == 1:
                self._missed = lane.events
            else:
                self._delivered += 1

    def _drained(self) -> None:
        missed = self._view_history.events - self._missed - self._delivered
        if missed > 0:
            self.versions_skipped += missed
            self._metrics.versions_coalesced(missed)
        self._missed, self._delivered = self._view_history.events, 0


def _event_of(chunk: bytes) -> str | None:
    """Return the type of the event that *chunk* is."""
    # The rest of a frame that was handed out in part is no frame.
    found = _EVENT.match(chunk)
    return found[1].decode() if found else None
