"""Ends all streams when the server has to stop.

Servers tell an application to shut down only after its responses have ended, and a
stream has no end. uvicorn waits for it for ever. So a drain has its own handlers of
signals, in front of the server's. Python sets handlers in the main thread only, and
servers set theirs before they serve. So the handlers are added at two times:

- When a drain is made. gunicorn loads the application in the main thread of a worker,
  which has set its handlers, and then runs all responses in other threads.
- By each stream in the main thread, if the server has set its own since the one before.

One handler serves all drains of the process, which it knows by weak references: many
drains, such as those of a test suite, do not become a chain of handlers.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from random import randrange
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias, final
from weakref import WeakSet

import attrs

from roundel import CloseMessage, Event

from .event_loop import EventLoop, current_event_loop

if TYPE_CHECKING:
    from .driver import EventStream
    from .wakeup import Wakeup

_Handler: TypeAlias = Callable[[int, FrameType | None], object]

_SIGNALS = [
    getattr(signal, name)
    # SIGQUIT: gunicorn sends it to its workers after a SIGINT. Windows has none.
    for name in ("SIGTERM", "SIGINT", "SIGQUIT")
    if hasattr(signal, name)
]

LAST_WRITES_TIMEOUT = 1.0
"""Seconds that streams have for their last writes after a signal."""

_POLL_INTERVAL = 0.02


def default_close_message() -> CloseMessage:
    """Return a `bye` event, and a reconnection time of 5 to 10 seconds.

    A proxy may answer 502 until the next process listens, which ends an `EventSource`.
    The random part spreads the reconnects.
    """
    retry = randrange(5_000, 10_000)  # noqa: S311, no secret
    return CloseMessage(Event('{"reason":"drain"}', "bye"), retry)


@final
class Drain:
    """Ends all streams of a process at SIGTERM, SIGINT or SIGQUIT, by a close message.

    The streams run in one event loop of asyncio or trio, or in threads. Streams of
    `Topics` can run in several loops. The server's own signal handlers run after the
    drain's. Python allows signal handlers in the main thread only: in a server that
    runs in another thread call `begin()`. If responses run in threads, and the server
    sets its handlers after it has loaded the application, call `handle_signals()` in
    the main thread.

    Args:
        close_message: Called for each stream.
        signals: Whether a drain that is made in the main thread, and each stream there,
            add the signal handlers.
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
        if signals and current_event_loop() is None:
            self._handle_signals_of_server()

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
            # A caller may track a stream that its response tracks too.
            self._streams.pop(id(stream), None)

    def begin(self) -> None:
        """Close all streams.

        Call it in the thread of the event loop. If all streams are of `Topics`, any
        thread can call it.
        """
        self.has_begun = True
        # A copy in one step: other threads and finalizers remove streams.
        streams = self._streams.copy().values()
        for stream, _ in streams:
            self.close(stream)
        for wakeup in {wakeup for _, wakeup in streams}:
            wakeup.notify()

    def close(self, stream: EventStream) -> None:
        """Close *stream* with a close message."""
        stream.close(self._close_message())

    def handle_signals(self) -> None:
        """Add the signal handlers, in front of the server's own.

        Does nothing in a thread other than the main one. A signal with the default
        action, as in a worker process of Hypercorn, ends the process one second after
        it has begun the drain. Ignored signals and handlers in C are left alone.
        """
        if threading.current_thread() is threading.main_thread():
            _drains.add(self)
            for number in _SIGNALS:
                _handle_signal(number)

    def _handle_signals_of_server(self) -> None:
        """Add the signal handlers if a server has set its own ones already."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            # Python's own handler of SIGINT is no server's, nor is the default action.
            # asyncio and trio replace the former by a better one, but no other.
            no_server = (signal.default_int_handler, signal.SIG_DFL)
            if signal.getsignal(number) not in no_server:
                _drains.add(self)
                _handle_signal(number)

    def _on_signal(self) -> None:
        # Before it looks for streams: one that is added now looks at this.
        self.has_begun = True
        if not self._streams:
            return
        if self._loop is None or not self._loop.call_soon(self.begin):
            # The interrupted code may hold a lock that `begin()` needs.
            # AssertionError: with gevent the thread starts, and cannot be waited for.
            with suppress(AssertionError):
                threading.Thread(target=self._begin_and_wait).start()

    def _begin_and_wait(self) -> None:
        # Waitress and Werkzeug write in daemon threads, which end with the process. The
        # process does not end before this thread.
        self.begin()
        deadline = time.monotonic() + LAST_WRITES_TIMEOUT
        while self._streams and time.monotonic() < deadline:
            time.sleep(_POLL_INTERVAL)
        # The server ends the body behind the last chunk.
        time.sleep(_POLL_INTERVAL)

    def _forget_parent(self) -> None:
        self._streams, self._loop = {}, None


_drains: WeakSet[Drain] = WeakSet()
"""The drains that begin at a signal."""


@attrs.frozen
class _SignalHandler:
    server_handler: _Handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        for drain in _drains.copy():
            drain._on_signal()
        self.server_handler(number, frame)


@attrs.define
class _DefaultAction:
    """The default action of a signal: it ends the process, after the last writes."""

    _end_at: float = inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._end_at < inf:
            # Hypercorn repeats the signal as soon as one of its workers has ended.
            is_due = now >= self._end_at
        else:
            is_due = not any(drain._streams for drain in _drains.copy())
            self._end_at = now + LAST_WRITES_TIMEOUT
            _repeat_signal(number, after=LAST_WRITES_TIMEOUT + 0.01)
        if is_due:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def _repeat_signal(number: int, *, after: float) -> None:
    timer = threading.Timer(after, os.kill, (os.getpid(), number))
    # A process that has ended before does not wait for it.
    timer.daemon = True
    timer.start()


def _handle_signal(number: signal.Signals) -> None:
    handler: Any = signal.getsignal(number)
    if isinstance(handler, _SignalHandler):
        return
    if handler == signal.SIG_DFL:
        handler = _DefaultAction()
    if callable(handler):
        # ValueError: in the main thread of a subinterpreter.
        with suppress(ValueError):
            signal.signal(number, _SignalHandler(handler))


def _forget_parent() -> None:
    """Forget the streams and the event loop of a process that has forked this one."""
    for drain in _drains:
        drain._forget_parent()


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_forget_parent)
