"""The event loop that runs here: its clock, its waits, and calls from other threads."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Protocol, final

import attrs

if TYPE_CHECKING:
    import trio


class LoopEvent(Protocol):
    """The part of an event of trio or asyncio that a waker uses."""

    def set(self) -> None:
        """Wake the tasks that wait."""

    def is_set(self) -> bool:
        """Return whether `set()` was called."""

    def cleared(self) -> LoopEvent:
        """Return an event that is not set, in place of this one."""

    def close(self) -> None:
        """Free what the event uses in its loop; nothing waits for it any more."""


class EventLoop(Protocol):
    """A running event loop, of trio or of asyncio."""

    def time(self) -> float:
        """Return the loop's time in seconds; call it in the loop's thread."""

    def is_current(self) -> bool:
        """Return whether the caller runs in a task of this loop.

        Then an event of the loop can be set. A signal handler can interrupt the loop
        itself, in its wait for I/O: only `call_soon()` ends that.
        """

    def call_soon(self, callback: Callable[[], object]) -> bool:
        """Call *callback* in the loop, from any thread and from signal handlers.

        Returns false if the loop has ended, without a call.
        """

    def new_event(self) -> LoopEvent:
        """Return an event of this loop."""

    async def wait(self, event: LoopEvent, *, until: float) -> None:
        """Wait for *event*, at most *until* a time of the loop; ``inf`` for ever."""


def current_event_loop() -> EventLoop | None:
    """Return the loop in which the caller runs; `None` in a thread without one."""
    with suppress(RuntimeError):
        return _AsyncioLoop(asyncio.get_running_loop())
    # A trio loop runs only if trio is imported.
    if "trio" in sys.modules:
        import trio

        with suppress(RuntimeError):
            return _TrioLoop(trio.lowlevel.current_trio_token())
    return None


@final
@attrs.frozen
class _AsyncioLoop:
    _loop: asyncio.AbstractEventLoop

    def time(self) -> float:
        return self._loop.time()

    def is_current(self) -> bool:
        try:
            is_running = asyncio.get_running_loop() is self._loop
            return is_running and asyncio.current_task() is not None
        except RuntimeError:
            return False

    def call_soon(self, callback: Callable[[], object]) -> bool:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)
            return True
        return False

    def new_event(self) -> LoopEvent:
        return _AsyncioEvent(self._loop)

    async def wait(self, event: LoopEvent, *, until: float) -> None:
        assert isinstance(event, _AsyncioEvent)
        await event.wait(until)


@final
class _AsyncioEvent:
    """An event for one task, which keeps its timer from one wait to the next.

    A driver waits with a deadline that moves later at each write, and rarely reaches
    it. A timer for each wait took a third of the processor time of a delivery.
    """

    __slots__ = ("_fires_at", "_future", "_is_set", "_loop", "_timer", "_until")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] | None = None
        self._is_set = False
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = self._until = inf

    def set(self) -> None:
        if not self._is_set:
            self._is_set = True
            if self._future is not None:
                # One turn later: two events in a row are one write and one wake.
                self._loop.call_soon(_resolve, self._future)

    def is_set(self) -> bool:
        return self._is_set

    def cleared(self) -> LoopEvent:
        self._is_set = False
        return self

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._fires_at = None, inf

    async def wait(self, until: float) -> None:
        # Before the check: a finalizer can set the event between any two steps.
        self._future = future = self._loop.create_future()
        try:
            if not self._is_set:
                self._until = until
                if until < self._fires_at:
                    self._start_timer()
                await future
        finally:
            self._future = None

    def _start_timer(self) -> None:
        self.close()
        self._fires_at = max(self._until, self._loop.time())
        self._timer = self._loop.call_at(self._fires_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._fires_at = None, inf
        if self._future is None:
            return
        if self._until <= self._loop.time():
            _resolve(self._future)
        elif self._until < inf:
            self._start_timer()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@final
@attrs.frozen
class _TrioLoop:
    _token: trio.lowlevel.TrioToken

    def time(self) -> float:
        import trio

        return trio.current_time()

    def is_current(self) -> bool:
        import trio

        try:
            trio.lowlevel.current_task()
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    def call_soon(self, callback: Callable[[], object]) -> bool:
        # RunFinishedError is a RuntimeError.
        with suppress(RuntimeError):
            self._token.run_sync_soon(callback)
            return True
        return False

    def new_event(self) -> LoopEvent:
        return _TrioEvent()

    async def wait(self, event: LoopEvent, *, until: float) -> None:
        assert isinstance(event, _TrioEvent)
        await event.wait(until)


@final
class _TrioEvent:
    __slots__ = ("_event",)

    def __init__(self) -> None:
        import trio

        self._event = trio.Event()

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def cleared(self) -> LoopEvent:
        return _TrioEvent()

    def close(self) -> None:
        """Do nothing: a wait frees its timer."""

    async def wait(self, until: float) -> None:
        import trio

        with trio.move_on_at(until):
            await self._event.wait()
