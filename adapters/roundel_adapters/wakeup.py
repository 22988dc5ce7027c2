"""The wakeup of drivers: tasks that wait, and wakers without a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    import trio


class Waker(Protocol):
    """A callback that makes a driver run again."""

    def wake(self) -> None:
        """Schedule the driver; calls before it runs count as one."""


@final
class Wakeup:
    """Wakes the drivers of one or more streams; it keeps no state between calls.

    A driver calls `data_to_send()` once more before it waits, with no checkpoint in
    between. So an event that comes before the wait needs no wakeup.
    """

    __slots__ = ("_lot", "wakers")

    def __init__(self) -> None:
        self._lot: trio.lowlevel.ParkingLot | None = None
        self.wakers: set[Waker] = set()
        """The wakers to call at every `notify()`."""

    def notify(self) -> None:
        """Wake every waiting task, and call every waker."""
        if self._lot is not None:
            self._lot.unpark_all()
        for waker in self.wakers:
            waker.wake()

    async def wait(self) -> None:
        """Wait for the next `notify()`."""
        if self._lot is None:
            # Imported here, because wakers on asyncio run without trio.
            import trio

            self._lot = trio.lowlevel.ParkingLot()
        await self._lot.park()
