"""Checks of concurrent operations, on one node and on several."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from ..domain.changes import Added
from ..domain.mailbox import Applied
from ..domain.record import Record
from ..engines.base import Engine
from .compare import check_change_log, check_equal, check_true
from .environment import Environment, put, put_all, run_writers
from .model import LARGE_LIMITS, note, read

WRITERS = 12
"""Number of concurrent writers."""


async def concurrent_writes(env: Environment) -> None:
    """Each concurrent write to a user makes a version of its own."""
    applied: list[Applied] = []

    async def write(engine: Engine, name: str) -> None:
        for number in range(4):
            await env.yield_randomly()
            names = [f"{name}.{number}.{n}" for n in range(1 + number % 3)]
            work = [("alice", note(one, op_id=one)) for one in names]
            done = await put_all(engine, work)
            for one, result in zip(names, done, strict=True):
                check_true(one in result.mailbox.items, "the item is in the mailbox")
            applied.extend(done)

    async with env.nodes(3) as nodes:
        await run_writers(write, nodes, WRITERS)
        records = [await node.read("alice") for node in nodes]
    for record in records:
        _check_all_there(record, applied)


def _check_all_there(record: Record, applied: Sequence[Applied]) -> None:
    check_change_log(record, "after all")
    versions = sorted(one.mailbox.v for one in applied)
    check_equal(list(range(1, len(applied) + 1)), versions, "the versions")
    check_equal(len(applied), record.mailbox.v, "the version after all")
    items = {one.item for one in applied}
    check_equal(items, set(record.mailbox.items), "the items after all")
    by_version = {one.mailbox.v: one.change for one in applied}
    for change in record.changes:
        check_equal(by_version[change.v], change, "a change that is kept")


async def repeated_op_ids(env: Environment) -> None:
    """An operation id is applied once, on whichever node it is repeated."""
    async with env.nodes(3) as nodes:
        first = await put(nodes[0], "alice", note("1", op_id="o"))
        done = await put(nodes[0], "alice", read("1", op_id="o"))
        check_equal(2, done.mailbox.v, "the version after a user's operation")
        for node in nodes:
            for again in await put_all(node, [("alice", note("2", op_id="o"))] * 2):
                repeated = (again.item, again.badge, again.change)
                check_equal(("1", first.badge, None), repeated, "a repeated result")
        other = await put(nodes[0], "bob", note("2", op_id="o"))
        check_equal("2", other.item, "the result of another user's id")
        twice = await put_all(nodes[0], [("bob", note(n, op_id="p")) for n in "34"])
        check_equal(["3", "3"], [one.item for one in twice], "the results in one batch")
        mailbox = (await nodes[-1].read("alice")).mailbox
        check_equal((2, ["1"]), (mailbox.v, list(mailbox.items)), "the mailbox")


async def concurrent_op_ids(env: Environment) -> None:
    """Concurrent operations with one id are applied once and get the same result."""
    items: dict[str, set[str | None]] = {}

    async def repeat(engine: Engine, caller: str) -> None:
        for number in range(8):
            operation = note(f"{number}.{caller}", op_id=f"o{number}")
            applied = await put(engine, "alice", operation)
            items.setdefault(f"o{number}", set()).add(applied.item)
            await env.yield_randomly()

    async with env.nodes(3) as nodes:
        await run_writers(repeat, nodes, WRITERS)
        record = await nodes[0].read("alice")
    counts = [len(results) for results in items.values()]
    check_equal([1] * 8, counts, "results of one id")
    check_equal(8, record.mailbox.v, "the version after all")
    returned = set().union(*items.values())
    check_equal(returned, set(record.mailbox.items), "the items after all")


async def cancellation(env: Environment) -> None:
    """A cancelled call applies each operation fully or not at all."""
    acknowledged: set[str] = set()
    others: list[str] = []

    async def write(engine: Engine, name: str) -> None:
        work = [("alice", note(f"{name}.{n}", op_id=f"{name}.{n}")) for n in range(60)]
        results = await put_all(engine, work)
        acknowledged.update(result.item or "" for result in results)

    async def write_more(engine: Engine) -> None:
        for number in range(20):
            await env.yield_randomly()
            others.append(f"other.{number}")
            await put(engine, "alice", note(others[-1]))

    env = env.new_store(LARGE_LIMITS)
    async with env.nodes() as nodes:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_more, nodes[-1])
            for number in range(5):
                async with trio.open_nursery() as callers:
                    callers.start_soon(write, nodes[0], f"{number}a")
                    callers.start_soon(write, nodes[1], f"{number}b")
                    await env.yield_randomly()
                    callers.cancel_scope.cancel()
        await put(nodes[0], "alice", note("last"))
        record = await nodes[0].read("alice")
    check_change_log(record, "after all")
    lost = (acknowledged | {*others, "last"}) - record.mailbox.items.keys()
    check_equal(set(), lost, "acknowledged items that are lost")
    check_atomic(record)


def check_atomic(record: Record) -> None:
    """Check that each item has its version, its change and its result."""
    mailbox = record.mailbox
    check_equal(mailbox.v, len(mailbox.items), "one version for each item")
    seqs = [item.seq for item in mailbox.items.values()]
    check_equal(list(range(1, mailbox.v + 1)), seqs, "the versions at which items came")
    steps = [step for change in record.changes for step in change.steps]
    added = [step.id for step in steps if isinstance(step, Added)]
    ids = list(mailbox.items)[mailbox.v - len(added) :]
    check_equal(ids, added, "the items in the changes")
    with_result = {result.item for result in mailbox.results.values()}
    check_true(with_result <= mailbox.items.keys(), "each result has its item")
