"""Checks of claims."""

from __future__ import annotations

import trio

from ..engines.base import Engine
from .compare import check_equal
from .environment import Environment

LONG = 3_600.0


async def concurrent_claims(env: Environment) -> None:
    """One of several concurrent claims wins, and all callers get its value."""
    kept: dict[str, set[str]] = {}

    async def claim(engine: Engine, value: str) -> None:
        for key in keys:
            kept.setdefault(key, set()).add(await engine.claim(key, value, ttl=LONG))
            await env.yield_randomly()

    keys = ["k", "K", "k ", "notify ünï:*", "k" * 200]
    async with env.nodes(3) as nodes:
        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(claim, nodes[number % 3], f"{number}")
        check_equal(
            [1] * len(keys), [len(values) for values in kept.values()], "winners"
        )
        for node in nodes:
            for key in keys:
                check_equal(
                    kept[key], {await node.claimed(key)}, f"the value of {key!r}"
                )
            check_equal(None, await node.claimed("other"), "a key without a claim")


async def repeated_claims(env: Environment) -> None:
    """A claim keeps its value exactly, also if it is claimed again."""
    value = "ünï \x00\n" * 50
    async with env.nodes() as nodes:
        check_equal(
            value, await nodes[0].claim("k", value, ttl=LONG), "the first claim"
        )
        for node in nodes:
            check_equal(
                value, await node.claim("k", "other", ttl=LONG), "another claim"
            )
            check_equal(
                value, await node.claim("k", value, ttl=LONG), "the same claim again"
            )
            check_equal(value, await node.claimed("k"), "the value")
        check_equal(
            "", await nodes[0].claim("empty", "", ttl=LONG), "a claim of an empty value"
        )
        check_equal("", await nodes[-1].claim("empty", "x", ttl=LONG), "the value then")


async def claim_expiry(env: Environment) -> None:
    """A claim expires after its time and not before; then the key is free."""
    async with env.nodes() as nodes:
        for ttl in (-1.0, 0.0, 0.0001):
            value = await nodes[0].claim(f"{ttl}", "a", ttl=ttl)
            check_equal("a", value, f"a claim for {ttl} s")
        await nodes[0].claim("long", "a", ttl=LONG)
        await nodes[0].claim("short", "a", ttl=0.05)

        # A store may have its own clock, so the check also waits in real time.
        env.clock.now += 1.0

        async def are_expired() -> bool:
            keys = ("-1.0", "0.0", "0.0001", "short")
            return {await nodes[-1].claimed(key) for key in keys} == {None}

        await env.eventually(are_expired, "claims expire")
        check_equal(
            "a", await nodes[-1].claim("long", "b", ttl=LONG), "a claim that is long"
        )
        check_equal(
            "b", await nodes[-1].claim("short", "b", ttl=LONG), "a claim after another"
        )
        check_equal("b", await nodes[0].claimed("short"), "the value of the next claim")
