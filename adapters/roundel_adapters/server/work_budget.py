"""A budget of work for one turn of the event loop, which many tasks share.

In a turn, trio runs each task that can run. If each of 20 connections works for 1 ms
before its checkpoint, all other tasks wait for 20 ms. With a shared budget they wait
for one budget, whatever the number of connections.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import final

import trio

BEGINNINGS = 3
"""Turns of tasks that begin, after which one that continues has its turn."""


@final
class WorkBudget:
    """Lets tasks do *units* of work between two checkpoints.

    A task works within `turn()` until the budget `is_used_up`, and calls `charge()`
    after each piece. Only one task works at a time, and the others wait in two queues:
    a task that *continues* its work comes after the tasks that begin, but gets each
    fourth turn at least. So a task with little work does not wait for the long work of
    many others. A task must not block in its turn.
    """

    def __init__(self, units: int) -> None:
        self._units = units
        self._used = 0
        self._is_taken = False
        self._beginning = trio.lowlevel.ParkingLot()
        self._continuing = trio.lowlevel.ParkingLot()
        self._begun = 0

    @property
    def is_used_up(self) -> bool:
        """Whether the work of this turn has to end."""
        return self._used >= self._units

    def charge(self, units: int) -> None:
        """Count *units* of work that was done."""
        self._used += units

    @asynccontextmanager
    async def turn(self, *, continues: bool = False) -> AsyncIterator[None]:
        """Wait for a turn; without a checkpoint if the budget has units left."""
        if self._is_taken:
            await (self._continuing if continues else self._beginning).park()
            # This task was woken in one turn of the event loop, and runs in the next.
            self._used = 0
        self._is_taken = True
        try:
            if self.is_used_up:
                await trio.lowlevel.checkpoint()
                self._used = 0
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        self._is_taken = bool(self._beginning or self._continuing)
        is_next = self._begun < BEGINNINGS or not self._continuing
        if self._beginning and is_next:
            self._begun += 1
            self._beginning.unpark()
        else:
            self._begun = 0
            self._continuing.unpark()
