"""The SQLite engine on a disk that can be read, and takes no writes."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.sqlite.backup import back_up
from roundel_service.engines.sqlite.engine import SqliteEngine
from support.mailboxes import note, put
from support.service import RunningService, body, post, settings, wall_clock
from support.sqlite_files import refusal, running

pytestmark = pytest.mark.slow

NOTE = {"to": {"user": "alice"}, "title": "x"}


class Disk:
    """A file system of one megabyte in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "roundel.db"

    def mount(self, *options: str) -> int:
        command = ["mount", *options, str(self.folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    def fill(self) -> None:
        with suppress(OSError), open(self.folder / "fill", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def refuse(self, how: str) -> None:
        if how == "full":
            self.fill()
        else:
            assert self.mount("-o", "remount,ro") == 0

    def accept(self, how: str) -> None:
        if how == "full":
            (self.folder / "fill").unlink()
        else:
            assert self.mount("-o", "remount,rw") == 0


@pytest.fixture
def disk(tmp_path):
    """Return a small file system; skip the test without the right to mount one."""
    disk = Disk(tmp_path / "disk")
    disk.folder.mkdir()
    if disk.mount("-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        pytest.skip("mounting needs more rights")
    yield disk
    subprocess.run(["umount", str(disk.folder)], check=True)


HOW = pytest.mark.parametrize(
    ("how", "reason"), [("full", "no space left"), ("read-only", "(?i)read-only")]
)


@HOW
async def test_start(disk, how, reason):
    """The engine starts, reads are served, and it recovers without a restart."""
    async with running(disk.path, durability="full") as engine:
        await put(engine, "alice", note("1", source="s"))
        await engine.claim("k", "v", ttl=99)
        epoch = (await engine.read("alice")).mailbox.epoch
    disk.refuse(how)
    async with running(disk.path, durability="full") as engine:
        with pytest.raises(EngineUnavailable, match=reason):
            await engine.check()
        for _ in range(2):
            assert ["1"] == list((await engine.read("alice")).mailbox.items)
            assert 0 == (await engine.read("bob")).mailbox.v
            assert "v" == await engine.claimed("k")
            assert ["alice"] == await engine.users(None, 9)
            with pytest.raises(EngineUnavailable):
                await put(engine, "alice", note("2"))
            with pytest.raises(EngineUnavailable):
                await engine.claim("l", "v", ttl=99)
        disk.accept(how)
        await engine.check()
        await put(engine, "alice", note("3"))
    async with running(disk.path, durability="full") as engine:
        mailbox = (await engine.read("alice")).mailbox

    assert (epoch, ["1", "3"]) == (mailbox.epoch, list(mailbox.items))


@HOW
async def test_start_after_a_kill(disk, how, reason):
    """The writes that are still in the log are served too."""
    killed = disk.folder / "killed.db"
    async with running(disk.path, durability="full") as engine:
        await put(engine, "alice", note("1"))
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(f"{disk.path}{suffix}", f"{killed}{suffix}")
    disk.refuse(how)
    async with running(killed, durability="full") as engine:
        assert ["1"] == list((await engine.read("alice")).mailbox.items)
        disk.accept(how)
        await put(engine, "alice", note("2"))


@HOW
async def test_new_file(disk, how, reason):
    """Without a file there is nothing to serve: the error names the reason."""
    disk.refuse(how)

    assert str(disk.path) in (refused := await refusal(disk.path))
    assert reason.removeprefix("(?i)") in refused.lower()


async def test_file_is_locked_when_it_can_be_written(disk):
    """A file that was opened without a lock is not written while another has it."""
    async with running(disk.path, durability="full") as engine:
        await put(engine, "alice", note("1"))
    os.unlink(f"{disk.path}.lock")
    disk.refuse("read-only")
    async with running(disk.path, durability="full") as first:
        disk.accept("read-only")
        async with running(disk.path, durability="full") as second:
            await put(second, "alice", note("2"))
            with pytest.raises(EngineUnavailable):
                await put(first, "alice", note("3"))
        await first.check()


@HOW
async def test_calls(disk, nursery, how, reason):
    """Reads are 200, writes are 503, and `/readyz` has the reason."""
    async with running(disk.path, durability="full") as engine:
        await put(engine, "alice", note("1"))
    disk.refuse(how)
    async with trio.open_nursery() as own:
        engine = SqliteEngine(disk.path, clock=wall_clock)
        built = service.build(settings(), clock=wall_clock, engine=engine)
        await own.start(built.run)
        world = RunningService(built, AsgiClient(built.app))
        badge = await world.badge()
        answer = await post(world.producer, "/v1/notify", NOTE)
        operator = AsgiClient(built.operator_app)
        away = await operator.request("GET", "/readyz")
        disk.accept(how)
        back = await operator.request("GET", "/readyz")
        own.cancel_scope.cancel()

    assert 1 == badge["unread"]
    assert "engine-unavailable" in body(answer, 503)["type"]
    assert disk.path.name in body(away, 503)["reasons"]["engine"]
    assert 200 == back.status


@HOW
async def test_backup_to_a_disk_that_takes_no_writes(disk, path, how, reason):
    """The error names the copy, and no part of it is left."""
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        disk.refuse(how)
        with pytest.raises(OSError, match=reason) as error:
            back_up(path, disk.folder / "copy.db")
        names = [file.name for file in disk.folder.iterdir() if "copy" in file.name]

    assert "copy.db" in str(error.value)
    assert [] == names


async def test_backup_of_a_full_disk(disk, tmp_path):
    """A file on a full disk can be copied to another disk while it is in use."""
    async with running(disk.path, durability="full") as engine:
        await put(engine, "alice", note("1"))
        disk.refuse("full")
        back_up(disk.path, tmp_path / "copy.db")
    async with running(tmp_path / "copy.db") as engine:
        assert ["1"] == list((await engine.read("alice")).mailbox.items)


@HOW
async def test_backup_of_a_service_that_can_only_read(disk, tmp_path, how, reason):
    """A file that a service has opened for reading can be copied."""
    async with running(disk.path, durability="full") as engine:
        await put(engine, "alice", note("1"))
    disk.refuse(how)
    async with running(disk.path, durability="full") as engine:
        await engine.read("alice")
        back_up(disk.path, tmp_path / "copy.db")
    async with running(tmp_path / "copy.db") as engine:
        assert ["1"] == list((await engine.read("alice")).mailbox.items)
