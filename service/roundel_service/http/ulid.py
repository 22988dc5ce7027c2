"""Ids of items: sortable by time, unguessable, safe in a URL."""

from __future__ import annotations

import os
from functools import lru_cache

# Crockford's base 32: no letter that is taken for a digit.
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FIVE_BITS = (_DIGITS * 8).encode()

_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]

_TIME, _RANDOM = 10, 16
_DRAWN = 64
# Luck is drawn for many at once: to ask the system for it takes longer than all else.
_random_bits: list[str] = []
if hasattr(os, "register_at_fork"):
    # No two processes may have the same.
    os.register_at_fork(after_in_child=_random_bits.clear)


def new_id(now: float) -> str:
    """Return a new ULID: the time *now*, in seconds since 1970, and 80 bits of luck."""
    if not _random_bits:
        _refill()
    return _time(int(now * 1_000)) + _random_bits.pop()


def _time(milliseconds: int) -> str:
    return _second(milliseconds >> 10) + _PAIRS[milliseconds & 1_023]


@lru_cache(maxsize=2)
def _second(number: int) -> str:
    """Write all but the last two digits of a time, which is for 1,024 ms the same."""
    shifts = range(5 * (_TIME - 3), -1, -5)
    return "".join([_DIGITS[number >> shift & 31] for shift in shifts])


def _refill() -> None:
    # A digit has five bits of luck, of the eight of a byte.
    drawn = os.urandom(_RANDOM * _DRAWN).translate(_FIVE_BITS).decode()
    _random_bits.extend(
        drawn[at : at + _RANDOM] for at in range(0, len(drawn), _RANDOM)
    )
