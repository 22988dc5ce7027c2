"""Files of earlier schemas: nothing is lost, whatever ends the conversion."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
import structlog
import trio

from roundel_service.domain.operations import Retract
from roundel_service.domain.revocation import Revocation
from roundel_service.engines.base import MailboxDamaged
from roundel_service.engines.codec.decoding import decode_head
from roundel_service.engines.sqlite import migration, schema
from support.mailboxes import Clock, note, put
from support.sqlite_files import OLD_FILE, execute, fetch_all, refusal, running

pytestmark = pytest.mark.slow

RUN = """
import sys, trio
from roundel_service.engines.sqlite.engine import SqliteEngine

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(SqliteEngine(sys.argv[1]).run)
        nursery.cancel_scope.cancel()

trio.run(main)
"""
"""A program that opens a file and stops."""

ROUNDS = int(os.environ.get("KILL_ROUNDS", "30"))


@pytest.fixture
def path(path):
    """Return a file of schema 3 with four users."""
    execute(path, OLD_FILE.read_text("utf-8"))
    return path


def multiply(path, users: int) -> None:
    """Give *users* others what alice has."""
    copies = (
        f"WITH RECURSIVE n(i) AS (VALUES(5) UNION ALL SELECT i + 1 FROM n"
        f" WHERE i < {users + 4}) INSERT INTO"
    )
    execute(
        path,
        f"""PRAGMA synchronous = off; BEGIN;
        {copies} user SELECT i, 'u' || i, generation, head FROM n, user WHERE id = 1;
        {copies} item SELECT i, id, flags, source, place, row FROM n, item
            WHERE user = 1;
        {copies} answer SELECT i, op_id, n, row FROM n, answer WHERE user = 1;
        {copies} change SELECT i, slot, row FROM n, change WHERE user = 1;
        COMMIT;""",
    )


def version(path) -> int:
    return fetch_all(path, "PRAGMA user_version")[0][0]


async def test_everything_is_converted(path):
    """Items, flags, gauges, results, changes, times, claims and the secret are kept."""
    path.chmod(0o640)
    async with running(path, clock=Clock(1_700_000_009.0)) as engine:
        alice, bob, carol = [await engine.read(n) for n in ("alice", "bob", "carol")]
        repeated = await put(engine, "alice", note("9", op_id="o"))
        held = await engine.holders(Retract(source="s"))
        keyed = await engine.holders(Retract(category="c", key="k'\n"))

        assert ["alice", "bob", "carol", "zoë"] == await engine.users(None, 9)
        assert "used" == await engine.claimed("ticket")
        assert b"a-secret-of-a-test-file" == await engine.secret()
    items = alice.mailbox.items

    assert ("FE9dmAK7Iash", 8, ["1", "3", "4"]) == (
        *(alice.mailbox.epoch, alice.mailbox.v),
        list(items),
    )
    assert (True, True, False) == (items["1"].seen, items["1"].read, items["3"].read)
    assert items["4"].archived
    assert 1_700_000_000.0 == items["3"].updated_at
    assert [*range(1, 9)] == [change.v for change in alice.changes]
    assert 7 == alice.mailbox.gauges["g"].source_version
    assert ("2", 2) == (repeated.item, repeated.badge.v)
    assert Revocation(1_700_000_005.0, 1_699_999_000.0) == bob.mailbox.revocation
    assert ("anotherepoch", ["8"]) == (carol.mailbox.epoch, list(carol.mailbox.items))
    assert (["alice", "bob"], ["carol"]) == (held, keyed)
    assert 0o640 == path.stat().st_mode & 0o777


async def test_converted_file(path):
    """The file is sound, can give space back, and has no old table."""
    async with running(path):
        pass
    tables = fetch_all(path, "SELECT name FROM sqlite_master WHERE type = 'table'")

    assert {("meta",), ("mailbox",), ("entry",), ("tag",), ("claim",)} == set(tables)
    assert [("ok",)] == fetch_all(path, "PRAGMA integrity_check")
    assert [(2,)] == fetch_all(path, "PRAGMA auto_vacuum")
    assert schema.VERSION == version(path)


@pytest.mark.parametrize("found", [1, 2])
async def test_earlier_schemas(path, found):
    """Schema 1 had no claims. Changes of before schema 3 had text, and are dropped."""
    text = "a text that was retracted"
    execute(path, f"UPDATE change SET row = '{text}'; PRAGMA user_version = {found}")
    if found == 1:
        execute(path, "DROP TABLE claim")
    async with running(path) as engine:
        alice = await engine.read("alice")
        claimed = await engine.claimed("ticket")

    assert (["1", "3", "4"], 0) == (list(alice.mailbox.items), len(alice.changes))
    assert ("used" if found == 2 else None) == claimed
    assert text.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("UPDATE item SET row = 'x' || row WHERE user = 2", id="item"),
        pytest.param(
            "UPDATE item SET row = char(28, 29, 30, 31) || row WHERE user = 2",
            id="separators",
        ),
        pytest.param("UPDATE change SET row = x'ff' WHERE user = 2", id="bytes"),
    ],
)
async def test_damaged_mailbox(path, script):
    """A damaged mailbox stays damaged, with its head, and others are converted."""
    execute(path, script)
    with structlog.testing.capture_logs() as logged:
        async with running(path) as engine:
            with pytest.raises(MailboxDamaged):
                await engine.read("bob")
            others = [await engine.read(user) for user in ("alice", "carol", "zoë")]
    ((body,),) = fetch_all(path, "SELECT body FROM mailbox WHERE name = 'bob'")

    assert [3, 1, 1] == [record.badge.unread for record in others]
    assert {"bob"} == {it["user"] for it in logged if it["event"] == "mailbox damaged"}
    assert 1_700_000_005.0 == decode_head(body, []).revocation.made_at
    assert b'"z1cDPJK7k-a_"' in body


async def test_progress_is_logged(path, monkeypatch):
    """The log says how many mailboxes are converted."""
    multiply(path, 600)
    monkeypatch.setattr(migration, "REPORT_INTERVAL", 0.0)
    with structlog.testing.capture_logs() as logged:
        async with running(path):
            pass
    done = [it["users"] for it in logged if it["event"] == "migration running"]

    assert [200, 400, 600, 604] == done
    assert [("migration started", 604), ("migration finished", 604)] == [
        (it["event"], it["users"]) for it in (logged[0], logged[-1])
    ]


async def test_cancelled_conversion(path, monkeypatch):
    """A service that is stopped meanwhile leaves the file as it was."""
    multiply(path, 600)
    before = fetch_all(path, "SELECT count(*), sum(length(row)) FROM item")
    with trio.CancelScope() as scope:

        def stop(*arguments):
            trio.from_thread.run_sync(scope.cancel)
            return write(*arguments)

        write = migration._write
        monkeypatch.setattr(migration, "_write", stop)
        async with running(path):
            pass

    assert scope.cancelled_caught
    assert (3, before) == (
        version(path),
        fetch_all(path, "SELECT count(*), sum(length(row)) FROM item"),
    )
    assert [] == list(path.parent.glob("*.migrating*"))


async def test_file_that_is_being_read(path):
    """A file that another process reads, such as a backup, is not converted."""
    execute(path, "PRAGMA journal_mode = wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM user").fetchone()
        refused = await refusal(path)

    assert f"{path} is in use by another process" in refused
    assert 3 == version(path)


async def test_full_disk(path, monkeypatch):
    """Without space for the new file the error says so, and the file is as it was."""
    create = migration._prepare

    def prepare(new):
        create(new)
        new.execute("PRAGMA max_page_count = 12")

    multiply(path, 600)
    monkeypatch.setattr(migration, "_prepare", prepare)

    message = f"no space left to convert {path}: free some, and start again"
    assert message in await refusal(path)
    assert 3 == version(path)
    assert [] == list(path.parent.glob("*.migrating*"))


def kill_while_converting(path, rng: random.Random) -> bool:
    """Start an engine on the file, kill it; return whether the file is converted."""
    command = [sys.executable, "-c", RUN, str(path)]
    part = path.with_name(path.name + migration.PART_SUFFIX)
    with subprocess.Popen(command) as process:
        # The start of the program takes longer than the conversion.
        until = time.monotonic() + 30
        while not part.exists() and process.poll() is None:
            assert time.monotonic() < until
        time.sleep(rng.uniform(0.0, 1.0) ** 2)
        process.kill()
    return version(path) == schema.VERSION


async def kill_repeatedly(path, rounds: int) -> list[bool]:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng, outcomes = random.Random(seed), []
    old = path.read_bytes()
    for _ in range(rounds):
        path.write_bytes(old)
        outcomes.append(kill_while_converting(path, rng))
        async with running(path) as engine:
            users = await engine.users(None, 9_999)
            records = [await engine.read(user) for user in ("alice", users[-1])]

        assert 2_004 == len(users)
        assert records[0].mailbox == records[1].mailbox
        assert [("ok",)] == fetch_all(path, "PRAGMA integrity_check")
        assert [] == list(path.parent.glob("*.migrating*"))
    print(f"{rounds} kills, {sum(outcomes)} after the conversion")
    return outcomes


async def test_two_kills(path):
    """`kill -9` during the conversion loses nothing: the next start completes it."""
    multiply(path, 2_000)

    assert 2 == len(await kill_repeatedly(path, 2))


@pytest.mark.nightly
async def test_many_kills(path):
    """The same at more moments."""
    multiply(path, 2_000)
    outcomes = await kill_repeatedly(path, ROUNDS)

    assert False in outcomes
