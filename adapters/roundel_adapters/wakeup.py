"""Who wakes a driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    import trio


class Sleeper(Protocol):
    """What is woken without waiting in a task."""

    def wake(self) -> None:
        """Take notice, soon; called again before that, it is the same notice."""
        ...


@final
class Bell:
    """Wakes all who wait at the moment it is rung; it remembers nothing.

    That is enough, because a driver asks its stream once more before it waits, and
    nothing can happen in between: there is no checkpoint.
    """

    __slots__ = ("_lot", "_sleepers")

    def __init__(self) -> None:
        self._lot: trio.lowlevel.ParkingLot | None = None
        self._sleepers: set[Sleeper] = set()

    def ring(self) -> None:
        """Wake everybody who waits now."""
        if self._lot is not None:
            self._lot.unpark_all()
        for sleeper in self._sleepers:
            sleeper.wake()

    async def wait(self) -> None:
        """Wait for the next ring."""
        if self._lot is None:
            # Only here, so that a bell of sleepers alone rings without it.
            import trio

            self._lot = trio.lowlevel.ParkingLot()
        await self._lot.park()

    def attach(self, sleeper: Sleeper) -> None:
        """Wake *sleeper* at every ring, until it is detached."""
        self._sleepers.add(sleeper)

    def detach(self, sleeper: Sleeper) -> None:
        """Wake *sleeper* no more."""
        self._sleepers.discard(sleeper)
