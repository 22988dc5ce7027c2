"""When the next item of each user expires who is looking."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from math import inf
from typing import final

SPARE = 1_000
"""How many times the heap may hold beyond two for each user."""


@final
class ExpiryQueue:
    """The earliest time that was set for each user; times are seconds since 1970.

    An alarm goes off once. What it is for may be over by then: nothing is taken back.
    """

    def __init__(self) -> None:
        self._armed: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    @property
    def next(self) -> float:
        """When the next alarm is due; ``inf`` is never."""
        return self._heap[0][0] if self._heap else inf

    def set(self, user: str, time: float) -> bool:
        """Set an alarm for *user*; tell whether it is the next of all now."""
        if time >= self._armed.get(user, inf):
            return False
        is_next = time < self.next
        self._armed[user] = time
        heapq.heappush(self._heap, (time, user))
        if len(self._heap) > 2 * len(self._armed) + SPARE:
            self._heap = [(time, user) for user, time in self._armed.items()]
            heapq.heapify(self._heap)
        return is_next

    def due(self, now: float) -> Iterator[str]:
        """Take out whose alarms are due at *now*."""
        while self._heap and self._heap[0][0] <= now:
            time, user = heapq.heappop(self._heap)
            if self._armed.get(user) == time:
                del self._armed[user]
                yield user
