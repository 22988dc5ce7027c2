"""Active refresh: lets items expire and appear on time where a stream is open.

An engine does so passively, when it reads or changes a mailbox. An open stream must
deliver it at once. So one task sleeps until the earliest item is due, of all users with
open streams and of the topics that they follow, and then applies `Refresh`. Other
mailboxes cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final, NoReturn, final

import attrs
import structlog
import trio

from roundel_adapters.timer_queue import TimerQueue
from roundel_adapters.wakeup import Wakeup

from ..domain.operations import Refresh
from ..engines.base import RETRY_AFTER, Engine, EngineUnavailable

MAX_SLEEP: Final = 60.0
"""Seconds until the task looks at the clock again, which may have been set."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@final
@attrs.define(eq=False)
class ActiveRefresh:
    """Applies `Refresh` to the mailboxes that *is_delivered*, as soon as they are due.

    *clock* returns seconds since 1970.
    """

    _engine: Engine
    _is_delivered: Callable[[str], bool]
    _clock: Callable[[], float] = attrs.field(kw_only=True)
    _queue: TimerQueue[str] = attrs.field(factory=TimerQueue, init=False)
    _next_changed: Wakeup = attrs.field(factory=Wakeup, init=False)

    def schedule(self, name: str, time: float) -> None:
        """Schedule the time at which the mailbox *name* is due next."""
        if self._queue.set(name, time):
            self._next_changed.notify()

    async def run(self) -> NoReturn:
        """Refresh mailboxes until cancelled."""
        while True:
            with trio.move_on_after(self._seconds_to_sleep()):
                await self._next_changed.wait()
            await self._refresh_due()

    def _seconds_to_sleep(self) -> float:
        if self._queue.next == inf:
            return inf
        # The clock of the event loop stands still while the machine is suspended.
        return min(max(0.0, self._queue.next - self._clock()), MAX_SLEEP)

    async def _refresh_due(self) -> None:
        now = self._clock()
        due = [name for name in self._queue.due(now) if self._is_delivered(name)]
        try:
            results = await self._engine.apply([(name, Refresh()) for name in due])
        except EngineUnavailable as error:
            results = [error for _ in due]
        except Exception as error:
            # This task serves all users, so it must not end for one of them.
            log.exception("refresh failed")
            results = [EngineUnavailable(type(error).__name__) for _ in due]
        for name, result in zip(due, results, strict=True):
            if isinstance(result, Exception):
                self._queue.set(name, now + RETRY_AFTER)
            else:
                # Without a change the engine does not report the next time.
                self.schedule(name, result.mailbox.due_at)
