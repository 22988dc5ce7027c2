"""Ids of items: sortable by time, unguessable, safe in a URL."""

from __future__ import annotations

import os

# Crockford's base 32: no letter that is taken for a digit. Two digits at a time.
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]

_BYTES = 10
_DRAWN = 64
# Luck is drawn for many at once: to ask the system for it takes longer than all else.
_luck: list[int] = []
if hasattr(os, "register_at_fork"):
    # No two processes may have the same.
    os.register_at_fork(after_in_child=_luck.clear)


def new_id(now: float) -> str:
    """Return a new ULID: the time *now*, in seconds since 1970, and 80 bits of luck."""
    if not _luck:
        _draw()
    number = int(now * 1_000) << 80 | _luck.pop()
    return "".join([_PAIRS[number >> shift & 1_023] for shift in range(120, -1, -10)])


def _draw() -> None:
    drawn = os.urandom(_BYTES * _DRAWN)
    _luck.extend(
        int.from_bytes(drawn[at : at + _BYTES], "big")
        for at in range(0, len(drawn), _BYTES)
    )
