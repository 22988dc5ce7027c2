"""`roundel doctor`: examines an engine, and reports how it could lose data."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import trio

from ...engines.sqlite.default_path import default_path
from . import disk
from .finding import Finding, ok, warning

__all__ = ["Finding", "examine"]


async def examine(engine: str, *, durability: str = "full") -> list[Finding]:
    """Examine the engine at the URL *engine*, and change nothing.

    An engine that is unreachable is a finding, not an error.
    """
    scheme, _, path = engine.partition(":")
    if scheme == "memory":
        return [
            ok("engine", "memory, separate in each process"),
            warning("durability", "a restart loses everything; use sqlite:PATH"),
        ]
    if scheme == "sqlite":
        file = Path(path) if path else default_path()
        check = partial(disk.examine, file, durability=durability)
        return await trio.to_thread.run_sync(check)
    # The client library is an optional dependency.
    from . import valkey

    return await valkey.examine(engine)
