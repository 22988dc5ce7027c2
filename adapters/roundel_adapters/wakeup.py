"""Who wakes a driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    import trio


class Waker(Protocol):
    """What is woken without waiting in a task."""

    def wake(self) -> None:
        """Take notice, soon; called again before that, it is the same notice."""
        ...


@final
class Wakeup:
    """Wakes all who wait at the moment it is rung; it remembers nothing.

    That is enough, because a driver asks its stream once more before it waits, and
    nothing can happen in between: there is no checkpoint.
    """

    __slots__ = ("_lot", "_wakers")

    def __init__(self) -> None:
        self._lot: trio.lowlevel.ParkingLot | None = None
        self._wakers: set[Waker] = set()

    def notify(self) -> None:
        """Wake everybody who waits now."""
        if self._lot is not None:
            self._lot.unpark_all()
        for sleeper in self._wakers:
            sleeper.wake()

    async def wait(self) -> None:
        """Wait for the next ring."""
        if self._lot is None:
            # Only here, so that a bell of sleepers alone rings without it.
            import trio

            self._lot = trio.lowlevel.ParkingLot()
        await self._lot.park()

    def add_waker(self, waker: Waker) -> None:
        """Wake *sleeper* at every ring, until it is detached."""
        self._wakers.add(waker)

    def remove_waker(self, waker: Waker) -> None:
        """Wake *sleeper* no more."""
        self._wakers.discard(waker)
