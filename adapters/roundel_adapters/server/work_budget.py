"""A budget of work for one turn of the event loop, which many tasks share.

In a turn, trio runs each task that can run. If each of 20 connections works for 1 ms
before its checkpoint, all other tasks wait for 20 ms. With a shared budget they wait
for one budget, whatever the number of connections.
"""

from __future__ import annotations

from typing import final

import trio


@final
class WorkBudget:
    """Lets tasks do *units* of work between two checkpoints.

    A task waits for its `turn()` before each piece of work, and calls `charge()` after
    it. The task that finds the budget used up has a checkpoint, and then the budget is
    full again. The other tasks wait for that in a queue.
    """

    def __init__(self, units: int) -> None:
        self._units = units
        self._used = 0
        self._is_renewing = False
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def is_used_up(self) -> bool:
        """Whether the next `turn()` will wait."""
        return self._used >= self._units

    def charge(self, units: int) -> None:
        """Count *units* of work that was done."""
        self._used += units

    async def turn(self) -> None:
        """Wait until the budget has units left; otherwise return without a checkpoint.

        After this the task may work once, up to its next checkpoint.
        """
        while self.is_used_up:
            if self._is_renewing:
                await self._waiting.park()
            else:
                await self._renew()
        # The tasks in the queue wake each other, so that not all of them run at once.
        self._waiting.unpark()

    async def _renew(self) -> None:
        self._is_renewing = True
        try:
            await trio.lowlevel.checkpoint()
        finally:
            self._is_renewing = False
            self._used = 0
            self._waiting.unpark()
