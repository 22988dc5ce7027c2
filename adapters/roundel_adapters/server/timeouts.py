"""Idle timeouts of connections.

Moving the deadline of a `trio.CancelScope` takes as long as parsing a short request,
and each request moves a connection's deadline twice. Here `reset()` stores a time, and
one task for all connections handles the timeouts by a `TimerQueue`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import final

import trio

from ..timer_queue import TimerQueue
from ..wakeup import Wakeup


@final
class IdleTimeouts:
    """Runs the timeouts of all connections; `run()` has to run in a task."""

    def __init__(self) -> None:
        self._timers: TimerQueue[IdleTimeout] = TimerQueue()
        self._next_changed = Wakeup()

    def schedule(self, timeout: IdleTimeout, at: float) -> None:
        """Check *timeout* at the time *at*, or earlier."""
        if self._timers.set(timeout, at):
            self._next_changed.notify()

    async def run(self) -> None:
        """Check each timeout when it is due, until cancelled."""
        while True:
            with trio.move_on_at(self._timers.next):
                await self._next_changed.wait()
            now = trio.current_time()
            for timeout in self._timers.due(now):
                timeout._check(now)


@final
class IdleConnections:
    """Holds the timeouts of connections without a request, the longest wait first."""

    def __init__(self) -> None:
        self._waiting: dict[IdleTimeout, None] = {}

    def update(self, timeout: IdleTimeout, *, is_waiting: bool) -> None:
        """Record that a connection begins to wait now, or that it does not wait."""
        self._waiting.pop(timeout, None)
        if is_waiting:
            self._waiting[timeout] = None

    def close_longest(self) -> bool:
        """Time out the connection that waits longest; return whether there is one."""
        timeout = next(iter(self._waiting), None)
        if timeout is None:
            return False
        del self._waiting[timeout]
        timeout.expire()
        return True


@final
class IdleTimeout:
    """Calls *on_timeout* when it was not reset in time.

    Without *on_timeout* it cancels its `scope`.
    """

    __slots__ = ("_deadline", "_on_timeout", "_timeouts", "scope")

    scope: trio.CancelScope

    def __init__(
        self, timeouts: IdleTimeouts, on_timeout: Callable[[], None] | None = None
    ) -> None:
        self._timeouts = timeouts
        self._deadline = inf
        if on_timeout is None:
            self.rearm()
        else:
            self._on_timeout = on_timeout

    def rearm(self) -> None:
        """Create a new scope; the deadline stays."""
        self.scope = trio.CancelScope()
        self._on_timeout = self.scope.cancel

    def reset(self, seconds: float) -> None:
        """Restart the timeout with *seconds* from now; ``inf`` disables it."""
        if seconds == inf:
            self._deadline = inf
            return
        self._deadline = trio.current_time() + seconds
        self._timeouts.schedule(self, self._deadline)

    def expire(self) -> None:
        """Time out now."""
        self._on_timeout()

    def stop(self) -> None:
        """Disable the timeout and release *on_timeout*."""
        self._deadline = inf
        del self._on_timeout

    def _check(self, now: float) -> None:
        """Time out if the deadline has passed; otherwise schedule the next check."""
        if self._deadline <= now:
            self._on_timeout()
        elif self._deadline < inf:
            self._timeouts.schedule(self, self._deadline)
