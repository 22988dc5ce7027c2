"""The engine in memory: epochs, listeners, expiry, and walks over all users."""

from __future__ import annotations

import tracemalloc
from functools import partial

import pytest
import trio

from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.mailbox_builder import TooManyCategories
from roundel_service.domain.operations import (
    DeleteGauge,
    DeleteUser,
    Disconnect,
    Retract,
    SetGauge,
)
from roundel_service.domain.record import RecordLimits
from roundel_service.engines.memory import SCAN_BATCH, YIELD_AFTER, MemoryEngine
from support.mailboxes import Clock, note, ops, put, record_changes

NONE = RecordLimits(mailbox=MailboxLimits(categories=0))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(clock) -> MemoryEngine:
    return MemoryEngine(clock=clock)


async def fill(engine: MemoryEngine, *users: str, **fields) -> None:
    """Put an item into the mailbox of each."""
    for user in users:
        await put(engine, user, note("1", **fields))


# Mailboxes that nobody wrote to, and their epochs.


async def test_mailbox_that_was_never_written_to(engine):
    """Every user has a mailbox, empty, at version 0 of an epoch that stays."""
    record = await engine.read("alice")

    assert (0, 0, 0) == (record.mailbox.v, record.badge.unread, len(record.changes))
    assert record == await engine.read("alice")
    await fill(engine, "alice")
    assert record.mailbox.epoch == (await engine.read("alice")).mailbox.epoch


async def test_epochs_differ_by_user_and_by_process():
    """No version of one line can be taken for one of another."""
    engines = [MemoryEngine(), MemoryEngine(), MemoryEngine(key=b"1" * 32)]
    users = ["alice", "bob", "Alice", "a" * 128]
    epochs = [(await e.read(u)).mailbox.epoch for e in engines for u in users]
    again = (await MemoryEngine(key=b"1" * 32).read("alice")).mailbox.epoch

    assert len(epochs) == len(set(epochs))
    assert all(len(epoch) == 12 for epoch in epochs)
    assert epochs[8] == again


NOTHING = [
    pytest.param(Retract(source="s"), id="retract"),
    pytest.param(DeleteGauge("g"), id="drop a gauge"),
]


@pytest.mark.parametrize("operation", NOTHING)
async def test_users_who_have_nothing_cost_nothing(engine, operation):
    """To look at a mailbox, or to take back what is not there, keeps nothing."""
    told = record_changes(engine)
    for number in range(10):
        await engine.read(f"{number}")
        await put(engine, f"{number}", operation)

    assert [] == told
    assert [] == await engine.users(None, 99)


async def memory_of(work) -> int:
    """Return how many bytes more are held after *work*."""
    tracemalloc.start()
    try:
        await work()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


async def test_memory_of_users_who_were_looked_at(engine):
    """A million names that are only asked for do not fill the memory."""

    async def look():
        for number in range(1_000):
            await engine.read(f"user-{number}")

    assert await memory_of(look) < 10_000


# Who is told, and what is kept.

TOLD = [
    pytest.param(note("2"), [("alice", 2, 2)], id="an item"),
    pytest.param(ops({"read": ["1"]}), [("alice", 2, 0)], id="a read item"),
    pytest.param(
        SetGauge(category="g", count=3, source_version=1), [("alice", 2, 4)], id="gauge"
    ),
    pytest.param(Retract(source="s"), [("alice", 2, 0)], id="a retracted item"),
    pytest.param(Disconnect(), [("alice", 1, 1)], id="a disconnected user"),
    pytest.param(Disconnect(revoke=True), [("alice", 1, 1)], id="revoked proofs"),
    pytest.param(DeleteUser("f"), [("alice", 0, 0)], id="a forgotten user"),
    pytest.param(Retract(source="other"), [], id="nothing"),
    pytest.param(DeleteGauge("g"), [], id="no gauge"),
]


@pytest.mark.parametrize(("operation", "expected"), TOLD)
async def test_listeners(engine, operation, expected):
    """Every listener is told once of what was done, and nothing of what was not."""
    await fill(engine, "alice", source="s")
    first, second = record_changes(engine), record_changes(engine)
    applied = await put(engine, "alice", operation)

    assert expected == first == second
    assert applied.mailbox == (await engine.read("alice")).mailbox


async def test_repeated_operation_is_told_to_nobody(engine):
    """What was done before is answered again, and wakes no stream."""
    await put(engine, "alice", note("1", op_id="o"))
    told = record_changes(engine)
    applied = await put(engine, "alice", note("2", op_id="o"))

    assert ("1", []) == (applied.item, told)


async def test_refused_operation_changes_nothing(clock):
    """What the reducer refuses is neither kept nor told."""
    engine = MemoryEngine(
        RecordLimits(mailbox=MailboxLimits(categories=1)), clock=clock
    )
    await fill(engine, "alice")
    before, told = await engine.read("alice"), record_changes(engine)
    with pytest.raises(TooManyCategories):
        await put(engine, "alice", note("2", "other"))
    with pytest.raises(TooManyCategories):
        await put(MemoryEngine(NONE), "bob", note("1"))

    assert before == await engine.read("alice")
    assert [] == told


async def test_ring_keeps_the_latest_changes(clock):
    """As many changes as the ring holds can be replayed; the last one's badge is it."""
    engine = MemoryEngine(RecordLimits(change_log_size=3), clock=clock)
    for number in range(5):
        await put(engine, "alice", note(str(number)))
    record = await engine.read("alice")

    assert [3, 4, 5] == [change.v for change in record.changes]
    assert record.mailbox.badge == record.badge == record.changes[-1].badge


async def test_another_epoch_begins_without_changes(engine):
    """No change of the epoch before can be replayed to anybody."""
    await fill(engine, "alice")
    await put(engine, "alice", DeleteUser("f"))

    record = await engine.read("alice")
    assert ("f", 0, 0) == (record.mailbox.epoch, record.badge.v, len(record.changes))


# Expiry.


async def test_what_is_over_is_gone_for_whoever_asks(engine, clock):
    """Nobody reads or changes a mailbox before what is over has left it."""
    told = record_changes(engine)
    await fill(engine, "alice", "bob", "carol", ttl=5)
    clock.now = 5.0
    read = await engine.read("alice")
    await put(engine, "bob", note("2"))

    assert ("expire", 5.0) == (read.changes[-1].operation, read.changes[-1].time)
    assert [("alice", 2, 0), ("bob", 2, 0), ("bob", 3, 1)] == told[3:]


# Walks over all users.


async def walk(engine: MemoryEngine, limit: int) -> list[list[str]]:
    """Return the pages of one walk, without the empty one at its end."""
    pages, after = [], None
    while page := await engine.users(after, limit):
        pages.append(page)
        after = page[-1]
    return pages


async def test_users(engine):
    """A walk comes by every user once, in the order in which they came."""
    await fill(engine, *"dbace", "b")

    assert [["d", "b"], ["a", "c"], ["e"]] == await walk(engine, 2)
    assert [["d", "b", "a", "c", "e"]] == await walk(engine, 5)
    assert ["a", "c"] == await engine.users("b", 2)
    assert ["a", "c"] == await engine.users("b", 2)
    assert [] == await engine.users("e", 2)


async def test_users_who_come_while_others_are_walked_by(engine):
    """Who comes during a walk is behind all others, and the walk gets there."""
    await fill(engine, *"ab")
    pages, after = [], None
    for newcomer in ["c", "a", "d", "e"]:
        page = await engine.users(after, 1)
        await fill(engine, newcomer)
        pages, after = pages + page, page[-1]

    assert ["a", "b", "c", "d"] == pages
    assert ["e"] == await engine.users(after, 9)


async def test_two_walks_at_a_time(engine):
    """Two who walk do not disturb each other."""
    await fill(engine, *"abcdef")
    slow, fast = None, None
    seen = {"slow": [], "fast": []}
    for _ in range(3):
        slow = (await engine.users(slow, 1))[-1]
        page = await engine.users(fast, 2)
        fast = page[-1]
        seen["slow"].append(slow)
        seen["fast"] += page

    assert {"slow": list("abc"), "fast": list("abcdef")} == seen


async def test_walk_from_somebody_unknown(engine):
    """Who is unknown here may be so from before a restart: the walk begins anew."""
    await fill(engine, *"ab")

    assert ["a", "b"] == await engine.users("nobody", 9)


async def test_holders(engine):
    """Those are found who hold an item that is to go, and nobody else."""
    await fill(engine, "a", "b", source="s")
    await fill(engine, "c", source="other")
    await fill(engine, "d", key="k")
    await put(engine, "b", Retract(source="s"))

    assert ["a"] == await engine.holders(Retract(source="s"))
    assert ["d"] == await engine.holders(Retract(category="c", key="k"))
    assert [] == await engine.holders(Retract(source="none"))


async def turns_during(work) -> int:
    """Return how often another task gets its turn until *work* is done."""
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await work()
        nursery.cancel_scope.cancel()
        return turns


@pytest.mark.slow
async def test_long_walks_let_others_run(engine, clock):
    """What looks at thousands of mailboxes does not keep the streams waiting."""
    await fill(engine, *map(str, range(2 * SCAN_BATCH)), ttl=5)
    looked = await turns_during(partial(engine.holders, Retract(source="s")))
    work = [(str(number), note("2")) for number in range(2 * YIELD_AFTER)]
    worked = await turns_during(partial(engine.apply, work))

    assert looked > 0
    assert worked > 0


async def test_walk_goes_on_while_users_come(engine):
    """A search that others interrupt is not disturbed by what they do."""
    await fill(engine, *map(str, range(SCAN_BATCH)), source="s")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill, engine, "late")
        holders = await engine.holders(Retract(source="s"))

    assert SCAN_BATCH == len(holders)
