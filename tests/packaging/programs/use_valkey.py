"""The extra `valkey`: the engine of a store that does not answer."""

from __future__ import annotations

import trio

from roundel_service.engines import open_engine
from roundel_service.engines.base import EngineUnavailable


async def main() -> None:
    engine = open_engine("valkey://127.0.0.1:1")
    try:
        await engine.check()
    except EngineUnavailable:
        return
    raise AssertionError("a store answered at port 1")


trio.run(main)
