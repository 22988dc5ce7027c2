"""What several nodes promise who share one store."""

from __future__ import annotations

import trio

from ..engines.base import Engine
from .compare import check_record, check_results, equal, holds
from .environment import Environment, put
from .model import TIGHT, Model, OperationGenerator, note


async def elsewhere(place: Environment) -> None:
    """What is done at one node is so at all others at once."""
    place = place.another(TIGHT)
    users = ("alice", "bob")
    async with place.nodes(3) as nodes:
        model = Model(place.limits)
        for user in users:
            records = [await node.read(user) for node in nodes]
            equal([records[0]] * 3, records, "a mailbox that nobody wrote to")
            model.begin(user, records[0])
        deeds = OperationGenerator(place.random, users)
        for number in range(40):
            work = deeds.batch()
            expected = model.apply(work, place.clock.now)
            results = await place.random.choice(nodes).apply(work)
            check_results(work, expected, results, f"batch {number}")
            place.clock.now += place.random.choice((0.0, 0.0, 0.5))
            node, user = place.random.choice(nodes), place.random.choice(users)
            record = model.expire(user, place.clock.now)
            check_record(record, await node.read(user), f"after batch {number}")


async def never_back(place: Environment) -> None:
    """Nobody reads what is older than what was acknowledged or read before."""
    newest = 0

    async def write(engine: Engine, name: str) -> None:
        nonlocal newest
        for number in range(10):
            applied = await put(engine, "alice", note(f"{name}.{number}"))
            newest = max(newest, applied.mailbox.v)
            await place.turns()

    async def look(engine: Engine) -> None:
        nonlocal newest
        while True:
            known = newest
            v = (await engine.read("alice")).mailbox.v
            holds(v >= known, f"{v} is read after {known}")
            newest = max(newest, v)
            await trio.lowlevel.checkpoint()

    async with place.nodes(3) as nodes, trio.open_nursery() as readers:
        for node in nodes:
            readers.start_soon(look, node)
        async with trio.open_nursery() as writers:
            for number in range(4):
                writers.start_soon(write, nodes[number % 3], f"{number}")
        readers.cancel_scope.cancel()


async def leaving(place: Environment) -> None:
    """A node that comes or goes takes nothing from the others."""
    done: list[str] = []

    async def write(engine: Engine) -> None:
        for number in range(40):
            done.append(f"stays-{number}")
            await put(engine, "alice", note(done[-1]))
            await place.turns()

    async with place.node() as stays:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, stays)
            for number in range(5):
                async with place.node() as goes:
                    done.append(f"goes-{number}")
                    await put(goes, "alice", note(done[-1]))
                    await place.turns()
        mailbox = (await stays.read("alice")).mailbox
        async with place.node() as comes:
            equal(mailbox, (await comes.read("alice")).mailbox, "what who comes reads")
    equal(set(done), set(mailbox.items), "what all have done")
