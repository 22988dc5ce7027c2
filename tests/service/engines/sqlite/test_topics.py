"""Topics in the SQLite file: damage, restored backups and rows."""

from __future__ import annotations

import pytest
import structlog
import trio

from roundel_service.domain.mailbox import Applied
from roundel_service.domain.operations import (
    ClaimTopics,
    DeleteUser,
    Refresh,
    Retract,
    Subscribe,
)
from roundel_service.engines.base import EngineUnavailable, MailboxDamaged
from roundel_service.engines.sqlite.backup import back_up
from support.mailboxes import note, put
from support.sqlite_files import execute, fetch_all, running

pytestmark = pytest.mark.slow


async def test_damaged_topic(path):
    """Users of a damaged topic are served; what needs it fails; deleting it heals."""
    async with running(path) as engine:
        for name in ("#all", "#t"):
            await put(engine, name, note(f"of {name}"))
        await put(engine, "alice", note("own"))
    execute(path, "UPDATE mailbox SET body = 'x' WHERE name LIKE '#%'")
    with structlog.testing.capture_logs() as logged:
        async with running(path) as engine:
            read = await engine.read("alice")
            work = [
                ("alice", note("more")),
                ("alice", Subscribe(topic="t")),
                ("bob", ClaimTopics(topics={"t": 0.0}, issued_at=1.0)),
                ("#t", note("lost")),
                ("carol", DeleteUser("forgotten")),
                ("dave", Refresh()),
            ]
            noted, *failed, deleted, refreshed = await engine.apply(work)
            await put(engine, "#all", DeleteUser("again"))
            await put(engine, "#all", note("news"))
            healed = await engine.read("alice")

    assert ["of #all", "own"] == list(read.mailbox.items)
    assert [MailboxDamaged] * 3 == [type(each) for each in failed]
    assert [Applied] * 3 == [type(each) for each in (noted, deleted, refreshed)]
    assert ["own", "more", "news"] == list(healed.mailbox.items)
    assert {"#all", "#t"} == {line["user"] for line in logged}


async def test_restored_backup(path, tmp_path):
    """Versions of a topic that a backup lacks leave its followers; nothing repeats."""
    copy = tmp_path / "copy.db"
    async with running(path) as engine:
        await put(engine, "#all", note("1"))
        await engine.read("alice")
        await trio.to_thread.run_sync(back_up, path, copy)
        await put(engine, "#all", note("lost"))
        await engine.read("alice")
    async with running(copy) as engine:
        epoch = (await engine.read("alice")).mailbox.epoch
        await put(engine, "#all", note("2"))
        items = (await engine.read("alice")).mailbox.items

        assert ["1", "2"] == list(items)
        assert epoch == (await engine.read("alice")).mailbox.epoch


async def test_publication_writes_the_topic_alone(path):
    """Followers are written when they are read, and one by one."""
    async with running(path) as engine:
        for user in ("alice", "bob"):
            await put(engine, user, note("own"))
        await put(engine, "#all", note("news", source="s"))
        before = fetch_all(path, "SELECT name FROM entry JOIN mailbox ON user = id")
        await engine.read("alice")
        after = fetch_all(path, "SELECT name FROM entry JOIN mailbox ON user = id")
        held = await engine.holders(Retract(source="s"))

    assert ([], [("alice",)]) == (before, after)
    assert ["#all"] == held


async def test_scheduled_item_is_found(path):
    """A retraction finds an item that waits, and its tag goes with it."""
    async with running(path) as engine:
        await put(engine, "alice", note("1", source="s", at=4e9))
        await put(engine, "bob", note("2", source="s"))
        held = await engine.holders(Retract(source="s"))
        await put(engine, "alice", Retract(source="s"))

        assert ["alice", "bob"] == held
        assert ["bob"] == await engine.holders(Retract(source="s"))


async def test_topic_that_cannot_be_stored(path):
    """What was pulled from a topic that cannot be stored is not stored either."""
    bad = note("bad", source="\ud800")
    with structlog.testing.capture_logs():
        async with running(path) as engine:
            await engine.apply([("#all", note("1")), ("alice", Refresh())])
            works = [("#all", bad), ("alice", Refresh()), ("bob", note("own"))]
            results = await engine.apply(works)
            record = await engine.read("alice")
            again = await put(engine, "alice", note("2"))

    assert {EngineUnavailable} == {type(result) for result in results}
    assert ["1"] == list(record.mailbox.items)
    assert 2 == again.badge.unread
