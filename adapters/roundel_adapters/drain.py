"""Ends all streams when the server has to stop.

ASGI tells an application to shut down only after its responses have ended, and a stream
has no end. uvicorn waits for it for ever. So a drain has its own handler of
SIGTERM and SIGINT, in front of the server's. It adds them at the first stream, because
servers set theirs before they serve.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from random import randrange
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias, final

from roundel import CloseMessage, Event

if TYPE_CHECKING:
    from .driver import EventStream
    from .wakeup import Wakeup

_CallSoon: TypeAlias = Callable[[Callable[[], object]], object]
_Handler: TypeAlias = Callable[[int, FrameType | None], object]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def default_close_message() -> CloseMessage:
    """Return a `bye` event, and a reconnection time of 5 to 10 seconds.

    A proxy may answer 502 until the next process listens, which ends an `EventSource`.
    The random part spreads the reconnects.
    """
    retry = randrange(5_000, 10_000)  # noqa: S311, no secret
    return CloseMessage(Event('{"reason":"drain"}', "bye"), retry)


@final
class Drain:
    """Ends the streams of one event loop at SIGTERM or SIGINT, with a close message.

    It runs on asyncio and on trio. The server's own handlers run after it. Python
    allows signal handlers in the main thread only: in other threads call `begin()`.

    Args:
        close_message: Called for each stream.
    """

    def __init__(
        self, close_message: Callable[[], CloseMessage] = default_close_message
    ) -> None:
        self._close_message = close_message
        self._streams: dict[int, tuple[EventStream, Wakeup]] = {}
        self._call_soon: _CallSoon | None = None
        self.has_begun = False
        """Whether new streams are closed at once."""

    @contextmanager
    def track(self, stream: EventStream, wakeup: Wakeup) -> Iterator[None]:
        """Close *stream* if the drain begins within the block, or has begun."""
        self._handle_signals()
        if self.has_begun:
            self.close(stream)
        self._streams[id(stream)] = stream, wakeup
        try:
            yield
        finally:
            del self._streams[id(stream)]

    def begin(self) -> None:
        """Close all streams; call it in the thread of the event loop."""
        self.has_begun = True
        for stream, _ in self._streams.values():
            self.close(stream)
        for wakeup in {wakeup for _, wakeup in self._streams.values()}:
            wakeup.notify()

    def close(self, stream: EventStream) -> None:
        """Close *stream* with a close message."""
        stream.close(self._close_message())

    def _handle_signals(self) -> None:
        is_first = self._call_soon is None
        self._call_soon = _call_soon()
        if is_first:
            # ValueError: not in the main thread.
            with suppress(ValueError):
                for number in _SIGNALS:
                    self._handle_signal(number)

    def _handle_signal(self, number: signal.Signals) -> None:
        server_handler: Any = signal.getsignal(number)
        # Without a handler in Python the process ends at once, or ignores the signal.
        if callable(server_handler):
            signal.signal(number, partial(self._on_signal, server_handler))

    def _on_signal(
        self, server_handler: _Handler, number: int, frame: FrameType | None
    ) -> None:
        # RuntimeError: the loop has ended.
        with suppress(RuntimeError):
            if self._call_soon is not None:
                self._call_soon(self.begin)
        server_handler(number, frame)


def _call_soon() -> _CallSoon:
    """Return the function that schedules a callback from a signal handler."""
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        # Imported here, because streams on asyncio run without trio.
        import trio

        return trio.lowlevel.current_trio_token().run_sync_soon
