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
        return asyncio.Event()

    async def wait(self, event: LoopEvent, *, until: float) -> None:
        assert isinstance(event, asyncio.Event)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(None if until == inf else until):
                await event.wait()


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
        import trio

        return trio.Event()

    async def wait(self, event: LoopEvent, *, until: float) -> None:
        import trio

        assert isinstance(event, trio.Event)
        with trio.move_on_at(until):
            await event.wait()
