"""A token bucket for each caller."""

from __future__ import annotations

from collections import OrderedDict
from typing import final

from roundel_adapters.token_bucket import TokenBucket


@final
class TokenBuckets:
    """Holds a bucket of *burst* tokens for each key, refilled at *rate* a second.

    *capacity* bounds the keys. The least recently used key is evicted, and its bucket
    is full when the key comes back.
    """

    def __init__(self, rate: float, burst: float, *, capacity: int = 100_000) -> None:
        self._rate = rate
        self._burst = burst
        self._capacity = capacity
        # A dict takes O(n) to find its first key after n deletions.
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of buckets in memory."""
        return len(self._buckets)

    def take(
        self, key: str, tokens: float, *, now: float, reserve: bool = False
    ) -> float:
        """Take *tokens* from the bucket of *key*; see `TokenBucket.take()`."""
        if key not in self._buckets:
            self._evict(now)
            self._buckets[key] = TokenBucket(self._rate, self._burst)
        self._buckets.move_to_end(key)
        return self._buckets[key].take(tokens, now=now, reserve=reserve)

    def _evict(self, now: float) -> None:
        """Remove the oldest buckets that are full, and one if there is no room."""
        while self._buckets:
            oldest = next(iter(self._buckets.values()))
            if oldest.full_at > now and len(self._buckets) < self._capacity:
                return
            self._buckets.popitem(last=False)
