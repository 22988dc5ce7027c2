"""Checks of stream presence."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from ..engines.base import Engine
from .claims import LONG
from .compare import check_equal, check_true
from .environment import Environment

SHORT = 0.05

USERS = ("alice", "Alice", "a b:*", "ünï\x00", "u" * 200)


async def presence_of_one_node(env: Environment) -> None:
    """A single node gets zeros, whatever it reports."""
    async with env.node() as node:
        check_equal([], await report(node, {}), "the result of an empty report")
        streams = dict.fromkeys(USERS, 7)
        check_equal([0] * len(USERS), await report(node, streams), "streams elsewhere")
        check_equal([0, 0], await report(node, {"alice": 0, "bob": 1}), "then")


async def presence_of_many_nodes(env: Environment) -> None:
    """A node gets the sum of the other nodes' reports for each user."""
    async with env.nodes(3) as nodes:
        for node in nodes:
            check_true(node.is_shared, "is_shared is true")
        reports = [
            {user: number * 10**at for at, user in enumerate(USERS)}
            for number in range(1, 4)
        ]
        for node, streams in zip(nodes, reports, strict=True):
            await report(node, streams)
        for number, node in enumerate(nodes):
            streams = dict(reversed(reports[number].items()))
            expected = [(5 - number) * 10**at for at in reversed(range(len(USERS)))]
            check_equal(expected, await report(node, streams), "streams elsewhere")
        check_equal([0], await report(nodes[0], {"unknown": 1}), "another user")
        many = {f"user-{number}": 1 for number in range(500)}
        await report(nodes[0], many)
        check_equal([1] * 500, await report(nodes[1], many), "many users")


async def presence_updates(env: Environment) -> None:
    """A report replaces the node's earlier report for the user."""
    async with env.nodes() as (one, other):
        for count in (3, 3, 5, 1, 0, 0, 2):
            await report(one, {"alice": count})
            check_equal([count], await report(other, {"alice": 4}), "streams elsewhere")
        check_equal([4], await report(one, {"alice": 0}), "the other node's report")


async def concurrent_presence(env: Environment) -> None:
    """Concurrent reports are atomic: each node sees those before its own."""
    async with env.nodes(3) as nodes:
        for number in range(20):
            user, results = f"user-{number}", list[int]()

            async def report_one(node: Engine, user: str, results: list[int]) -> None:
                await env.yield_randomly()
                results += await report(node, {user: 1})

            async with trio.open_nursery() as nursery:
                for node in nodes:
                    nursery.start_soon(report_one, node, user, results)
            check_equal([0, 1, 2], sorted(results), "streams elsewhere")


async def presence_expiry(env: Environment) -> None:
    """A report expires after its time unless the node repeats it."""
    async with env.node() as reader, env.node() as staying:
        await report(staying, {"long": 1, "at last": 1}, ttl=LONG)
        await report(staying, {"short": 1, "again": 1, "at last": 1}, ttl=SHORT)
        await report(staying, {"again": 1}, ttl=LONG)
        async with env.node() as leaving:
            await report(leaving, {"long": 10, "again": 10}, ttl=SHORT)

        # A store may have its own clock, so the check also waits in real time.
        env.clock.now += 1.0

        async def are_expired() -> bool:
            streams = dict.fromkeys(("long", "short", "again", "at last"), 0)
            return await report(reader, streams) == [1, 0, 1, 0]

        await env.eventually(are_expired, "reports expire")


async def report(
    engine: Engine, streams: Mapping[str, int], *, ttl: float = LONG
) -> list[int]:
    """Report *streams*; return the numbers of the other nodes."""
    counts = []
    for result in await engine.report_presence(streams, ttl=ttl):
        if isinstance(result, Exception):
            raise result
        counts.append(result)
    return counts
