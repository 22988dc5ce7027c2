"""How nodes hear how many streams the others serve."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from ..engines.base import Engine
from .claims import LONG
from .compare import equal, holds
from .environment import Environment

SHORT = 0.05

USERS = ("alice", "Alice", "a b:*", "ünï\x00", "u" * 200)


async def alone(place: Environment) -> None:
    """A node that is alone hears of no streams, however many it serves."""
    async with place.node() as node:
        equal([], await said(node, {}), "streams of nobody elsewhere")
        streams = dict.fromkeys(USERS, 7)
        equal([0] * len(USERS), await said(node, streams), "streams elsewhere")
        equal([0, 0], await said(node, {"alice": 0, "bob": 1}), "then")


async def attended(place: Environment) -> None:
    """A node hears of each user how many streams all others together serve."""
    async with place.nodes(3) as nodes:
        for node in nodes:
            holds(node.is_shared, "the engine says that it is shared")
        for number, node in enumerate(nodes, 1):
            streams = {user: number * 10**at for at, user in enumerate(USERS)}
            await said(node, streams)
        for number, node in enumerate(nodes, 1):
            streams = {user: number * 10**at for at, user in enumerate(USERS)}
            streams = dict(reversed(streams.items()))
            expected = [(6 - number) * 10**at for at in reversed(range(len(USERS)))]
            equal(expected, await said(node, streams), "streams elsewhere")
        equal([0], await said(nodes[0], {"nobody": 1}), "streams of another user")
        many = {f"user-{number}": 1 for number in range(500)}
        await said(nodes[0], many)
        equal([1] * 500, await said(nodes[1], many), "streams of many elsewhere")


async def attended_again(place: Environment) -> None:
    """What a node says of a user is in the place of what it has said before."""
    async with place.nodes() as (one, other):
        for count in (3, 3, 5, 1, 0, 0, 2):
            await said(one, {"alice": count})
            equal([count], await said(other, {"alice": 4}), "streams elsewhere")
        equal([4], await said(one, {"alice": 0}), "what the other has said")


async def attended_at_once(place: Environment) -> None:
    """Of nodes that say it at once, each hears of those that were before it."""
    async with place.nodes(3) as nodes:
        for number in range(20):
            user, heard = f"user-{number}", list[int]()

            async def say(node: Engine, user: str, heard: list[int]) -> None:
                await place.turns()
                heard += await said(node, {user: 1})

            async with trio.open_nursery() as nursery:
                for node in nodes:
                    nursery.start_soon(say, node, user, heard)
            equal([0, 1, 2], sorted(heard), "streams elsewhere")


async def attendance_ends(place: Environment) -> None:
    """What a node has said is forgotten after its time, unless it says it again."""
    async with place.node() as looks, place.node() as stays:
        await said(stays, {"long": 1, "at last": 1}, ttl=LONG)
        await said(stays, {"short": 1, "again": 1, "at last": 1}, ttl=SHORT)
        await said(stays, {"again": 1}, ttl=LONG)
        async with place.node() as goes:
            await said(goes, {"long": 10, "again": 10}, ttl=SHORT)

        # A store may count by a clock of its own: so let the time pass by both.
        place.clock.now += 1.0

        async def are_forgotten() -> bool:
            streams = dict.fromkeys(("long", "short", "again", "at last"), 0)
            return await said(looks, streams) == [1, 0, 1, 0]

        await place.eventually(are_forgotten, "what was said is forgotten")


async def said(
    engine: Engine, streams: Mapping[str, int], *, ttl: float = LONG
) -> list[int]:
    """Say how many *streams* there are; return how many there are elsewhere."""
    heard = []
    for answer in await engine.report_presence(streams, ttl=ttl):
        if isinstance(answer, Exception):
            raise answer
        heard.append(answer)
    return heard
