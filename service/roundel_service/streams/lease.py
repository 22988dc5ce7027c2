"""From when to when a stream is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import trio

from .presence import StreamSlot
from .subscriber import Subscriber


@final
class StreamLease:
    """Is entered when *reader* begins to be served, and left at its end.

    It holds the *seat* until then. A class, since each of thousands would keep a
    generator and its frame otherwise.
    """

    __slots__ = ("_began", "_begun", "_ended", "_reader", "_seat")

    def __init__(
        self,
        begun: Callable[[Subscriber], None],
        ended: Callable[[Subscriber, float], None],
        reader: Subscriber,
        seat: StreamSlot | None,
    ) -> None:
        self._begun = begun
        self._ended = ended
        self._reader = reader
        self._seat = seat

    def __enter__(self) -> None:
        self._began = trio.current_time()
        self._begun(self._reader)
        # From now on the place is the reader's.
        self._seat = None

    def __exit__(self, *_: object) -> None:
        self._ended(self._reader, trio.current_time() - self._began)
