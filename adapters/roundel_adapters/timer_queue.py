"""A queue of timers that are mostly put off before they fire.

Each key has at most one time: the earliest that was set since the key last fired. An
owner whose deadline moves later does nothing. The timer fires at the old time, the
owner compares it with its deadline, and sets the timer again. So a deadline that moves
with each write costs one comparison, and not one heap operation.

Times are rounded up to *resolution*, and keys with the same time share a bucket. The
heap holds the times and not the keys: 10,000 streams with a heartbeat of 15 s need 60
heap entries at a resolution of 0.25 s.

A key that is set to an earlier time leaves a stale entry in its old bucket. `due()`
skips it. All buckets are rebuilt when more than half of the entries are stale, so
memory stays O(keys) and `set()` amortized O(log times).
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from math import ceil, inf
from typing import Generic, TypeVar, final

MAX_STALE = 100
"""Stale entries that are kept in addition to one per key."""

K = TypeVar("K", bound=Hashable)


@final
class TimerQueue(Generic[K]):
    """A priority queue of keys by time.

    Times are seconds of any clock. A *resolution* above 0 makes a key due at the next
    multiple of it. Negative times are then rounded to 0.
    """

    def __init__(self, *, resolution: float = 0.0) -> None:
        self._resolution = resolution
        self._scheduled: dict[K, float] = {}
        self._times: list[float] = []
        self._buckets: dict[float, list[K]] = {}
        self._entries = 0

    def __contains__(self, key: K) -> bool:
        return key in self._scheduled

    @property
    def next(self) -> float:
        """The time at which to call `due()`; ``inf`` if no key is scheduled."""
        return self._times[0] if self._times else inf

    def set(self, key: K, at: float) -> bool:
        """Schedule *key* for *at*, unless it is scheduled for an earlier time.

        Returns whether `next` became earlier.
        """
        if at >= self._scheduled.get(key, inf):
            return False
        if self._resolution:
            at = ceil(max(at, 0.0) / self._resolution) * self._resolution
        is_first = at < self.next
        self._scheduled[key] = at
        self._add(key, at)
        if self._entries > 2 * len(self._scheduled) + MAX_STALE:
            self._times, self._buckets, self._entries = [], {}, 0
            for scheduled in self._scheduled.items():
                self._add(*scheduled)
        return is_first

    def due(self, now: float) -> list[K]:
        """Remove and return the keys that are scheduled for *now* or earlier."""
        due = []
        while self._times and self._times[0] <= now:
            time = heapq.heappop(self._times)
            bucket = self._buckets.pop(time)
            self._entries -= len(bucket)
            for key in bucket:
                if self._scheduled.get(key) == time:
                    del self._scheduled[key]
                    due.append(key)
        return due

    def _add(self, key: K, at: float) -> None:
        self._entries += 1
        if at in self._buckets:
            self._buckets[at].append(key)
        else:
            self._buckets[at] = [key]
            heapq.heappush(self._times, at)
