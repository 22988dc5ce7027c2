"""What many do at once, at one node or at several."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from ..domain.changes import Added
from ..domain.mailbox import Applied
from ..domain.record import Record
from ..engines.base import Engine
from .compare import check_change_log, check_equal, check_true
from .environment import Environment, put, put_all
from .model import LARGE_LIMITS, note, read

WRITERS = 12
"""How many write at once."""


async def concurrent_writes(place: Environment) -> None:
    """Of many who write to one user at once, each makes versions of its own."""
    applied: list[Applied] = []

    async def write(engine: Engine, name: str) -> None:
        for number in range(4):
            await place.yield_randomly()
            names = [f"{name}.{number}.{n}" for n in range(1 + number % 3)]
            work = [("alice", note(one, op_id=one)) for one in names]
            done = await put_all(engine, work)
            for one, result in zip(names, done, strict=True):
                check_true(
                    one in result.mailbox.items, "what was done is in the mailbox"
                )
            applied.extend(done)

    async with place.nodes(3) as nodes:
        async with trio.open_nursery() as nursery:
            for number in range(WRITERS):
                nursery.start_soon(write, nodes[number % 3], f"{number}")
        records = [await node.read("alice") for node in nodes]
    for record in records:
        _check_all_there(record, applied)


def _check_all_there(record: Record, applied: Sequence[Applied]) -> None:
    check_change_log(record, "after all")
    versions = sorted(one.mailbox.v for one in applied)
    check_equal(
        list(range(1, len(applied) + 1)), versions, "the versions that were made"
    )
    check_equal(len(applied), record.mailbox.v, "the version after all")
    items = {one.item for one in applied}
    check_equal(items, set(record.mailbox.items), "the items after all")
    by_version = {one.mailbox.v: one.change for one in applied}
    for change in record.changes:
        check_equal(by_version[change.v], change, "a change that is kept")


async def repeated_op_ids(place: Environment) -> None:
    """What has an id is done once, by whomever and wherever it is asked for again."""
    async with place.nodes(3) as nodes:
        first = await put(nodes[0], "alice", note("1", op_id="o"))
        done = await put(nodes[0], "alice", read("1", op_id="o"))
        check_equal(
            2, done.mailbox.v, "the version after what a user did under that id"
        )
        for node in nodes:
            for again in await put_all(node, [("alice", note("2", op_id="o"))] * 2):
                told = (again.item, again.badge, again.change)
                check_equal(("1", first.badge, None), told, "what is answered again")
        other = await put(nodes[0], "bob", note("2", op_id="o"))
        check_equal("2", other.item, "what another user's id answers")
        twice = await put_all(nodes[0], [("bob", note(n, op_id="p")) for n in "34"])
        check_equal(["3", "3"], [one.item for one in twice], "the answers in one batch")
        record = await nodes[-1].read("alice")
        check_equal(
            (2, ["1"]), (record.mailbox.v, list(record.mailbox.items)), "the mailbox"
        )


async def concurrent_op_ids(place: Environment) -> None:
    """What many ask for at once under one id is done once, and all are answered so."""
    items: dict[str, set[str | None]] = {}

    async def repeat(engine: Engine, caller: str) -> None:
        for number in range(8):
            operation = note(f"{number}.{caller}", op_id=f"o{number}")
            applied = await put(engine, "alice", operation)
            items.setdefault(f"o{number}", set()).add(applied.item)
            await place.yield_randomly()

    async with place.nodes(3) as nodes:
        async with trio.open_nursery() as nursery:
            for number in range(WRITERS):
                nursery.start_soon(repeat, nodes[number % 3], f"{number}")
        record = await nodes[0].read("alice")
    check_equal(
        [1] * 8, [len(answers) for answers in items.values()], "answers to one id"
    )
    check_equal(8, record.mailbox.v, "the version after all")
    told = {item for answers in items.values() for item in answers}
    check_equal(told, set(record.mailbox.items), "the items after all")


async def cancellation(place: Environment) -> None:
    """A caller who is cancelled leaves an engine that goes on, and half of nothing."""
    acknowledged: set[str] = set()
    others: list[str] = []

    async def write(engine: Engine, name: str) -> None:
        work = [("alice", note(f"{name}.{n}", op_id=f"{name}.{n}")) for n in range(60)]
        results = await put_all(engine, work)
        acknowledged.update(result.item or "" for result in results)

    async def write_on(engine: Engine) -> None:
        for number in range(20):
            await place.yield_randomly()
            others.append(f"other.{number}")
            await put(engine, "alice", note(others[-1]))

    place = place.new_store(LARGE_LIMITS)
    async with place.nodes() as nodes:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_on, nodes[-1])
            for number in range(5):
                async with trio.open_nursery() as callers:
                    callers.start_soon(write, nodes[0], f"{number}a")
                    callers.start_soon(write, nodes[1], f"{number}b")
                    await place.yield_randomly()
                    callers.cancel_scope.cancel()
        await put(nodes[0], "alice", note("last"))
        record = await nodes[0].read("alice")
    check_change_log(record, "after all")
    held = set(record.mailbox.items)
    check_true(
        acknowledged | {*others, "last"} <= held, "all that was acknowledged is there"
    )
    check_atomic(record)


def check_atomic(record: Record) -> None:
    """Check that each item is there with its version, its change and its answer."""
    mailbox = record.mailbox
    check_equal(mailbox.v, len(mailbox.items), "one version for each item")
    seqs = [item.seq for item in mailbox.items.values()]
    check_equal(list(range(1, mailbox.v + 1)), seqs, "the versions at which items came")
    steps = [step for change in record.changes for step in change.steps]
    added = [step.item.id for step in steps if isinstance(step, Added)]
    ids = list(mailbox.items)[mailbox.v - len(added) :]
    check_equal(ids, added, "the items in the changes")
    answered = {answer.item for answer in mailbox.results.values()}
    check_true(answered <= mailbox.items.keys(), "no answer without its item")
