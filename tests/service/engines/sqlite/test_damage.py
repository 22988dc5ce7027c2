"""Damaged rows of the SQLite file: only their user is affected."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress

import pytest
import structlog

from roundel_service.domain.mailbox import Applied
from roundel_service.domain.operations import DeleteUser, Disconnect
from roundel_service.engines.base import EngineUnavailable, MailboxDamaged
from roundel_service.engines.sqlite import next_record, pending_records
from support.damaged_codec import (
    DAMAGED_PARTS,
    damaged_snapshot,
    first_works,
    later_works,
)
from support.mailboxes import Clock, note, put
from support.sqlite_files import execute, running

pytestmark = pytest.mark.slow

USERS = ("alice", "bob", "carol")


@pytest.fixture
async def path(path):
    """Return a file with three users, of which each has a snapshot and entries."""
    async with running(path) as engine:
        for user in USERS:
            await engine.apply([(user, work) for work in first_works()])
            for work in later_works():
                await put(engine, user, work)
    return path


def damage_row(path, part: str, damage) -> None:
    """Apply *damage* to a part of what is stored of bob."""
    with closing(sqlite3.connect(path)) as file:
        if part == "entry":
            query = "SELECT n, row FROM entry WHERE user = 2 ORDER BY n LIMIT 1"
            number, row = file.execute(query).fetchone()
            change = "UPDATE entry SET row = ? WHERE n = ?"
            file.execute(change, (damage(row), number))
        else:
            query = "SELECT body FROM mailbox WHERE id = 2"
            (body,) = file.execute(query).fetchone()
            damaged = damaged_snapshot(body, part, damage)
            file.execute("UPDATE mailbox SET body = ? WHERE id = 2", (damaged,))
        file.commit()


@pytest.mark.parametrize(("part", "damage"), DAMAGED_PARTS)
async def test_damaged_row(path, part, damage):
    """The damaged mailbox fails and is logged; others are served; deleting it heals."""
    damage_row(path, part, damage)
    with structlog.testing.capture_logs() as logged:
        async with running(path) as engine:
            works = [(user, note("9")) for user in USERS]
            alice, bob, carol = await engine.apply(works)
            for _ in range(2):
                with pytest.raises(MailboxDamaged, match="is damaged"):
                    await engine.read("bob")
            await engine.check()
            badges = [(await engine.read(user)).badge for user in ("alice", "carol")]
            await put(engine, "bob", DeleteUser("another"))
            healed = await put(engine, "bob", note("4"))
    async with running(path) as engine:
        stored = await engine.read("bob")

    assert isinstance(bob, MailboxDamaged)
    assert [12, 12] == [each.unread for each in badges]
    assert all(isinstance(each, Applied) for each in (alice, carol))
    assert ["bob"] == [each["user"] for each in logged]
    assert ("another", 1, 1) == (healed.badge.epoch, healed.badge.v, 1)
    assert ["4"] == list(stored.mailbox.items)


FIRST, SECOND = (
    f"(SELECT n FROM entry WHERE user = 2 ORDER BY n LIMIT 1 OFFSET {number})"
    for number in (0, 1)
)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(f"DELETE FROM entry WHERE n = {FIRST}", id="first entry"),
        pytest.param(f"DELETE FROM entry WHERE n = {SECOND}", id="second entry"),
        pytest.param(
            "UPDATE entry SET user = 2 WHERE user = 3", id="entries of another user"
        ),
        pytest.param("UPDATE entry SET row = x'' WHERE user = 2", id="empty"),
        pytest.param("UPDATE mailbox SET body = x'ff00' WHERE id = 2", id="blob"),
        pytest.param(
            f"""UPDATE mailbox SET body = (SELECT body FROM mailbox WHERE id = 3)
            WHERE id = 2; DELETE FROM entry WHERE n = {FIRST}""",
            id="snapshot of another user",
        ),
    ],
)
async def test_missing_and_misplaced_rows(path, script):
    """A row that is missing, or belongs to another user, is damage."""
    execute(path, script)
    async with running(path) as engine:
        for _ in range(2):
            with pytest.raises(MailboxDamaged):
                await engine.read("bob")

        assert 11 == (await engine.read("alice")).badge.unread


async def test_rows_of_a_deleted_user(path):
    """Rows whose user was deleted by hand never become those of a new user."""
    execute(
        path,
        f"""
        UPDATE entry SET user = 'x' WHERE user = 1 AND n % 2;
        UPDATE entry SET user = {2**63 - 1} WHERE user = 1;
        DELETE FROM mailbox WHERE name = 'carol';
        """,
    )
    async with running(path) as engine:
        await put(engine, "dave", note("9"))
        await put(engine, "carol", note("8"))
    async with running(path) as engine:
        dave, carol = await engine.read("dave"), await engine.read("carol")

    assert (["9"], ["8"]) == (list(dave.mailbox.items), list(carol.mailbox.items))


@pytest.mark.parametrize("part", ["items", "entry"])
async def test_revocation_of_a_damaged_mailbox(path, part):
    """A revocation needs no content, and holds after the mailbox was restored."""
    damage_row(path, part, lambda row: b"x" + row)
    async with running(path, clock=Clock(5.0)) as engine:
        works = [("bob", Disconnect(revoke=True)), ("bob", note("9"))]
        revoked, failed = await engine.apply(works)
        with pytest.raises(MailboxDamaged):
            await engine.read("bob")
    damage_row(path, part, lambda row: row[1:])
    async with running(path) as engine:
        record = await engine.read("bob")

    assert isinstance(revoked, Applied)
    assert isinstance(failed, MailboxDamaged)
    assert (11, 5.0) == (record.badge.unread, record.mailbox.revocation.made_at)


async def test_many_revocations_of_a_damaged_mailbox(path):
    """They never replace the content, which may be repaired, by a snapshot."""
    damage_row(path, "items", lambda row: b"x" + row)
    async with running(path) as engine:
        for _ in range(40):
            await put(engine, "bob", Disconnect(revoke=True))
    damage_row(path, "items", lambda row: row[1:])
    async with running(path) as engine:
        assert 11 == (await engine.read("bob")).badge.unread


async def test_record_that_the_reducer_rejects(path, monkeypatch):
    """An error of the reducer fails the operations of one user."""

    def fail(before, operation, **options):
        if operation.id == "bad":
            raise MemoryError
        return next_record.next_record(before, operation, **options)

    monkeypatch.setattr(pending_records, "next_record", fail)
    with structlog.testing.capture_logs() as logged:
        async with running(path) as engine:
            works = [("alice", note("3")), ("bob", note("bad")), ("carol", note("3"))]
            results = await engine.apply(works)

    assert [Applied, MailboxDamaged, Applied] == [type(result) for result in results]
    assert [("bob", "MemoryError")] == [(e["user"], e["reason"]) for e in logged]


NAMES = ["cast(x'ff' AS TEXT)", "x'ff'", "'b' || char(30) || 'c'", "'b' || char(28)"]


@pytest.mark.parametrize("name", NAMES)
async def test_damaged_user_name(path, name):
    """The users behind a damaged name are listed too, and each once."""
    execute(path, f"UPDATE mailbox SET name = {name} WHERE id = 2")
    seen, after = [], None
    with structlog.testing.capture_logs():
        async with running(path) as engine:
            while page := await engine.users(after, 1):
                seen, after = seen + page, page[-1]
                assert len(seen) < 9
            for user in seen:
                # No more than its own mailbox fails.
                with suppress(MailboxDamaged):
                    await engine.read(user)
            results = await engine.apply([(user, note("5")) for user in seen])

    assert ["alice", "carol"] == [user for user in seen if user in USERS]
    assert isinstance(results[0], Applied)
    assert isinstance(results[-1], Applied)


async def test_listener_that_fails(path):
    """A listener that fails for one user does not end the engine."""

    def fail(user, record):
        raise RecursionError

    with structlog.testing.capture_logs() as logged:
        async with running(path) as engine:
            engine.listen(fail, ())
            await put(engine, "alice", note("5"))
            await put(engine, "bob", note("5"))

    assert ["alice", "bob"] == [line["user"] for line in logged]


async def test_damage_of_many_users(path):
    """Of a batch, each damaged mailbox fails, and each other one is served."""
    async with running(path) as engine:
        await engine.apply([(f"user-{n}", note("1")) for n in range(200)])
    execute(path, "UPDATE mailbox SET body = char(28, 29, 30) WHERE id % 7 = 0")
    async with running(path) as engine:
        results = await engine.apply([(f"user-{n}", note("2")) for n in range(200)])
    damaged = [isinstance(result, MailboxDamaged) for result in results]

    assert [(n + 4) % 7 == 0 for n in range(200)] == damaged


async def test_item_that_cannot_be_encoded(path):
    """An item that cannot be stored fails alone, with what was computed on it."""
    bad = [note("x", source="\ud800"), note("y", key="\ud800"), note("z", content=7)]
    with structlog.testing.capture_logs() as logged:
        async with running(path) as engine:
            for operation in bad:
                works = [("alice", note("3")), ("bob", operation), ("bob", note("4"))]
                first, *failed = await engine.apply([*works, ("carol", note("5"))])
                *failed, last = failed

                assert all(isinstance(each, Applied) for each in (first, last))
                assert {EngineUnavailable} == set(map(type, failed))
            record = await engine.read("bob")
            await put(engine, "bob", note("6"))

    assert ["1", "2", "3"] == list(record.mailbox.items)
    assert {"bob"} == {each["user"] for each in logged}


@pytest.mark.parametrize(
    "value", ["'x'", "x'ff'", "char(30)", "7", "cast(x'ff' AS TEXT)"]
)
async def test_damaged_claim(path, value):
    """A claim whose value is damaged fails alone."""
    async with running(path) as engine:
        await engine.claim("k", "v", ttl=99)
        await engine.claim("l", "v", ttl=99)
    execute(path, f"UPDATE claim SET value = {value} WHERE id = 1")
    async with running(path) as engine:
        with pytest.raises(EngineUnavailable, match="a claim could not be read"):
            await engine.claim("k", "w", ttl=9)
        with pytest.raises(EngineUnavailable, match="a claim could not be read"):
            await engine.claimed("k")
        again = await engine.claim("l", "w", ttl=9)
        await engine.check()

        assert ("v", "v") == (again, await engine.claimed("l"))
        assert isinstance(await put(engine, "bob", note("3")), Applied)


@pytest.mark.parametrize("table", ["mailbox", "entry", "tag", "claim"])
async def test_lost_table(path, table):
    """The check fails if a table is missing, after the first write that needs it."""
    async with running(path) as engine:
        execute(path, f"DROP TABLE {table}")
        user = "alice" if table == "entry" else "dave"
        with suppress(EngineUnavailable):
            if table == "claim":
                await engine.claim("k", "v", ttl=9)
            else:
                await put(engine, user, note("9", source="s"))
        with pytest.raises(EngineUnavailable, match="no such table"):
            await engine.check()
