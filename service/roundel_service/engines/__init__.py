"""Stores of mailboxes: one interface, and an engine for each kind of store."""

from __future__ import annotations

import time
from collections.abc import Callable

from roundel_adapters import requires_extra

with requires_extra("service"):
    from ..domain.record import RecordLimits
    from .base import USER_TTL, Engine
    from .cache import CACHE_BYTES
    from .memory import MemoryEngine
    from .sqlite.connection import Durability
    from .sqlite.default_path import default_path
    from .sqlite.engine import SqliteEngine

__all__ = ["open_engine"]


def open_engine(
    url: str,
    limits: RecordLimits | None = None,
    *,
    clock: Callable[[], float] = time.time,
    durability: Durability = "full",
    cache_bytes: int = CACHE_BYTES,
    user_ttl: float = USER_TTL,
) -> Engine:
    """Return the engine that *url* names; start its `run()` before use.

    Args:
        url: `memory`, `sqlite:PATH`, or the URL of a Redis or Valkey server.
            `sqlite:` without a path means the platform's default file.
        limits: Bounds of a mailbox and its change log.
        clock: Returns seconds since 1970.
        durability: Used by SQLite only.
        cache_bytes: Size of the record cache; the memory engine has none.
        user_ttl: Seconds without a write after which a mailbox is removed; the memory
            engine keeps it.
    """
    scheme, _, path = url.partition(":")
    match scheme:
        case "memory":
            return MemoryEngine(limits, clock=clock)
        case "sqlite":
            return SqliteEngine(
                path or default_path(),
                limits,
                clock=clock,
                durability=durability,
                cache_bytes=cache_bytes,
                user_ttl=user_ttl,
            )
        case _:
            # The client library is an optional dependency.
            from .valkey.engine import ValkeyEngine

            return ValkeyEngine(
                url, limits, clock=clock, user_ttl=user_ttl, cache_bytes=cache_bytes
            )
