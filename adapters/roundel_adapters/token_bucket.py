"""A token bucket that is one number: the time at which it is full again."""

from __future__ import annotations

from math import inf
from typing import Final, final

import attrs

ROUNDING: Final = 1e-5
"""Waits in seconds that count as none.

The sums of floats are not exact, and the last token of a burst was often refused.
"""


@final
@attrs.define(eq=False)
class TokenBucket:
    """A bucket of *burst* tokens that refills at *rate* tokens a second.

    This is the generic cell rate algorithm (GCRA, ITU-T I.371).
    """

    _rate: float
    _burst: float
    full_at: float = attrs.field(default=-inf, init=False)
    """The time at which all tokens are back."""

    def take(self, tokens: float = 1.0, *, now: float, reserve: bool = False) -> float:
        """Take *tokens* and return 0, or take none and return the seconds to wait.

        With *reserve* the tokens are taken in any case, and the caller has to wait.
        *tokens* above the burst count as the burst.
        """
        full_at = max(self.full_at, now)
        tokens = min(tokens, self._burst)
        # This order of operations gives exactly 0 for a full bucket.
        wait = full_at - now - (self._burst - tokens) / self._rate
        wait = wait if wait > ROUNDING else 0.0
        if reserve or not wait:
            self.full_at = full_at + tokens / self._rate
        return wait
