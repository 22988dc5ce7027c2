"""The SQLite engine beyond the engine contract: commits, limits, locks, migration."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trio

from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.operations import DeleteUser, Disconnect, Retract, Update
from roundel_service.domain.record import RecordLimits
from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.sqlite import schema, writer
from roundel_service.engines.sqlite.engine import SqliteEngine
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
"""A program that keeps the file open until its input ends."""


@contextmanager
def holding(path):
    """Run a process that keeps the file open."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"open\n"
        yield process


# Commits.


async def test_uncommitted_record_is_not_visible(path):
    """A read and a listener see a record only after its commit."""
    async with running(path) as engine, trio.open_nursery() as nursery:
        changes = record_changes(engine)
        await put(engine, "alice", note("1"))
        nursery.start_soon(put, engine, "alice", note("2"))
        # The second update is in a batch now, and not yet committed.
        await trio.lowlevel.checkpoint()
        read = await engine.read("alice")

        assert read.mailbox.v == len(changes)
    assert [1, 2] == [v for _, v, _ in changes]


async def test_more_operations_than_one_batch(path):
    """Concurrent operations on more users than a batch holds are all committed."""
    done = []
    async with running(path, durability="full") as engine:

        async def notify(number: int) -> None:
            await put(engine, f"user-{number}", note("1"))
            done.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(3 * MAX_BATCH):
                nursery.start_soon(notify, number)

        assert 3 * MAX_BATCH == len(done) == len(await engine.users(None, 999))


async def test_engine_before_run(path):
    """Each call of an engine that is not running fails at once."""
    engine = SqliteEngine(path)
    for call in (
        engine.read("alice"),
        engine.users(None, 1),
        engine.claim("k", "v", ttl=1),
        engine.claimed("k"),
        engine.check(),
        engine.holders(Retract(source="s")),
    ):
        with pytest.raises(EngineUnavailable, match="is not running"):
            await call
    (result,) = await engine.apply([("alice", note("2"))])
    assert isinstance(result, EngineUnavailable)


async def test_call_that_meets_the_end_of_the_engine(path):
    """A call that has loaded its mailbox when the engine stops fails, and returns."""
    engine, results = SqliteEngine(path), []

    async def notify() -> None:
        results.extend(await engine.apply([("alice", note("1"))]))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery, trio.open_nursery() as running_one:
            await running_one.start(engine.run)
            engine._read_limiter.acquire_on_behalf_of_nowait("the test")
            nursery.start_soon(notify)
            await trio.testing.wait_all_tasks_blocked()
            running_one.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
            engine._read_limiter.release_on_behalf_of("the test")

    assert [EngineUnavailable] == [type(result) for result in results]


# Limits.


async def test_cache_is_bounded(path):
    """The cache evicts records beyond its size, and loads them again on access."""
    async with running(path, cache_bytes=100_000) as engine:
        for number in range(10):
            work = [(f"{number}-{n}", note("1")) for n in range(50)]
            await engine.apply(work)
        assert engine._cache.weight <= 100_000
        for number in range(10):
            assert (await engine.read(f"{number}-7")).mailbox.v == 1

        assert engine._cache.weight <= 100_000


async def test_file_size_is_bounded(path):
    """New rows reuse the space of evicted items and dropped changes."""
    limits = RecordLimits(mailbox=MailboxLimits(items=5), change_log_size=4)
    sizes = []
    async with running(path, limits) as engine:
        for number in range(6):
            work = [
                ("alice", note(f"{number:02}-{n:03}", op_id=f"{n}")) for n in range(99)
            ]
            await engine.apply(work)
            await put(engine, "alice", DeleteUser(f"{number}"))
            await put(engine, "alice", Disconnect())
            ((size,),) = fetch_all(path, "PRAGMA page_count")
            sizes.append(size)

    assert max(sizes[1:]) <= sizes[1] + 2
    assert [(1,)] == fetch_all(path, "SELECT count(*) FROM entry")


@pytest.mark.parametrize("first", [2, 9])
async def test_change_log_of_another_size(path, first):
    """The latest changes survive if the size of the change log is changed."""
    async with running(path, RecordLimits(change_log_size=first)) as engine:
        for number in range(7):
            await put(engine, "alice", note(f"{number}"))
    async with running(path, RecordLimits(change_log_size=4)) as engine:
        changes = (await engine.read("alice")).changes
        await put(engine, "alice", note("8"))
        after = (await engine.read("alice")).changes

    assert [4, 5, 6, 7] == [change.v for change in changes]
    assert 8 == after[-1].v
    assert 4 >= len(after)


async def test_claims_are_bounded(path):
    """Beyond the limit the oldest claim is removed, and expired claims are first."""
    clock = Clock()
    async with running(path, clock=clock, max_claims=3) as engine:
        await engine.claim("short", "v", ttl=1)
        clock.now = 2.0
        for number in range(5):
            await engine.claim(f"{number}", "v", ttl=10)

        assert await engine.claimed("0") is None
        assert await engine.claimed("4") == "v"
    assert [(3,)] == fetch_all(path, "SELECT count(*) FROM claim")


# The lock.


async def test_second_process_is_rejected(path):
    """The error names the process that has locked the file."""
    with holding(path) as other:
        refused = await refusal(path)
        other.stdin.close()
        assert 0 == other.wait()

    assert f"{path} is in use by another process ({other.pid})" in refused
    await open_once(path)


async def test_second_engine_in_one_process_is_rejected(path):
    """The lock also excludes another engine of the same process."""
    async with running(path):
        assert f"in use by another process ({os.getpid()})" in await refusal(path)


async def test_killed_process_releases_the_lock(path):
    """The lock ends with the process."""
    with holding(path) as other:
        other.kill()

    await open_once(path)


# Files that are rejected.


async def test_text_file(path):
    """A file that is not a database is rejected and not changed."""
    path.write_text("Dear diary, " * 999)
    refused = await refusal(path)

    assert str(path) in refused
    assert "is not a database, or damaged" in refused
    assert path.read_text().startswith("Dear diary")


async def test_database_of_another_application(path):
    """A foreign database is rejected and not changed."""
    execute(path, "CREATE TABLE sheep (name TEXT)")

    assert "the database of another application" in await refusal(path)
    assert [("sheep",)] == fetch_all(path, "SELECT name FROM sqlite_master")


async def test_newer_schema(path):
    """A file with a newer schema is rejected."""
    await open_once(path)
    execute(path, f"PRAGMA user_version = {schema.VERSION + 1}")
    refused = await refusal(path)

    assert f"newer Roundel (schema {schema.VERSION + 1}, " in refused
    assert "run that version" in refused


async def test_missing_folder(tmp_path):
    """The error names the folder that does not exist."""
    assert "does not exist: create it" in await refusal(tmp_path / "no" / "roundel.db")


async def test_path_of_a_folder(tmp_path):
    """A path of a folder is rejected."""
    assert "is a folder" in await refusal(tmp_path)
    assert "/ is a folder" in await refusal(Path("/"))


async def test_file_modes(path):
    """Only the owner can read the files."""
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        modes = {file.stat().st_mode & 0o777 for file in path.parent.iterdir()}

    assert {0o600} == modes


# Migration and generations.


@pytest.mark.parametrize(
    "way", ["retract", "remove", "update", "evict", "replace", "expire", "delete"]
)
async def test_no_stored_text_of_an_item_that_is_gone(path, way):
    """The text of an item that is gone is nowhere in the file.

    That of an evicted or replaced item is gone with the next snapshot.
    """
    text, now = "a text to be gone", [1_000.0]
    limits = RecordLimits(mailbox=MailboxLimits(items=2))
    gone = note("1", body=text, source="s", ttl=60.0, key="k", size=99)
    async with running(path, limits=limits, clock=lambda: now[0]) as engine:
        await put(engine, "alice", note("0"))
        await put(engine, "alice", gone)
        match way:
            case "retract":
                await engine.apply([("alice", Retract(source="s"))])
            case "remove":
                await put(engine, "alice", ops({"remove": ["1"]}))
            case "update":
                content = b'{"body":"another"}'
                update = Update(which=Retract(source="s"), content=content)
                await put(engine, "alice", update)
            case "evict":
                for number in range(2, 20):
                    await put(engine, "alice", note(f"{number}"))
            case "replace":
                for number in range(2, 20):
                    await put(engine, "alice", note(f"{number}", key="k"))
            case "expire":
                now[0] += 61.0
                await put(engine, "alice", note("2"))
            case "delete":
                await engine.apply([("alice", DeleteUser("another"))])

    assert text.encode() not in path.read_bytes()
    async with running(path, limits=limits, clock=lambda: now[0]) as engine:
        items = (await engine.read("alice")).mailbox.items.values()
    assert not any(text.encode() in item.content for item in items)


async def test_text_of_a_retracted_item_leaves_the_log(path, monkeypatch):
    """Text that is gone leaves the log while the engine runs, after a crash, too."""
    monkeypatch.setattr(writer, "LOG_INTERVAL", 0.05)
    log, text = path.with_name(f"{path.name}-wal"), b"a text to be gone"
    gone = note("1", body=text.decode(), source="s")
    with closing(sqlite3.connect(path)) as reader:
        async with running(path) as engine:
            await put(engine, "alice", gone)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM mailbox").fetchone()
            await engine.apply([("alice", Retract(source="s"))])
            await trio.sleep(0.2)

            # A reader, such as a backup, may need the log. No write waits for it.
            assert text in log.read_bytes()
            await put(engine, "alice", note("2"))
            reader.execute("COMMIT")
            with trio.fail_after(10):
                # There is no event to wait for.
                while text in log.read_bytes() + path.read_bytes():  # noqa: ASYNC110
                    await trio.sleep(0.01)
            await put(engine, "alice", note("3"))

            assert ["2", "3"] == [*(await engine.read("alice")).mailbox.items]


async def test_epochs_after_a_reboot_without_full_durability(path):
    """If acknowledged writes may be missing, each mailbox starts a new epoch."""
    for number, (durability, boot, is_same) in enumerate(
        [
            ("full", "", True),
            ("normal", "", True),
            ("full", "", True),
            ("full", "before", False),
        ]
    ):
        async with running(path, durability=durability) as engine:
            if boot == "":
                await put(engine, "alice", note(f"{number}"))
                before = (await engine.read("alice")).mailbox.epoch
        if boot:
            execute(path, f"UPDATE meta SET value = '{boot}' WHERE key = 'risked'")
        async with running(path) as engine:
            after = (await engine.read("alice")).mailbox

            assert is_same == (before == after.epoch)
            assert len(after.items) > 0
