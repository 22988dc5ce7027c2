"""Active expiry: expires items of users with open streams as soon as they are due.

An engine expires items passively, when it reads or changes a mailbox. An open stream
must deliver an expiry at once, so one task sleeps until the earliest item of all users
with open streams is due, and then applies `Refresh`. Other mailboxes cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import NoReturn, final

import attrs
import structlog
import trio

from roundel_adapters.timer_queue import TimerQueue
from roundel_adapters.wakeup import Wakeup

from ..domain.operations import Refresh
from ..engines.base import RETRY_AFTER, Engine, EngineUnavailable

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@final
@attrs.define(eq=False)
class ActiveExpiry:
    """Applies `Refresh` to the mailboxes of *users*, a live collection, in time.

    *clock* returns seconds since 1970.
    """

    _engine: Engine
    _users: Container[str]
    _clock: Callable[[], float] = attrs.field(kw_only=True)
    _queue: TimerQueue[str] = attrs.field(factory=TimerQueue, init=False)
    _next_changed: Wakeup = attrs.field(factory=Wakeup, init=False)

    def schedule(self, user: str, time: float) -> None:
        """Schedule the earliest expiry of *user*."""
        if self._queue.set(user, time):
            self._next_changed.notify()

    async def run(self) -> NoReturn:
        """Refresh items until cancelled."""
        while True:
            with trio.move_on_after(max(0.0, self._queue.next - self._clock())):
                await self._next_changed.wait()
            await self._expire_due()

    async def _expire_due(self) -> None:
        now = self._clock()
        due = [user for user in self._queue.due(now) if user in self._users]
        try:
            results = await self._engine.apply([(user, Refresh()) for user in due])
        except EngineUnavailable as error:
            results = [error for _ in due]
        except Exception as error:
            # This task serves all users, so it must not end for one of them.
            log.exception("expiry failed")
            results = [EngineUnavailable(type(error).__name__) for _ in due]
        for user, result in zip(due, results, strict=True):
            if isinstance(result, Exception):
                self._queue.set(user, now + RETRY_AFTER)
            else:
                # Without a change the engine does not report the next expiry.
                self.schedule(user, result.mailbox.due_at)
