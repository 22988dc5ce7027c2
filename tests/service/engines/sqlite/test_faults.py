"""The SQLite engine with a full or hanging disk and with a damaged file."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import httpx2
import pytest
import structlog
import trio

from roundel_service.domain.operations import Retract
from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.sqlite import engine as sqlite
from roundel_service.engines.sqlite import writer
from roundel_service.engines.sqlite.database import PROBE_BYTES
from support.mailboxes import Clock, note, put, record_changes
from support.process import run_service
from support.sqlite_files import (
    damage,
    fetch_all,
    fill_pages,
    refusal,
    running,
)

pytestmark = pytest.mark.slow

LIMITED = """
import resource, sys
from roundel_service.cli.main import main

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
main()
"""
"""The command in a process with a limit of its file size in bytes."""


def limit(engine, pages: int) -> None:
    """Limit the file to a number of pages."""
    engine._database._writer.execute(f"PRAGMA max_page_count = {pages}")


async def fill(engine) -> list[str]:
    """Add items until the file is full; return the acknowledged ids."""
    acknowledged = []
    while True:
        name = f"{len(acknowledged)}"
        new = note(name, body="b" * 2_000, size=9)
        (result,) = await engine.apply([("alice", new)])
        if isinstance(result, EngineUnavailable):
            return acknowledged
        acknowledged.append(name)


async def test_full_disk(path):
    """With a full disk writes fail and reads work; the engine recovers with space."""
    with structlog.testing.capture_logs() as logged:
        async with running(path) as engine:
            await engine.check()
            limit(engine, 40)
            names = await fill(engine)
            changes = record_changes(engine)
            record = await engine.read("alice")
            for _ in range(3):
                with pytest.raises(EngineUnavailable):
                    await put(engine, "alice", note("x", body="b" * 20_000))
            with pytest.raises(EngineUnavailable, match="no space left"):
                await engine.check()

            assert names == list(record.mailbox.items)
            assert record == await engine.read("alice")
            assert [] == changes
            limit(engine, 4_000)
            await engine.check()
            await put(engine, "alice", note("after"))
    async with running(path) as engine:
        assert [*names, "after"] == list((await engine.read("alice")).mailbox.items)

    assert ["engine unavailable", "engine recovered"] == [
        line["event"] for line in logged
    ]
    assert [("ok",)] == fetch_all(path, "PRAGMA integrity_check")


async def test_failed_commit_fails_pending_operations(path):
    """An operation computed on an uncommitted state fails with that state."""
    async with running(path) as engine:
        await put(engine, "alice", note("0"))
        limit(engine, 1)
        results = []

        async def notify(number: int) -> None:
            long = note(f"{number}", body="b" * 20_000)
            results.extend(await engine.apply([("alice", long)]))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(notify, number)

        assert {EngineUnavailable} == set(map(type, results))
        assert ["0"] == list((await engine.read("alice")).mailbox.items)
        limit(engine, 4_000)
        assert 2 == (await put(engine, "alice", note("1"))).badge.v


async def test_expiry_that_cannot_be_committed(path):
    """A read shows an expiry that it cannot commit in an epoch of its own."""
    clock = Clock()
    async with running(path, clock=clock) as engine:
        await engine.apply([("alice", note("1", ttl=5)), ("alice", note("2"))])
        before = await engine.read("alice")
        path.rename(path.with_name("elsewhere"))
        clock.now = 5.0
        unstored, again = [await engine.read("alice") for _ in range(2)]
        clock.now = 9.0
        later = await engine.read("alice")
        path.with_name("elsewhere").rename(path)
        await put(engine, "alice", note("3"))
        after = await engine.read("alice")

    assert ["2"] == list(unstored.mailbox.items)
    assert unstored == again == later
    assert (1, unstored.mailbox.epoch) == (unstored.badge.unread, unstored.badge.epoch)
    assert before.mailbox.epoch != unstored.mailbox.epoch
    assert before.mailbox.epoch == after.mailbox.epoch
    assert ["2", "3"] == list(after.mailbox.items)


async def test_removed_file(path):
    """Writes fail if the path no longer names the open file."""
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        path.unlink()
        with pytest.raises(EngineUnavailable):
            await put(engine, "alice", note("2"))
        with pytest.raises(EngineUnavailable, match="removed, moved or replaced"):
            await engine.check()


async def test_claim_that_cannot_be_committed(path):
    """A claim fails if it cannot be stored."""
    async with running(path) as engine:
        path.rename(path.with_name("elsewhere"))
        with pytest.raises(EngineUnavailable):
            await engine.claim("k", "v", ttl=9)


async def test_write_timeout(path, monkeypatch):
    """A commit that hangs fails after the timeout; it may still succeed later."""
    monkeypatch.setattr(writer, "COMMIT_TIMEOUT", 0.5)
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            (result,) = await engine.apply([("alice", note("2"))])
            assert isinstance(result, EngineUnavailable)
            assert ["1"] == list((await engine.read("alice")).mailbox.items)
            with pytest.raises(EngineUnavailable, match="unavailable"):
                await engine.check()
        again = [("alice", note("3", op_id="o"))]
        while isinstance((await engine.apply(again))[0], EngineUnavailable):
            pass
        await engine.check()

        assert ["1", "2", "3"] == list((await engine.read("alice")).mailbox.items)


async def test_read_timeout(path, monkeypatch):
    """A read that hangs fails after the timeout, and the next one works."""
    monkeypatch.setattr(sqlite, "COMMIT_TIMEOUT", 0.1)
    async with running(path) as engine:
        async with engine._read_limiter:
            with pytest.raises(EngineUnavailable, match="no read within"):
                await engine.read("alice")

        assert (await engine.read("alice")).mailbox.v == 0


async def test_claim_that_was_evicted_at_once(path):
    """A claim fails if its own batch evicted it; the updates of the batch succeed."""
    async with running(path, max_claims=1) as engine, trio.open_nursery() as nursery:
        refused = []

        async def claim(key: str) -> None:
            try:
                await engine.claim(key, "v", ttl=9)
            except EngineUnavailable:
                refused.append(key)

        # The batch has three claims, and the limit is one.
        await engine.claim("first", "v", ttl=9)
        for key in "abc":
            nursery.start_soon(claim, key)
        await put(engine, "alice", note("1"))

    assert len(refused) <= 2


# Damage.


async def test_damaged_pages(path):
    """After a damaged page was read, all calls fail until a restart."""
    await fill_pages(path)
    pages = fetch_all(path, "SELECT rootpage FROM sqlite_master WHERE name = 'mailbox'")
    with structlog.testing.capture_logs() as logged:
        async with running(path) as engine:
            damage(path, pages[0][0])
            for _ in range(2):
                with pytest.raises(EngineUnavailable, match="is damaged"):
                    await engine.read("user-7")
            with pytest.raises(
                EngineUnavailable, match=r"is damaged .*restore a backup"
            ):
                await engine.check()
            for call in (
                engine.holders(Retract(source="s")),
                put(engine, "user-3", note("2")),
                engine.claim("k", "v", ttl=1),
            ):
                with pytest.raises(EngineUnavailable, match="is damaged"):
                    await call

    assert ["engine unavailable"] == [line["event"] for line in logged]


async def test_damaged_header(path):
    """A file with a damaged header is rejected at the start."""
    await fill_pages(path)
    with path.open("rb+") as file:
        file.write(b"\xa5" * 100)

    assert f"{path} is not a database, or damaged" in await refusal(path)


async def test_full_disk_over_http(tmp_path):
    """Writes fail, `/readyz` shows the reason, and acknowledged items stay readable."""
    program = tmp_path / "limited.py"
    program.write_text(LIMITED)
    size = f"{150_000 + 2 * PROBE_BYTES}"
    engine = {"ROUNDEL_ENGINE": f"sqlite:{tmp_path}/roundel.db"}
    headers = {"Authorization": "Bearer a-producer-key-for-tests"}
    acknowledged = 0
    async with (
        run_service(tmp_path, program=(str(program), size), **engine) as served,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client,
    ):
        request = {"to": {"user": "alice"}, "title": "t", "body": "b" * 1_000}
        while True:
            answer = await client.post("/v1/notify", json=request, headers=headers)
            if answer.status_code != 200:
                break
            if "badge" not in (result := answer.json()["results"][0]):
                break
            acknowledged = result["badge"]["unread"]
        ready = await client.get(f"{served.ops}/readyz")
        badge = await client.get("/v1/users/alice/badge", headers=headers)

        assert ready.status_code == 503
        assert "roundel.db" in ready.json()["reasons"]["engine"]
        assert acknowledged == badge.json()["unread"] > 0
    async with running(tmp_path / "roundel.db") as again:
        record = await again.read("alice")

    assert acknowledged <= record.badge.unread <= acknowledged + 1
    assert [("ok",)] == fetch_all(tmp_path / "roundel.db", "PRAGMA integrity_check")
