"""How long a connection may wait: deadlines that are put off at every request.

To move the deadline of a `trio.CancelScope` takes as long as to read a short request,
and a connection does it twice for each. Here it is an assignment: one watchman for all
connections looks at each deadline when its time has come, and by then nearly all have
been put off.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from math import inf
from typing import final

import trio

from ..wakeup import Wakeup


@final
class TimeoutQueue:
    """Ends whatever has waited for too long; `run()` has to run beside those."""

    def __init__(self) -> None:
        # When to look at whom; the numbers only keep equal times apart.
        self._rounds: list[tuple[float, int, IdleTimeout]] = []
        self._numbers = count()
        self._sleeps_until = inf
        self._sooner = Wakeup()

    def schedule(self, at: float, patience: IdleTimeout) -> None:
        """Look at *patience* at that time."""
        heapq.heappush(self._rounds, (at, next(self._numbers), patience))
        if at < self._sleeps_until:
            self._sooner.notify()

    async def run(self) -> None:
        """Look after all, until cancelled."""
        while True:
            self._sleeps_until = self._rounds[0][0] if self._rounds else inf
            with trio.move_on_at(self._sleeps_until):
                await self._sooner.wait()
            now = trio.current_time()
            while self._rounds and self._rounds[0][0] <= now:
                at, _, patience = heapq.heappop(self._rounds)
                patience._expired(at, now)


@final
class IdleTimeout:
    """Calls *end* when its time has come, unless that was put off.

    Without it, that is to cancel its `scope`.
    """

    __slots__ = ("_end", "_looks_at", "_until", "_watchman", "scope")

    scope: trio.CancelScope

    def __init__(
        self, watchman: TimeoutQueue, end: Callable[[], None] | None = None
    ) -> None:
        self._watchman = watchman
        self._until = self._looks_at = inf
        if end is None:
            self.rearm()
        else:
            self._end = end

    def rearm(self) -> None:
        """Go on with another scope, until the same time."""
        self.scope = trio.CancelScope()
        self._end = self.scope.cancel

    def reset(self, seconds: float) -> None:
        """Wait for so many seconds from now on; ``inf`` is for ever."""
        if seconds == inf:
            self._until = inf
            return
        self._until = trio.current_time() + seconds
        if self._until < self._looks_at:
            self._looks_at = self._until
            self._watchman.schedule(self._until, self)

    def stop(self) -> None:
        """End nothing any more, and hold nothing that there was to be ended."""
        self._until = inf
        del self._end

    def _expired(self, at: float, now: float) -> None:
        """End the scope if it is time; else have this looked at again, if ever."""
        if at != self._looks_at:
            # An earlier look was asked for since, and that one counts.
            return
        self._looks_at = inf
        if self._until <= now:
            self._end()
        elif self._until < inf:
            self._looks_at = self._until
            self._watchman.schedule(self._until, self)
