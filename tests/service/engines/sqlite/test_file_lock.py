"""The lock of the SQLite file: one process, by whatever name it opens the file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import trio

from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.sqlite.backup import back_up
from roundel_service.operator.doctor import disk
from support.mailboxes import note, put
from support.sqlite_files import open_once, refusal, running

pytestmark = pytest.mark.slow


def link(path: Path, tmp_path: Path, kind: str) -> Path:
    """Return another name of the file."""
    other = tmp_path / "other.db"
    match kind:
        case "file link":
            other.symlink_to(path)
        case "relative file link":
            other.symlink_to(path.name)
        case "link to a link":
            (tmp_path / "between").symlink_to(path)
            other.symlink_to(tmp_path / "between")
        case "folder link":
            (tmp_path / "folder").symlink_to(path.parent)
            other = tmp_path / "folder" / path.name
        case "dots":
            (tmp_path / "folder").mkdir()
            other = tmp_path / "folder" / ".." / path.name
        case "relative":
            other = Path(os.path.relpath(path))
    return other


KINDS = [
    "file link",
    "relative file link",
    "link to a link",
    "folder link",
    "dots",
    "relative",
]


@pytest.mark.parametrize("kind", KINDS)
async def test_another_name_is_the_same_file(path, tmp_path, kind):
    """A second engine is rejected by any name; the same data is behind each."""
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        other = link(path, tmp_path, kind)

        assert "is in use by another process" in await refusal(other)
    async with running(other) as engine:
        await put(engine, "alice", note("2"))

        assert "is in use by another process" in await refusal(path)
    async with running(path) as engine:
        assert ["1", "2"] == list((await engine.read("alice")).mailbox.items)


async def test_link_to_a_file_that_does_not_exist(path, tmp_path):
    """The file is created where the link points to, and locked there."""
    (tmp_path / "data").mkdir()
    path.symlink_to(tmp_path / "data" / "real.db")
    async with running(path) as engine:
        await put(engine, "alice", note("1"))

        assert "is in use" in await refusal(tmp_path / "data" / "real.db")
    assert path.is_symlink()


async def test_hard_link(path, tmp_path):
    """A file with two hard links is rejected by both names, also by a backup."""
    await open_once(path)
    other = tmp_path / "other.db"
    os.link(path, other)
    for name in (path, other):
        assert f"{name} has 2 hard links" in await refusal(name)
        with pytest.raises(OSError, match="has 2 hard links"):
            back_up(name, tmp_path / "copy.db")
        assert "has 2 hard links" in next(disk._file(name)).message
    path.unlink()
    await open_once(other)


async def test_hard_link_of_a_running_engine(path, tmp_path):
    """The other name of a file that is in use is rejected."""
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        os.link(path, tmp_path / "other.db")

        assert "has 2 hard links" in await refusal(tmp_path / "other.db")


async def test_loop_of_links(path):
    """The error says what is wrong with the links."""
    path.symlink_to(path.name)

    assert "links form a loop" in await refusal(path)


async def test_special_file(path):
    """A pipe is not a database, and opening it does not wait for a writer."""
    os.mkfifo(path)

    assert "is not a regular file" in await refusal(path)


@pytest.mark.parametrize("kind", ["link", "hard link", "folder", "pipe"])
async def test_lock_file_of_another_kind(kind, path, tmp_path):
    """A lock file that is another file is named, and that file is not written."""
    lock, other = path.with_name(path.name + ".lock"), tmp_path / "other"
    other.write_text("content")
    {
        "link": lambda: lock.symlink_to(other),
        "hard link": lambda: lock.hardlink_to(other),
        "folder": lock.mkdir,
        "pipe": lambda: os.mkfifo(lock),
    }[kind]()
    with trio.fail_after(1.0):
        reason = await refusal(path)

    assert str(lock) in reason
    assert "content" == other.read_text()


async def test_link_into_a_missing_folder(path, tmp_path):
    """The error names the folder of the file to which a link points."""
    path.symlink_to(tmp_path / "missing" / "real.db")

    assert f"the folder {tmp_path / 'missing'} does not exist" in await refusal(path)


@pytest.fixture
def mounted(path, tmp_path):
    """Return another path on which the file alone is mounted."""
    other = tmp_path / "another name.db"
    for each in (path, other):
        each.touch()
    command = ["mount", "--bind", str(path), str(other)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs more rights")
    yield other
    subprocess.run(["umount", str(other)], check=True)


async def test_file_that_is_mounted_alone(mounted):
    """A mount of the file without its folder is rejected: its log is elsewhere."""
    assert "mount its folder" in await refusal(mounted)


async def test_link_that_changes_while_the_engine_runs(path, tmp_path):
    """Writes fail while the path names another file than the open one."""
    real, other = tmp_path / "real.db", tmp_path / "other.db"
    await open_once(other)
    path.symlink_to(real)
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        path.unlink()
        path.symlink_to(other)
        with pytest.raises(EngineUnavailable):
            await put(engine, "alice", note("2"))
        with pytest.raises(EngineUnavailable, match="removed, moved or replaced"):
            await engine.check()
        path.unlink()
        path.symlink_to(real)
        await engine.check()


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
async def test_missing_log(path, suffix):
    """Writes fail if the log was removed: a restart could not read them."""
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        log = path.with_name(path.name + suffix)
        log.rename(log.with_name("elsewhere"))
        with pytest.raises(EngineUnavailable):
            await put(engine, "alice", note("2"))
        with pytest.raises(EngineUnavailable, match="removed, moved or replaced"):
            await engine.check()
        log.with_name("elsewhere").rename(log)
        await engine.check()
        await put(engine, "alice", note("3"))
    async with running(path) as engine:
        assert ["1", "3"] == list((await engine.read("alice")).mailbox.items)
