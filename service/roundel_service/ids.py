"""Ids of items: sortable by time, unguessable, safe in a URL."""

from __future__ import annotations

import secrets

# Crockford's base 32: no letter that is taken for a digit. Two digits at a time.
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]


def new_id(now: float) -> str:
    """Return a new ULID: the time *now*, in seconds since 1970, and 80 bits of luck."""
    number = int(now * 1_000) << 80 | secrets.randbits(80)
    return "".join([_PAIRS[number >> shift & 1_023] for shift in range(120, -1, -10)])
