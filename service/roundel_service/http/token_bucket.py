"""Token buckets: how much each caller may do, at once and in the long run."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, final

# In seconds: a shorter wait is none. Sums of a clock's numbers are not exact to less,
# and without this the last token of a burst was often refused.
_FINE: Final = 1e-5


@final
class TokenBuckets:
    """A bucket for each key, of *burst* tokens that come back at *rate* a second.

    Written as the time at which a bucket will be full again (GCRA, ITU-T I.371): one
    number a key. *capacity* bounds the keys; the least recently used goes first, and
    is then as good as full.
    """

    def __init__(self, rate: float, burst: float, *, capacity: int = 100_000) -> None:
        self._rate = rate
        self._burst = burst
        self._capacity = capacity
        # Unlike a dict's, its first key is found at once also where many went before.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """How many buckets are kept: those that may not be full."""
        return len(self._full_at)

    def take(
        self, key: str, tokens: float, *, now: float, borrow: bool = False
    ) -> float:
        """Take *tokens* and return 0, or take none and return the seconds to wait.

        With *borrow* they are taken all the same, and the wait is for afterwards.
        More than *burst* count as that many: they need a full bucket.
        """
        if key not in self._full_at:
            self._forget(now)
        full_at = max(self._full_at.pop(key, now), now)
        tokens = min(tokens, self._burst)
        after = full_at + tokens / self._rate
        # Exactly 0 for a full bucket, whatever the rounding of the rest is.
        wait = full_at - now - (self._burst - tokens) / self._rate
        wait = wait if wait > _FINE else 0.0
        self._full_at[key] = full_at if wait and not borrow else after
        return wait

    def _forget(self, now: float) -> None:
        """Let go of the oldest buckets, where they are full, or for want of room."""
        while self._full_at:
            oldest = next(iter(self._full_at))
            is_full = self._full_at[oldest] <= now
            if not is_full and len(self._full_at) < self._capacity:
                return
            self._full_at.popitem(last=False)
