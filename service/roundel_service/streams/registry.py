"""The registry of open streams: limits, accounting and draining."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

import attrs
import trio

from roundel import CloseMessage

from ..telemetry import logs
from ..telemetry.metrics import Metrics
from . import events
from .channel import UserChannel
from .events import CloseReason
from .presence import StreamPresence, StreamSlot
from .subscriber import Subscriber

MIN_RETRY = 1.0
"""Minimum reconnection time of an end that no other stream shares, in seconds."""

RECONNECTS_PER_SECOND = 500
"""Streams that a process can accept per second; reconnections are spread over time."""


@final
@attrs.frozen(kw_only=True)
class StreamLimits:
    """Limits of concurrent streams: *streams* of this process, and *per_user*.

    The limit per user holds for all nodes together if the engine is shared.
    """

    streams: int = 20_000
    per_user: int = 32


@final
@attrs.define(eq=False)
class StreamRegistry:
    """Holds the subscribers that are served, within *limits*.

    *retry* is the minimum reconnection time after a drain or a rejection, in seconds.
    *random* draws from [0, 1).
    """

    _limits: StreamLimits
    _presence: StreamPresence | None
    _retry: float = attrs.field(kw_only=True)
    _random: Callable[[], float] = attrs.field(kw_only=True)
    _metrics: Metrics = attrs.field(kw_only=True)
    # A dict has an order, so a drain ends the streams in that of their starts.
    _subscribers: dict[Subscriber, None] = attrs.field(factory=dict, init=False)
    _polls: int = attrs.field(default=0, init=False)
    is_draining: bool = attrs.field(default=False, init=False)

    def __len__(self) -> int:
        """Return the number of streams that are served."""
        return len(self._subscribers)

    def add(self, subscriber: Subscriber) -> None:
        """Add *subscriber*, or end it at once if it may not be served."""
        channel = subscriber.channel
        if self.is_draining:
            subscriber.end("drain")
        elif subscriber.disconnected_at < channel.record.mailbox.disconnected_at:
            # The user's streams were ended after this request was authorized.
            subscriber.end("revoked")
        elif self._is_full(channel):
            subscriber.end("shed")
        if subscriber.close_reason is None:
            # A rejected stream ends in a moment and is not counted.
            self._subscribers[subscriber] = None
            channel.subscribers.add(subscriber)

    def _is_full(self, channel: UserChannel) -> bool:
        """Return whether the process or the user is at the limit of streams."""
        return (
            len(self._subscribers) + self._polls >= self._limits.streams
            or len(channel.subscribers) + channel.polls >= self._limits.per_user
        )

    @contextmanager
    def count_poll(self, channel: UserChannel) -> Iterator[bool]:
        """Count a long poll with the streams; yield false if there is no room."""
        if self._is_full(channel):
            yield False
            return
        self._polls += 1
        channel.polls += 1
        try:
            yield True
        finally:
            self._polls -= 1
            channel.polls -= 1

    def remove(self, subscriber: Subscriber, seconds: float) -> None:
        """Remove *subscriber* and log its end, after *seconds* of service."""
        channel = subscriber.channel
        self._subscribers.pop(subscriber, None)
        channel.subscribers.discard(subscriber)
        if self._presence is not None:
            self._presence.update(channel.user)
        is_stuck = subscriber.is_stuck(trio.current_time())
        reason = subscriber.close_reason or ("slow" if is_stuck else "gone")
        if reason == "shed":
            self._metrics.streams_rejected.add()
        self._metrics.stream_ended(reason, seconds)
        logs.stream_line(
            user=channel.user,
            level=subscriber.view_history.view.level,
            reason=reason,
            seconds=seconds,
            events_sent=subscriber.events_sent,
            versions_skipped=subscriber.versions_skipped,
            request_id=subscriber.request_id,
        )

    def drain(self) -> None:
        """End all streams, and reject new ones from now on."""
        self.is_draining = True
        for subscriber in self._subscribers:
            subscriber.end("drain")

    def close_message(self, reason: CloseReason) -> CloseMessage:
        """Return the last event of a stream, with a random reconnection time.

        Streams that end together reconnect one by one, as fast as they can be served.
        """
        # WHATWG HTML 9.2.3: a 502 is final. A proxy answers it to a page that comes
        # back after a drain before the next process listens.
        if reason in ("drain", "shed"):
            minimum, together = self._retry, len(self._subscribers)
        else:
            minimum, together = MIN_RETRY, 1
        seconds = minimum + together / RECONNECTS_PER_SECOND * self._random()
        return events.close_message(reason, round(1_000 * seconds))


@final
@attrs.define(eq=False, weakref_slot=False)
class StreamLease:
    """A context in which *subscriber* is in *registry*.

    Entering it ends the subscriber if a limit is reached. It holds *slot* until then.
    A class, since a generator would keep a frame for each of thousands of streams.
    """

    _registry: StreamRegistry
    _subscriber: Subscriber
    _slot: StreamSlot | None
    _started_at: float = attrs.field(init=False)

    def __enter__(self) -> None:
        self._started_at = trio.current_time()
        self._registry.add(self._subscriber)
        self._slot = None

    def __exit__(self, *_: object) -> None:
        self._registry.remove(self._subscriber, trio.current_time() - self._started_at)
