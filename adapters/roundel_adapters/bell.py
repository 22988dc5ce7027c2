"""Who wakes a driver."""

from __future__ import annotations

from typing import final

import trio


@final
class Bell:
    """Wakes all who wait at the moment it is rung; it remembers nothing.

    That is enough, because a driver asks its stream once more before it waits, and
    nothing can happen in between: there is no checkpoint.
    """

    __slots__ = ("_lot",)

    def __init__(self) -> None:
        self._lot = trio.lowlevel.ParkingLot()

    def ring(self) -> None:
        """Wake everybody who waits now."""
        self._lot.unpark_all()

    async def wait(self) -> None:
        """Wait for the next ring."""
        await self._lot.park()
