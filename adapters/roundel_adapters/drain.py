"""Ends all streams when the server has to stop.

Servers tell an application to shut down only after its responses have ended, and a
stream has no end. uvicorn waits for it for ever. So a drain has its own handler of
SIGTERM and SIGINT, in front of the server's. It adds them at the first stream, because
servers set theirs before they serve.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from random import randrange
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias, final

from roundel import CloseMessage, Event

from .event_loop import EventLoop, current_event_loop

if TYPE_CHECKING:
    from .driver import EventStream
    from .wakeup import Wakeup

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
    """Ends all streams of a process at SIGTERM or SIGINT, with a close message.

    The streams run in one event loop of asyncio or trio, or in threads. The server's
    own signal handlers run after the drain's. Python allows signal handlers in the main
    thread only: in a server that runs in another thread call `begin()`, and in a server
    that runs its responses in threads call `handle_signals()` in the main thread.

    Args:
        close_message: Called for each stream.
        signals: Whether the first stream in the main thread calls `handle_signals()`.
    """

    def __init__(
        self,
        close_message: Callable[[], CloseMessage] = default_close_message,
        *,
        signals: bool = True,
    ) -> None:
        self._close_message = close_message
        self._streams: dict[int, tuple[EventStream, Wakeup]] = {}
        self._loop: EventLoop | None = None
        self._signals = signals
        self.has_begun: bool = False
        """Whether new streams are closed at once."""

    @contextmanager
    def track(self, stream: EventStream, wakeup: Wakeup) -> Iterator[None]:
        """Close *stream* if the drain begins within the block, or has begun."""
        self._loop = current_event_loop() or self._loop
        if self._signals:
            self.handle_signals()
        self._streams[id(stream)] = stream, wakeup
        try:
            # After the stream is added: `begin()` may run in another thread.
            if self.has_begun:
                self.close(stream)
            yield
        finally:
            del self._streams[id(stream)]

    def begin(self) -> None:
        """Close all streams.

        Call it in the thread of the event loop. If all streams are of `Topics`, any
        thread can call it.
        """
        self.has_begun = True
        streams = tuple(self._streams.values())
        for stream, _ in streams:
            self.close(stream)
        for wakeup in {wakeup for _, wakeup in streams}:
            wakeup.notify()

    def close(self, stream: EventStream) -> None:
        """Close *stream* with a close message."""
        stream.close(self._close_message())

    def handle_signals(self) -> None:
        """Add the signal handlers, in front of those that the server has set.

        Does nothing in a thread other than the main one, and a second call does
        nothing. A signal that has no handler in Python is left alone: it ends the
        process at once.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        self._signals = False
        for number in _SIGNALS:
            self._handle_signal(number)

    def _handle_signal(self, number: signal.Signals) -> None:
        server_handler: Any = signal.getsignal(number)
        if callable(server_handler):
            # ValueError: in the main thread of a subinterpreter.
            with suppress(ValueError):
                signal.signal(number, partial(self._on_signal, server_handler))

    def _on_signal(
        self, server_handler: _Handler, number: int, frame: FrameType | None
    ) -> None:
        if self._loop is not None:
            self._loop.call_soon(self.begin)
        else:
            # The interrupted code may hold a lock that `begin()` needs.
            threading.Thread(target=self.begin).start()
        server_handler(number, frame)
