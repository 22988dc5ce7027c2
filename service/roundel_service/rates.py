"""Token buckets: how much each caller may do, at once and in the long run."""

from __future__ import annotations

from typing import final


@final
class Buckets:
    """A bucket for each key, of *burst* tokens that come back at *rate* a second.

    Written as the time at which a bucket will be full again (GCRA, ITU-T I.371): one
    number a key. *capacity* bounds the keys; the least recently used goes first, and
    is then as good as full.
    """

    def __init__(self, rate: float, burst: float, *, capacity: int = 100_000) -> None:
        self._rate = rate
        self._burst = burst
        self._capacity = capacity
        self._full_at: dict[str, float] = {}

    def take(
        self, key: str, tokens: float, *, now: float, borrow: bool = False
    ) -> float:
        """Take *tokens* and return 0, or take none and return the seconds to wait.

        With *borrow* they are taken all the same, and the wait is for afterwards.
        More than *burst* count as that many: they need a full bucket.
        """
        full_at = max(self._full_at.pop(key, now), now)
        after = full_at + min(tokens, self._burst) / self._rate
        wait = max(0.0, after - now - self._burst / self._rate)
        self._full_at[key] = full_at if wait and not borrow else after
        self._forget(now)
        return wait

    def _forget(self, now: float) -> None:
        """Let go of the oldest buckets, where they are full or too many."""
        while self._full_at:
            oldest = next(iter(self._full_at))
            is_full = self._full_at[oldest] <= now
            if not is_full and len(self._full_at) <= self._capacity:
                return
            del self._full_at[oldest]
