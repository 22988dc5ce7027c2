"""The check of the store's secret."""

from __future__ import annotations

from ..engines.base import Engine
from .compare import check_equal, check_true
from .environment import Environment, run_writers

MIN_LENGTH = 32
"""Minimum length of a secret in bytes."""


async def secret(env: Environment) -> None:
    """All nodes of a store have the same random secret, and each store its own."""
    secrets = []
    for _ in range(3):
        async with env.new_store().nodes(3) as nodes:
            found: list[bytes] = []

            async def ask(engine: Engine, _: str, found: list[bytes] = found) -> None:
                found.append(await engine.secret())

            # The first calls are concurrent, since one of them creates the secret.
            await run_writers(ask, nodes, 6)
            await run_writers(ask, nodes, 3)
            check_equal(1, len({*found}), "the number of secrets of a store")
            is_long = len({*found[0]}) > MIN_LENGTH // 3 and len(found[0]) >= MIN_LENGTH
            check_true(is_long, f"a secret has {MIN_LENGTH} random bytes")
            secrets.append(found[0])
    check_equal(3, len({*secrets}), "the number of secrets of three stores")
