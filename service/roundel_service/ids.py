"""Ids of items: sortable by time, unguessable, safe in a URL."""

from __future__ import annotations

import secrets

# Crockford's base 32: no letter that is taken for a digit.
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id(now: float) -> str:
    """Return a new ULID: the time *now*, in seconds since 1970, and 80 bits of luck."""
    number = int(now * 1_000) << 80 | secrets.randbits(80)
    return "".join(_DIGITS[number >> shift & 31] for shift in range(125, -1, -5))
