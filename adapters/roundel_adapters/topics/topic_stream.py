"""The stream of one subscriber of `Topics`, which several threads can use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import final

from roundel import CloseMessage, Cursor, Stream

from ..drain import Drain
from ..wakeup import Wakeup
from .deferring_lock import DeferringLock


@final
class TopicStream:
    """The stream of one subscriber of `Topics`: a `LiveStream` for any adapter.

    All methods can be called in any thread. Make one for each request; it belongs to
    the first driver that uses it.
    """

    __slots__ = (
        "__weakref__", "_clock", "_clock_shift", "_lock", "_on_close", "_stream",
        "drain", "wakeup",
    )  # fmt: skip

    wakeup: Wakeup
    """The wakeup of this stream alone; each `Topics.publish()` notifies it."""

    drain: Drain
    """The drain of the topics."""

    def __init__(
        self,
        stream: Stream,
        drain: Drain,
        *,
        lock: DeferringLock,
        clock: Callable[[], float],
        on_close: Callable[[TopicStream], object],
    ) -> None:
        self.wakeup = Wakeup()
        self.drain = drain
        self._stream = stream
        self._lock = lock
        self._clock = clock
        self._clock_shift: float | None = None
        self._on_close = on_close

    @property
    def is_open(self) -> bool:
        """False once the close message is taken, or at once if there is none."""
        return self._stream.is_open

    @property
    def cursor(self) -> Cursor:
        """The subscriber's positions after everything that was handed out."""
        return self._stream.cursor

    @property
    def deadline(self) -> float:
        """The latest time for the next `data_to_send()`, on the driver's clock."""
        return self._stream.deadline + (self._clock_shift or 0.0)

    def data_to_send(self, now: float) -> list[bytes]:
        """Return the chunks to write now; an empty list if nothing is due.

        *now* is in seconds, of one clock for all calls.
        """
        try:
            with self._lock.lock:
                return self._stream.data_to_send(self._own_time(now))
        finally:
            self._lock.run_deferred()

    def close(self, close_message: CloseMessage | None = None) -> None:
        """Close the stream, with a *close_message*; the first call counts.

        Without a message the connection is gone, and the topics do not count the
        stream any more.
        """
        close = partial(self._close, close_message)
        if self._lock.is_interrupted():
            self._lock.defer(close)
            return
        with self._lock.lock:
            close()
        self._lock.run_deferred()

    def _close(self, close_message: CloseMessage | None) -> Callable[[], object]:
        self._stream.close(close_message)
        if close_message is None:
            self._on_close(self)
        return self.wakeup.notify

    def _own_time(self, now: float) -> float:
        """Return the time of the topics' clock at *now* of the driver's clock."""
        if self._clock_shift is None:
            self._clock_shift = now - self._clock()
        own_now = now - self._clock_shift
        if now >= self.deadline:
            # A rounded difference must not put it before its own deadline: the driver
            # would not wait.
            return max(own_now, self._stream.deadline)
        return own_now
