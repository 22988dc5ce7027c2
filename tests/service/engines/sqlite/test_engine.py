"""The engine in a file: what it holds at hand, what it finds again, what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
import trio

from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.operations import DeleteUser, Disconnect, Retract
from roundel_service.domain.record import RecordLimits
from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.sqlite import schema
from roundel_service.engines.sqlite.engine import YIELD_AFTER, SqliteEngine
from roundel_service.engines.sqlite.group_commit import MAX_BATCH
from support.mailboxes import Clock, note, ops, put, record_changes
from support.sqlite_files import execute, fetch_all, open_once, refusal, running

pytestmark = pytest.mark.slow

HOLD = """
import sys, trio
from roundel_service.engines.sqlite.engine import SqliteEngine

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(SqliteEngine(sys.argv[1]).run)
        print("open", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()

trio.run(main)
"""
"""A process that has the file until its input ends."""


@contextmanager
def holding(path):
    """Run a process that has the file."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"open\n"
        yield process


# What is found again.


@pytest.mark.parametrize("durability", ["full", "normal", "off"])
async def test_file_is_what_it_was(path, durability):
    """Whoever opens the file finds each mailbox as it was, at its version."""
    async with running(path, durability=durability) as engine:
        await put(engine, "alice", note("1", source="s", op_id="o"))
        await put(engine, "alice", ops({"read": ["1"]}))
        unwritten = (await engine.read("bob")).mailbox.epoch
        before = await engine.read("alice")
    async with running(path, durability=durability) as engine:
        after = await engine.read("alice")

        assert before == after
        assert unwritten == (await engine.read("bob")).mailbox.epoch
        assert (await put(engine, "alice", note("2", op_id="o"))).item == "1"
        assert ["alice"] == await engine.holders(Retract(source="s"))
    assert [("ok",)] == fetch_all(path, "PRAGMA integrity_check")


async def test_reader_is_told_nothing_that_is_not_in_the_file(path):
    """What waits for the disk is nobody's to see, and then everybody's."""
    async with running(path) as engine, trio.open_nursery() as nursery:
        news = record_changes(engine)
        await put(engine, "alice", note("1"))
        nursery.start_soon(put, engine, "alice", note("2"))
        # It is staged now, and its group is on the way.
        await trio.lowlevel.checkpoint()
        read = await engine.read("alice")

        assert read.mailbox.v == len(news)
    assert [1, 2] == [v for _, v, _ in news]


async def test_work_that_waits_is_committed_together(path):
    """What many ask for at a time costs the disk little more than one."""
    done = []
    async with running(path, durability="full") as engine:

        async def notify(number: int) -> None:
            await put(engine, f"user-{number}", note("1"))
            done.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(3 * MAX_BATCH):
                nursery.start_soon(notify, number)

        assert 3 * MAX_BATCH == len(done) == len(await engine.users(None, 999))


async def test_more_work_than_a_slice_is_done_in_its_order(path):
    """A long batch is done piece by piece, and others get their turn."""
    async with running(path) as engine:
        work = [("alice", note(str(number))) for number in range(3 * YIELD_AFTER)]
        results = await engine.apply(work)

        assert list(range(1, 3 * YIELD_AFTER + 1)) == [r.badge.v for r in results]


async def test_caller_who_leaves_does_not_disturb_the_group(path):
    """Who waits no more may have it done or not; the others do not notice."""
    async with running(path) as engine, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(put, engine, "bob", note("1"))
            scope.cancel()
            await put(engine, "alice", note("1"))
        await put(engine, "alice", note("2"))

        assert (await engine.read("bob")).mailbox.v == 1
        assert "2" in (await engine.read("alice")).mailbox.items


async def test_expiry_that_a_read_finds_is_in_the_file(path):
    """Nobody sees a version that the next start would not know of."""
    clock = Clock()
    async with running(path, clock=clock) as engine:
        await put(engine, "alice", note("1", ttl=5))
        clock.now = 5.0
        assert (await engine.read("alice")).mailbox.v == 2
    async with running(path, clock=clock) as engine:
        assert (await engine.read("alice")).mailbox.v == 2


async def test_engine_that_does_not_run_promises_nothing(path):
    """Before and after, everything is refused at once."""
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
    for ended in (engine, SqliteEngine(path)):
        for call in (
            ended.read("alice"),
            ended.users(None, 1),
            ended.claim("k", "v", ttl=1),
            ended.claimed("k"),
            ended.check(),
            ended.holders(Retract(source="s")),
        ):
            with pytest.raises(EngineUnavailable, match="does not run"):
                await call
        (result,) = await ended.apply([("alice", note("2"))])
        assert isinstance(result, EngineUnavailable)


# What is bounded.


def record_bytes(engine) -> int:
    return engine._cache.weight


async def test_memory_is_bounded_however_many_are_touched(path):
    """What was not used for longest is not at hand, and is found when it is asked."""
    async with running(path, cache_bytes=100_000) as engine:
        for number in range(10):
            work = [(f"{number}-{n}", note("1")) for n in range(50)]
            await engine.apply(work)
        assert record_bytes(engine) <= 100_000
        for number in range(10):
            assert (await engine.read(f"{number}-7")).mailbox.v == 1

        assert record_bytes(engine) <= 100_000


async def test_file_does_not_grow_by_what_is_replaced(path):
    """Items that go and changes that are forgotten leave their place to the next."""
    rules = RecordLimits(mailbox=MailboxLimits(items=5), change_log_size=4)
    sizes = []
    async with running(path, rules) as engine:
        for number in range(6):
            work = [
                ("alice", note(f"{number:02}-{n:03}", op_id=f"{n}")) for n in range(99)
            ]
            await engine.apply(work)
            await put(engine, "alice", DeleteUser(f"{number}"))
            await put(engine, "alice", Disconnect())
            sizes.append(fetch_all(path, "PRAGMA page_count"))

    assert sizes[1:] == [sizes[1]] * 5
    assert [(0,)] == fetch_all(path, "SELECT count(*) FROM change")


@pytest.mark.parametrize("first", [2, 9])
async def test_ring_of_another_size(path, first):
    """A ring that was made shorter or longer keeps the latest changes."""
    async with running(path, RecordLimits(change_log_size=first)) as engine:
        for number in range(7):
            await put(engine, "alice", note(f"{number}"))
    async with running(path, RecordLimits(change_log_size=4)) as engine:
        changes = (await engine.read("alice")).changes
        await put(engine, "alice", note("8"))
        after = (await engine.read("alice")).changes

    assert [4, 5, 6, 7][-min(first, 4) :] == [change.v for change in changes]
    assert 8 == after[-1].v
    assert 4 >= len(after)


async def test_claims_are_bounded(path):
    """Where there are too many keys the oldest goes early; what is over goes anyway."""
    clock = Clock()
    async with running(path, clock=clock, max_claims=3) as engine:
        await engine.claim("short", "v", ttl=1)
        clock.now = 2.0
        for number in range(5):
            await engine.claim(f"{number}", "v", ttl=10)

        assert await engine.claimed("0") is None
        assert await engine.claimed("4") == "v"
    assert [(3,)] == fetch_all(path, "SELECT count(*) FROM claim")


# Who may have the file.


async def test_second_process_is_refused_by_name(path):
    """Two would overwrite each other's versions; who has the file is named."""
    with holding(path) as other:
        refused = await refusal(path)
        other.stdin.close()
        assert 0 == other.wait()

    assert f"{path}: is in use by another process ({other.pid})" in refused
    await open_once(path)


async def test_second_engine_in_one_process_is_refused(path):
    """It makes no difference whose the other one is."""
    async with running(path):
        assert f"in use by another process ({os.getpid()})" in await refusal(path)


async def test_process_that_was_killed_does_not_keep_the_file(path):
    """The lock is the system's, and ends with the process."""
    with holding(path) as other:
        other.kill()

    await open_once(path)


# What cannot be opened.


async def test_file_that_is_no_database(path):
    """Nobody's text is taken for mailboxes, nor touched."""
    path.write_text("Dear diary, " * 999)
    refused = await refusal(path)

    assert str(path) in refused
    assert "is no database, or damaged" in refused
    assert path.read_text().startswith("Dear diary")


async def test_file_of_something_else(path):
    """A database that is not ours is left as it is."""
    execute(path, "CREATE TABLE sheep (name TEXT)")

    assert "something else than Roundel" in await refusal(path)
    assert [("sheep",)] == fetch_all(path, "SELECT name FROM sqlite_master")


async def test_file_of_a_newer_version(path):
    """What an older program does not understand it does not write to."""
    await open_once(path)
    execute(path, f"PRAGMA user_version = {schema.VERSION + 1}")
    refused = await refusal(path)

    assert f"newer Roundel (schema {schema.VERSION + 1}, " in refused
    assert "run that one" in refused


async def test_folder_that_is_missing(tmp_path):
    """A path that was misspelt is told as that."""
    assert "there is no folder" in await refusal(tmp_path / "no" / "roundel.db")


async def test_path_of_a_folder(tmp_path):
    """A folder is no file."""
    assert "is a folder" in await refusal(tmp_path)


async def test_file_is_its_owners(path):
    """What people are told is nobody else's to read."""
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        modes = {file.stat().st_mode & 0o777 for file in path.parent.iterdir()}

    assert {0o600} == modes


# Schemas before this one.


async def test_file_of_an_older_version_is_migrated(path):
    """What an older version wrote is there after the first start of this one."""
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        before = await engine.read("alice")
    # The first version knew no claims.
    execute(path, "DROP TABLE claim; PRAGMA user_version = 1")
    async with running(path) as engine:
        assert before == await engine.read("alice")
        assert await engine.claim("k", "v", ttl=9) == "v"

    assert [(schema.VERSION,)] == fetch_all(path, "PRAGMA user_version")


# Lines of versions.


async def test_power_loss_that_may_have_taken_something(path):
    """What `full` promises is not taken for granted where less was asked for."""
    for durability, boot, is_same in [
        ("full", "", True),
        ("normal", "", True),
        ("full", "", True),
        ("full", "before", False),
    ]:
        async with running(path, durability=durability) as engine:
            if boot == "":
                await put(engine, "alice", note(durability))
                before = (await engine.read("alice")).mailbox.epoch
        if boot:
            execute(path, f"UPDATE meta SET value = '{boot}' WHERE key = 'risked'")
        async with running(path) as engine:
            after = (await engine.read("alice")).mailbox

            assert is_same == (before == after.epoch)
            assert len(after.items) > 0
