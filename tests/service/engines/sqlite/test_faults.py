"""A disk that is full, a file that is damaged: nothing is promised, and it is said."""

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
    execute,
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
"""The command, in a process whose files cannot grow beyond so many bytes."""


def limit(engine, pages: int) -> None:
    """Let the file have no more than so many pages."""
    file, _ = engine._require_running()
    file._writer.execute(f"PRAGMA max_page_count = {pages}")


async def fill(engine) -> list[str]:
    """Put items in until there is no room; return what was acknowledged."""
    acknowledged = []
    while True:
        name = f"{len(acknowledged)}"
        new = note(name, body="b" * 2_000, size=9)
        (result,) = await engine.apply([("alice", new)])
        if isinstance(result, EngineUnavailable):
            return acknowledged
        acknowledged.append(name)


async def test_full_disk_refuses_and_goes_on_when_there_is_room(path):
    """All that was acknowledged stays, nothing else is, and reading goes on."""
    with structlog.testing.capture_logs() as logged:
        async with running(path) as engine:
            await engine.check()
            limit(engine, 40)
            names = await fill(engine)
            news = record_changes(engine)
            record = await engine.read("alice")
            for _ in range(3):
                with pytest.raises(EngineUnavailable):
                    await put(engine, "alice", note("x", body="b" * 20_000))
            with pytest.raises(EngineUnavailable, match="there is no room"):
                await engine.check()

            assert names == list(record.mailbox.items)
            assert record == await engine.read("alice")
            assert [] == news
            limit(engine, 4_000)
            await engine.check()
            await put(engine, "alice", note("after"))
    async with running(path) as engine:
        assert [*names, "after"] == list((await engine.read("alice")).mailbox.items)

    assert ["engine unavailable", "engine recovered"] == [
        line["event"] for line in logged
    ]
    assert [("ok",)] == fetch_all(path, "PRAGMA integrity_check")


async def test_all_that_stands_on_a_failed_commit_is_refused(path):
    """A version that was not written is not counted on, by whoever waits behind it."""
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


async def test_expiry_that_cannot_be_written_is_not_shown(path):
    """A read that has to change something fails with it."""
    clock = Clock()
    async with running(path, clock=clock) as engine:
        await put(engine, "alice", note("1", ttl=5))
        path.rename(path.with_name("elsewhere"))
        clock.now = 5.0
        with pytest.raises(EngineUnavailable):
            await engine.read("alice")
        path.with_name("elsewhere").rename(path)

        assert (await engine.read("alice")).badge.unread == 0


async def test_file_that_was_removed_takes_no_more(path):
    """Nothing is written to where nobody would find it again."""
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        path.unlink()
        with pytest.raises(EngineUnavailable):
            await put(engine, "alice", note("2"))
        with pytest.raises(
            EngineUnavailable, match="was removed, moved away or replaced"
        ):
            await engine.check()


async def test_claim_that_cannot_be_written(path):
    """Nobody wins what is not kept."""
    async with running(path) as engine:
        path.rename(path.with_name("elsewhere"))
        with pytest.raises(EngineUnavailable):
            await engine.claim("k", "v", ttl=9)


async def test_disk_that_hangs_keeps_nobody_waiting(path, monkeypatch):
    """Who waits is told in time that it is not known; it may still come about."""
    monkeypatch.setattr(writer, "COMMIT_TIMEOUT", 0.5)
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            (result,) = await engine.apply([("alice", note("2"))])
            assert isinstance(result, EngineUnavailable)
            assert ["1"] == list((await engine.read("alice")).mailbox.items)
            with pytest.raises(EngineUnavailable, match="nothing was written in"):
                await engine.check()
        again = [("alice", note("3", op_id="o"))]
        while isinstance((await engine.apply(again))[0], EngineUnavailable):
            pass
        await engine.check()

        assert ["1", "2", "3"] == list((await engine.read("alice")).mailbox.items)


async def test_read_that_hangs_keeps_nobody_waiting(path, monkeypatch):
    """A read is given up after the same time, and the next one is as good as any."""
    monkeypatch.setattr(sqlite, "COMMIT_TIMEOUT", 0.1)
    async with running(path) as engine:
        async with engine._reading:
            with pytest.raises(EngineUnavailable, match="nothing was read within"):
                await engine.read("alice")

        assert (await engine.read("alice")).mailbox.v == 0


async def test_claim_that_is_not_found_again(path):
    """What somebody else has removed is not said to be kept; mailboxes do not mind."""
    async with running(path, max_claims=1) as engine, trio.open_nursery() as nursery:
        refused = []

        async def claim(key: str) -> None:
            try:
                await engine.claim(key, "v", ttl=9)
            except EngineUnavailable:
                refused.append(key)

        # Of those that come at a time, there is room for the last one.
        await engine.claim("first", "v", ttl=9)
        for key in "abc":
            nursery.start_soon(claim, key)
        await put(engine, "alice", note("1"))

    assert len(refused) <= 2


# Damage.


async def test_damaged_pages_stop_the_engine_and_are_told(path):
    """What is not readable is not guessed at, and nothing more is acknowledged."""
    await fill_pages(path)
    pages = fetch_all(path, "SELECT rootpage FROM sqlite_master WHERE name = 'user'")
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


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE item SET row = 'x' WHERE user = 7",
        "UPDATE item SET row = '[]' WHERE user = 7",
        "UPDATE item SET flags = 'x' WHERE user = 7",
        "UPDATE user SET head = '[1,2]' WHERE id = 7",
        "UPDATE user SET head = '' WHERE id = 7",
        "UPDATE user SET head = '[0,0,0,0,0,0]' WHERE id = 7",
        "UPDATE change SET row = '{}' WHERE user = 7",
        "UPDATE user SET head = cast(x'ff' AS TEXT) WHERE id = 7",
    ],
)
async def test_rows_that_make_no_sense_are_damage(path, spoil):
    """What SQLite itself does not notice is not taken for a mailbox either."""
    await fill_pages(path)
    execute(path, spoil)
    async with running(path) as engine:
        assert (await engine.read("user-7")).badge.unread == 1
        with pytest.raises(EngineUnavailable, match="is damaged"):
            await engine.read("user-6")
        with pytest.raises(EngineUnavailable, match="is damaged"):
            await put(engine, "user-7", note("2"))
        with pytest.raises(EngineUnavailable, match="is damaged"):
            await engine.check()


async def test_damaged_header_is_refused_at_the_start(path):
    """A file that cannot be understood is told as one, in a line."""
    await fill_pages(path)
    with path.open("rb+") as file:
        file.write(b"\xa5" * 100)

    assert f"{path}: is no database, or damaged" in await refusal(path)


# What callers and operators see.


async def test_disk_that_is_full_is_told_by_every_answer(tmp_path):
    """503 for who writes, reasons for operators, and all that was acknowledged."""
    program = tmp_path / "limited.py"
    program.write_text(LIMITED)
    size = f"{150_000 + 2 * PROBE_BYTES}"
    engine = {"ROUNDEL_ENGINE": f"sqlite:{tmp_path}/roundel.db"}
    headers = {"Authorization": "Bearer a-producer-key"}
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
