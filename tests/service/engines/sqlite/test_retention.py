"""Idle mailboxes are removed, and the file gives their space back."""

from __future__ import annotations

import pytest
import trio

from roundel_service.domain.operations import Disconnect, Retract
from roundel_service.engines import open_engine
from roundel_service.engines.sqlite import writer
from roundel_service.engines.sqlite.retention import DAY
from support.mailboxes import Clock, note, put
from support.sqlite_files import execute, fetch_all, running

pytestmark = pytest.mark.slow

TTL = 10 * DAY
START = 1_700_000_000.0


async def sweep(engine) -> list[str]:
    """Remove idle mailboxes; return the names of the others."""
    await engine._idle_mailboxes().sweep()
    return await engine.users(None, 999)


@pytest.fixture
def clock():
    return Clock(START)


async def test_idle_mailbox(path, clock):
    """A mailbox goes when it was not written for the time; one entry keeps it."""
    async with running(path, clock=clock, user_ttl=TTL) as engine:
        for user in ("alice", "bob", "carol"):
            await put(engine, user, note("1", source="s"))
        before = await engine.read("alice")
        clock.now = START + TTL / 2
        await put(engine, "bob", note("2"))
        await put(engine, "carol", Disconnect())
        clock.now = START + TTL - 1
        assert ["alice", "bob", "carol"] == await sweep(engine)
        clock.now = START + TTL + 1
        assert ["bob", "carol"] == await sweep(engine)
        after = await engine.read("alice")
        again = await put(engine, "alice", note("3"))
        held = await engine.holders(Retract(source="s"))
        clock.now = START + 1.5 * TTL + 1
        assert ["alice"] == await sweep(engine)

    assert before.mailbox.epoch != after.mailbox.epoch
    assert (0, 1) == (after.mailbox.v, again.badge.v)
    assert ["bob", "carol"] == held
    assert [(0,)] == fetch_all(path, "SELECT count(*) FROM tag")
    assert [(0,)] == fetch_all(path, "SELECT count(*) FROM entry")


async def test_mailbox_with_something_to_come(path, clock):
    """A mailbox stays for a day after its last item has appeared or expired."""
    async with running(path, clock=clock, user_ttl=TTL) as engine:
        await put(engine, "alice", note("1", at=START + 3 * TTL))
        await put(engine, "bob", note("1", ttl=3 * TTL))
        await put(engine, "carol", note("1"))
        clock.now = START + 2 * TTL
        assert ["alice", "bob"] == await sweep(engine)
        clock.now = START + 3 * TTL + DAY - 1
        assert ["alice", "bob"] == await sweep(engine)
    # No read came meanwhile, so the items still wait.
    async with running(path, clock=clock, user_ttl=TTL) as engine:
        clock.now = START + 3 * TTL + DAY + 1
        assert [] == await sweep(engine)


async def test_mailbox_with_an_open_stream(path, clock):
    """A mailbox that the hub watches is not idle."""
    watched = {"alice"}
    async with running(path, clock=clock, user_ttl=TTL) as engine:
        engine.listen(lambda user, record: None, watched)
        for user in ("alice", "bob"):
            await put(engine, user, note("1"))
        clock.now = START + 2 * TTL
        assert ["alice"] == await sweep(engine)
        watched.clear()
        assert [] == await sweep(engine)


async def test_write_while_a_mailbox_is_removed(path, clock):
    """A write that meets the removal is kept, and is the first one of a new epoch."""
    async with running(path, clock=clock, user_ttl=TTL) as engine:
        await put(engine, "alice", note("1", source="s"))
        before = await engine.read("alice")
        clock.now = START + 2 * TTL
        stored = engine._cache.get("alice")
        removed = engine._writer.forget("alice", stored)
        same_batch = await put(engine, "alice", note("2"))
        await removed.wait()
        await put(engine, "bob", note("1"))
        engine._writer.forget("bob", engine._cache.get("bob"))
        await trio.testing.wait_all_tasks_blocked()
        later_batch = await put(engine, "bob", note("2"))
    async with running(path, clock=clock) as engine:
        records = [await engine.read(user) for user in ("alice", "bob")]

    assert (1, 1) == (same_batch.badge.v, later_batch.badge.v)
    assert [["2"], ["2"]] == [list(it.mailbox.items) for it in records]
    assert before.mailbox.epoch != records[0].mailbox.epoch
    assert [(2,)] == fetch_all(path, "SELECT count(*) FROM mailbox")
    assert [("ok",)] == fetch_all(path, "PRAGMA integrity_check")


async def test_write_after_the_query(path, clock):
    """A mailbox that was written after the search found it is not removed."""
    async with running(path, clock=clock, user_ttl=TTL) as engine:
        await put(engine, "alice", note("1"))
        clock.now = START + 2 * TTL
        await put(engine, "alice", note("2"))
        batch = engine._idle_mailboxes()._examine("alice", 0)
        await batch.wait()

        assert ["1", "2"] == list((await engine.read("alice")).mailbox.items)


async def test_many_idle_mailboxes_and_a_damaged_one(path, clock):
    """All pages are searched; a damaged mailbox stays, and hinders no other."""
    async with running(path, clock=clock, user_ttl=TTL) as engine:
        users = [f"user-{number}" for number in range(250)]
        await engine.apply([(user, note("1")) for user in users])
    execute(path, "UPDATE mailbox SET body = 'x' WHERE name = 'user-7'")
    clock.now = START + 2 * TTL
    async with running(path, clock=clock, user_ttl=TTL) as engine:
        assert ["user-7"] == await sweep(engine)


async def test_space_is_given_back(path, clock, monkeypatch):
    """The file gets smaller in steps, and takes writes between them."""
    monkeypatch.setattr(writer, "LOG_INTERVAL", 0.05)
    async with running(path, clock=clock, user_ttl=TTL) as engine:
        users = [f"user-{number}" for number in range(900)]
        await engine.apply([(user, note("1", body="b" * 4_000)) for user in users])
        clock.now = START + 2 * TTL
        await put(engine, "alice", note("1"))
        before = path.stat().st_size
        assert ["alice"] == await sweep(engine)
        with trio.fail_after(30):
            while path.stat().st_size > before / 2:
                await put(engine, "alice", note("2", key="k"))
                await trio.sleep(0.01)

        assert ["1", "2"] == list((await engine.read("alice")).mailbox.items)
    assert [("ok",)] == fetch_all(path, "PRAGMA integrity_check")


async def test_setting(path, clock):
    """`open_engine(user_ttl=)` sets the time."""
    engine = open_engine(f"sqlite:{path}", clock=clock, user_ttl=TTL)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        await put(engine, "alice", note("1"))
        clock.now = START + TTL + 1
        assert [] == await sweep(engine)
        nursery.cancel_scope.cancel()
