"""Revocation: which tokens of a user are refused, for a day.

Two clocks meet here. The issuer of a token writes its time of issue, the service
remembers when a revocation was made. A clock that was wrong and is put right leaves a
revocation of the future, which would refuse every login until then. Such a revocation
counts as made now. The next request of the user stores that, so that a login after it
is accepted.
"""

from __future__ import annotations

from typing import final

from msgspec import Struct

RETENTION = 86_400.0
"""Time in seconds for which operation ids and revocations are remembered."""

CLOCK_SKEW = 60.0
"""Seconds by which the clock of an issuer may be ahead of that of the service."""

MAX_TIME = 253_402_300_800.0
"""The year 10000 in seconds since 1970: a larger value is in other units."""


@final
class Revocation(Struct, frozen=True, gc=False):
    """Refuses the tokens issued before *issued_before*.

    It was made at *made_at* by the clock of the service. Both are seconds since 1970,
    and equal unless the request named a time of the issuer's clock.
    """

    made_at: float = 0.0
    issued_before: float = 0.0

    def applies_to(self, issued_at: float, *, now: float) -> bool:
        """Return whether a token issued at *issued_at* is refused."""
        current = self.corrected(now)
        is_remembered = now < current.made_at + RETENTION
        return is_remembered and issued_at < current.issued_before

    def corrected(self, now: float) -> Revocation:
        """Return this revocation, made at *now* if it is of the future."""
        if self.made_at <= now:
            return self
        is_own_time = self.issued_before == self.made_at
        return Revocation(now, now if is_own_time else _known(self.issued_before, now))

    def renewed(self, now: float, issued_before: float | None) -> Revocation:
        """Return the revocation made at *now*; it still refuses what this one does."""
        time = now if issued_before is None else _known(issued_before, now)
        current = self.corrected(now)
        if now < current.made_at + RETENTION:
            time = max(time, current.issued_before)
        return Revocation(now, time)


NOT_REVOKED = Revocation()
"""The revocation of a user that has none: it refuses no token after 1970."""


def _known(time: float, now: float) -> float:
    """Return *time* of an issuer's clock; one that is too far ahead counts as now."""
    return time if time <= now + CLOCK_SKEW else now
