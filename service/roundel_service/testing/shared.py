"""Checks of several nodes that share a store."""

from __future__ import annotations

import trio

from ..engines.base import Engine
from .compare import check_equal, check_record, check_results, check_true
from .environment import Environment, put, run_writers
from .generator import OperationGenerator
from .model import SMALL_LIMITS, note, start_model


async def shared_reads(env: Environment) -> None:
    """After `apply()` returns, all nodes read the result."""
    env = env.new_store(SMALL_LIMITS)
    users = ("alice", "bob")
    async with env.nodes(3) as nodes:
        model = await start_model(env.limits, nodes[0], *users)
        for user, record in model.records.items():
            for node in nodes:
                check_equal(record, await node.read(user), "an unwritten mailbox")
        generator = OperationGenerator(env.random, users, env.clock)
        for number in range(40):
            work = generator.batch()
            expected = model.apply(work, env.clock.now)
            results = await env.random.choice(nodes).apply(work)
            check_results(work, expected, results, f"batch {number}")
            env.clock.now += env.random.choice((0.0, 0.0, 0.5))
            node, user = env.random.choice(nodes), env.random.choice(users)
            record = model.refresh(user, env.clock.now)
            check_record(record, await node.read(user), f"after batch {number}")


async def monotonic_reads(env: Environment) -> None:
    """No read returns an older version than an earlier write or read."""
    newest = 0

    async def write(engine: Engine, name: str) -> None:
        nonlocal newest
        for number in range(10):
            applied = await put(engine, "alice", note(f"{name}.{number}"))
            newest = max(newest, applied.mailbox.v)
            await env.yield_randomly()

    async def poll(engine: Engine) -> None:
        nonlocal newest
        while True:
            expected = newest
            v = (await engine.read("alice")).mailbox.v
            check_true(v >= expected, f"read version {v} after {expected}")
            newest = max(newest, v)
            await trio.lowlevel.checkpoint()

    async with env.nodes(3) as nodes, trio.open_nursery() as readers:
        for node in nodes:
            readers.start_soon(poll, node)
        await run_writers(write, nodes, 4)
        readers.cancel_scope.cancel()


async def nodes_join_and_leave(env: Environment) -> None:
    """Nodes that start and stop do not affect the writes of others."""
    done: list[str] = []

    async def write(engine: Engine) -> None:
        for number in range(40):
            done.append(f"stays-{number}")
            await put(engine, "alice", note(done[-1]))
            await env.yield_randomly()

    async with env.node() as staying:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, staying)
            for number in range(5):
                async with env.node() as leaving:
                    done.append(f"goes-{number}")
                    await put(leaving, "alice", note(done[-1]))
                    await env.yield_randomly()
        mailbox = (await staying.read("alice")).mailbox
        async with env.node() as joining:
            record = await joining.read("alice")
            check_equal(mailbox, record.mailbox, "the mailbox at a new node")
    check_equal(set(done), set(mailbox.items), "the items of all writers")
