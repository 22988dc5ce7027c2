"""Checks of claims."""

from __future__ import annotations

from ..engines.base import Engine
from .compare import check_equal
from .environment import Environment, run_writers

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
        await run_writers(claim, nodes, 12)
        winners = [len(values) for values in kept.values()]
        check_equal([1] * len(keys), winners, "winners")
        for node in nodes:
            for key in keys:
                check_equal(kept[key], {await node.claimed(key)}, f"value of {key!r}")
            check_equal(None, await node.claimed("other"), "a key without a claim")


async def repeated_claims(env: Environment) -> None:
    """A claim keeps its value exactly, also if it is claimed again."""
    value = "ünï \x00\n" * 50
    async with env.nodes() as nodes:
        await _claim(nodes[0], "k", value, expected=value)
        for node in nodes:
            await _claim(node, "k", "other", expected=value)
            await _claim(node, "k", value, expected=value)
            check_equal(value, await node.claimed("k"), "the value")
        await _claim(nodes[0], "empty", "", expected="")
        await _claim(nodes[-1], "empty", "x", expected="")


async def _claim(engine: Engine, key: str, value: str, *, expected: str) -> None:
    result = await engine.claim(key, value, ttl=LONG)
    check_equal(expected, result, f"a claim of {key!r} with {value!r}")


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
        await _claim(nodes[-1], "long", "b", expected="a")
        await _claim(nodes[-1], "short", "b", expected="b")
        check_equal("b", await nodes[0].claimed("short"), "the value of the next claim")
