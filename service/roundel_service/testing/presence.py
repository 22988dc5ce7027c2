"""How nodes hear how many streams the others serve."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from ..engines.base import Engine
from .claims import LONG
from .compare import check_equal, check_true
from .environment import Environment

SHORT = 0.05

USERS = ("alice", "Alice", "a b:*", "ünï\x00", "u" * 200)


async def presence_of_one_node(place: Environment) -> None:
    """A node that is alone hears of no streams, however many it serves."""
    async with place.node() as node:
        check_equal([], await report(node, {}), "streams of nobody elsewhere")
        streams = dict.fromkeys(USERS, 7)
        check_equal([0] * len(USERS), await report(node, streams), "streams elsewhere")
        check_equal([0, 0], await report(node, {"alice": 0, "bob": 1}), "then")


async def presence_of_many_nodes(place: Environment) -> None:
    """A node hears of each user how many streams all others together serve."""
    async with place.nodes(3) as nodes:
        for node in nodes:
            check_true(node.is_shared, "the engine says that it is shared")
        for number, node in enumerate(nodes, 1):
            streams = {user: number * 10**at for at, user in enumerate(USERS)}
            await report(node, streams)
        for number, node in enumerate(nodes, 1):
            streams = {user: number * 10**at for at, user in enumerate(USERS)}
            streams = dict(reversed(streams.items()))
            expected = [(6 - number) * 10**at for at in reversed(range(len(USERS)))]
            check_equal(expected, await report(node, streams), "streams elsewhere")
        check_equal(
            [0], await report(nodes[0], {"nobody": 1}), "streams of another user"
        )
        many = {f"user-{number}": 1 for number in range(500)}
        await report(nodes[0], many)
        check_equal(
            [1] * 500, await report(nodes[1], many), "streams of many elsewhere"
        )


async def presence_updates(place: Environment) -> None:
    """What a node says of a user is in the place of what it has said before."""
    async with place.nodes() as (one, other):
        for count in (3, 3, 5, 1, 0, 0, 2):
            await report(one, {"alice": count})
            check_equal([count], await report(other, {"alice": 4}), "streams elsewhere")
        check_equal([4], await report(one, {"alice": 0}), "what the other has said")


async def concurrent_presence(place: Environment) -> None:
    """Of nodes that say it at once, each hears of those that were before it."""
    async with place.nodes(3) as nodes:
        for number in range(20):
            user, heard = f"user-{number}", list[int]()

            async def say(node: Engine, user: str, heard: list[int]) -> None:
                await place.yield_randomly()
                heard += await report(node, {user: 1})

            async with trio.open_nursery() as nursery:
                for node in nodes:
                    nursery.start_soon(say, node, user, heard)
            check_equal([0, 1, 2], sorted(heard), "streams elsewhere")


async def presence_expiry(place: Environment) -> None:
    """What a node has said is forgotten after its time, unless it says it again."""
    async with place.node() as looks, place.node() as stays:
        await report(stays, {"long": 1, "at last": 1}, ttl=LONG)
        await report(stays, {"short": 1, "again": 1, "at last": 1}, ttl=SHORT)
        await report(stays, {"again": 1}, ttl=LONG)
        async with place.node() as goes:
            await report(goes, {"long": 10, "again": 10}, ttl=SHORT)

        # A store may count by a clock of its own: so let the time pass by both.
        place.clock.now += 1.0

        async def are_forgotten() -> bool:
            streams = dict.fromkeys(("long", "short", "again", "at last"), 0)
            return await report(looks, streams) == [1, 0, 1, 0]

        await place.eventually(are_forgotten, "what was said is forgotten")


async def report(
    engine: Engine, streams: Mapping[str, int], *, ttl: float = LONG
) -> list[int]:
    """Say how many *streams* there are; return how many there are elsewhere."""
    heard = []
    for answer in await engine.report_presence(streams, ttl=ttl):
        if isinstance(answer, Exception):
            raise answer
        heard.append(answer)
    return heard
