"""What several nodes promise who share one store."""

from __future__ import annotations

import trio

from ..engines.base import Engine
from .compare import check_equal, check_record, check_results, check_true
from .environment import Environment, put
from .model import SMALL_LIMITS, Model, OperationGenerator, note


async def shared_reads(place: Environment) -> None:
    """What is done at one node is so at all others at once."""
    place = place.new_store(SMALL_LIMITS)
    users = ("alice", "bob")
    async with place.nodes(3) as nodes:
        model = Model(place.limits)
        for user in users:
            records = [await node.read(user) for node in nodes]
            check_equal([records[0]] * 3, records, "a mailbox that nobody wrote to")
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


async def monotonic_reads(place: Environment) -> None:
    """Nobody reads what is older than what was acknowledged or read before."""
    newest = 0

    async def write(engine: Engine, name: str) -> None:
        nonlocal newest
        for number in range(10):
            applied = await put(engine, "alice", note(f"{name}.{number}"))
            newest = max(newest, applied.mailbox.v)
            await place.yield_randomly()

    async def look(engine: Engine) -> None:
        nonlocal newest
        while True:
            known = newest
            v = (await engine.read("alice")).mailbox.v
            check_true(v >= known, f"{v} is read after {known}")
            newest = max(newest, v)
            await trio.lowlevel.checkpoint()

    async with place.nodes(3) as nodes, trio.open_nursery() as readers:
        for node in nodes:
            readers.start_soon(look, node)
        async with trio.open_nursery() as writers:
            for number in range(4):
                writers.start_soon(write, nodes[number % 3], f"{number}")
        readers.cancel_scope.cancel()


async def nodes_join_and_leave(place: Environment) -> None:
    """A node that comes or goes takes nothing from the others."""
    done: list[str] = []

    async def write(engine: Engine) -> None:
        for number in range(40):
            done.append(f"stays-{number}")
            await put(engine, "alice", note(done[-1]))
            await place.yield_randomly()

    async with place.node() as stays:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, stays)
            for number in range(5):
                async with place.node() as goes:
                    done.append(f"goes-{number}")
                    await put(goes, "alice", note(done[-1]))
                    await place.yield_randomly()
        mailbox = (await stays.read("alice")).mailbox
        async with place.node() as comes:
            check_equal(
                mailbox, (await comes.read("alice")).mailbox, "what who comes reads"
            )
    check_equal(set(done), set(mailbox.items), "what all have done")
