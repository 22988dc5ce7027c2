"""Looks at an engine as an operator would: what it is, and what it could lose."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import trio

from ...engines.sqlite.default_path import default_path
from . import disk
from .finding import Finding, ok, warning

__all__ = ["Finding", "examine"]


async def examine(engine: str, *, durability: str = "full") -> list[Finding]:
    """Return what is found of *engine*, as `ROUNDEL_ENGINE` names it.

    Nothing of it is changed. What cannot be reached is a finding of its own.
    """
    scheme, _, path = engine.partition(":")
    if scheme == "memory":
        return [
            ok("engine", "memory, in each process for itself"),
            warning("keeps data", "until the process ends; use sqlite:PATH to keep it"),
        ]
    if scheme == "sqlite":
        file = Path(path) if path else default_path()
        look = partial(disk.examine, file, durability=durability)
        return await trio.to_thread.run_sync(look)
    # The client of the store is an extra.
    from . import valkey as store

    return await store.examine(engine)
