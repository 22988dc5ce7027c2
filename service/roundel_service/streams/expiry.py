"""Active expiry: expires items of users with open streams as soon as they are due.

An engine expires items passively, when it reads or changes a mailbox. An open stream
must deliver an expiry at once, so one task sleeps until the earliest item of all users
with open streams is due, and then applies `Expire`. Other mailboxes cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import NoReturn, final

import trio

from roundel_adapters.timer_queue import TimerQueue
from roundel_adapters.wakeup import Wakeup

from ..domain.operations import Expire
from ..engines.base import RETRY_AFTER, Engine, EngineUnavailable


@final
class ActiveExpiry:
    """Applies `Expire` to the mailboxes of *users*, a live collection, in time.

    *clock* returns seconds since 1970.
    """

    def __init__(
        self, engine: Engine, users: Container[str], *, clock: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._users = users
        self._clock = clock
        self._queue: TimerQueue[str] = TimerQueue()
        self._next_changed = Wakeup()

    def schedule(self, user: str, time: float) -> None:
        """Schedule the earliest expiry of *user*."""
        if self._queue.set(user, time):
            self._next_changed.notify()

    async def run(self) -> NoReturn:
        """Expire items until cancelled."""
        while True:
            with trio.move_on_after(max(0.0, self._queue.next - self._clock())):
                await self._next_changed.wait()
            await self._expire_due()

    async def _expire_due(self) -> None:
        now = self._clock()
        due = [user for user in self._queue.due(now) if user in self._users]
        work = [(user, Expire()) for user in due]
        try:
            results = await self._engine.apply(work)
        except EngineUnavailable:
            results = [EngineUnavailable() for _ in work]
        for user, result in zip(due, results, strict=True):
            if isinstance(result, Exception):
                self._queue.set(user, now + RETRY_AFTER)
