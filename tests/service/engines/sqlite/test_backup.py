"""Online backups, and the epochs of a restored copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio

from roundel_service.domain.operations import Retract
from roundel_service.engines.sqlite.backup import back_up
from support.mailboxes import note, put
from support.process import run
from support.sqlite_files import (
    damage,
    execute,
    fetch_all,
    fill_pages,
    open_once,
    running,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path):
    return tmp_path / "copy.db"


async def epochs(engine, *users: str) -> list[str]:
    return [(await engine.read(user)).mailbox.epoch for user in users]


async def test_copy_is_consistent(path, copy):
    """A copy contains all earlier writes, and no write without those before it."""
    async with running(path) as engine, trio.open_nursery() as nursery:
        done = {"alice": 0, "bob": 0}

        async def notify(user: str) -> None:
            while True:
                await put(engine, user, note(f"{done[user]}"))
                done[user] += 1

        for user in done:
            nursery.start_soon(notify, user)
        while min(done.values()) < 50:
            await trio.testing.wait_all_tasks_blocked()
        before = dict(done)
        await trio.to_thread.run_sync(back_up, path, copy)
        after = dict(done)
        nursery.cancel_scope.cancel()
    async with running(copy) as restored:
        for user in done:
            items = list((await restored.read(user)).mailbox.items)

            assert before[user] <= len(items) <= after[user] + 1 or len(items) == 200
            assert sorted(map(int, items)) == list(map(int, items))


async def test_restored_copy_has_new_epochs(path, copy):
    """Each restored copy has epochs of its own, so clients reset their state."""
    users = ("alice", "bob", "nobody")
    async with running(path) as engine:
        await engine.apply([(user, note("1", source="s")) for user in users[:2]])
        before = await epochs(engine, *users)
        back_up(path, copy)
        assert before == await epochs(engine, *users)
    users = users[:2]  # a mailbox that was never written has no stored epoch
    shutil.copy(copy, path.with_name("again.db"))
    async with running(copy) as restored:
        # Both a write and a read start the new epoch.
        applied = await put(restored, "alice", note("2"))
        after = await epochs(restored, *users)
        holders = await restored.holders(Retract(source="s"))
        assert ["1", "2"] == list((await restored.read("alice")).mailbox.items)
    async with running(copy) as restored:
        assert after == await epochs(restored, *users)
    async with running(path.with_name("again.db")) as again:
        once_more = await epochs(again, *users)

    assert applied.badge.epoch == after[0]
    assert sorted(holders) == ["alice", "bob"]
    assert 7 == len({*before, *after, *once_more})


@pytest.mark.parametrize("has_lock_file", [True, False])
async def test_copy_that_no_backup_has_made(path, copy, has_lock_file):
    """A file that was copied by hand and put back has new epochs, as a backup has."""
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        before = await epochs(engine, "alice")
    shutil.copy(path, copy)
    async with running(path) as engine:
        assert before == await epochs(engine, "alice")
        await put(engine, "alice", note("2"))
    shutil.copy(copy, path)
    if not has_lock_file:
        path.with_name(path.name + ".lock").unlink()
    async with running(path) as engine:
        after = await epochs(engine, "alice")
        await put(engine, "alice", note("3"))
    async with running(path) as engine:
        again = await epochs(engine, "alice")

    assert before != after == again


async def test_existing_file_is_not_overwritten(path, copy):
    """A backup does not replace a file, and two backups do not share a partial file."""
    await open_once(path)
    copy.write_text("yesterday's")
    with pytest.raises(FileExistsError, match="exists: give another"):
        back_up(path, copy)
    with pytest.raises(FileExistsError, match="exists: give another"):
        back_up(path, Path())
    copy.with_name("new.db.part").touch()
    with pytest.raises(FileExistsError, match="another backup is running"):
        back_up(path, copy.with_name("new.db"))

    assert copy.read_text() == "yesterday's"


async def test_failed_backup_leaves_no_file(path, copy, tmp_path):
    """A failed backup removes its partial copy."""
    await fill_pages(path)
    damage(path)
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("Dear diary, " * 99)
    for source, reason in [
        (path, "is damaged"),
        (tmp_path / "empty", "is empty"),
        (tmp_path / "text", "is not a database"),
        (tmp_path / "missing", "no such file"),
    ]:
        with pytest.raises(OSError, match=reason):
            back_up(source, copy)
    with pytest.raises(OSError, match="cannot create"):
        back_up(path, tmp_path / "no" / "copy.db")

    assert [] == [file for file in tmp_path.iterdir() if "copy" in file.name]


async def test_command(path, copy):
    """`roundel backup` copies a file that is in use."""
    async with running(path) as engine:
        await put(engine, "alice", note("1"))
        engine_setting = f"sqlite:{path}"
        done = await trio.to_thread.run_sync(
            lambda: run("backup", str(copy), "--engine", engine_setting)
        )
        again = run("backup", str(copy), "--engine", engine_setting)
        other = run("backup", str(copy))

    assert (0, 1, 2) == (done.returncode, again.returncode, other.returncode), (
        done.stderr
    )
    assert str(copy) in done.stdout
    assert "exists: give another" in again.stderr
    assert "expected sqlite:PATH" in other.stderr
    assert [("alice",)] == fetch_all(copy, "SELECT name FROM mailbox")
    execute(copy, "PRAGMA integrity_check")


async def test_copy_has_another_secret(path, copy):
    """A copy in foreign hands signs no ticket for the service that it is a copy of."""
    async with running(path) as engine:
        secret = await engine.secret()
        await trio.to_thread.run_sync(back_up, path, copy)
    async with running(copy) as restored:
        assert secret != await restored.secret()
    assert secret not in copy.read_bytes()
    async with running(path) as engine:
        assert secret == await engine.secret()


async def test_file_of_an_earlier_version_gets_a_secret(path):
    """A file without a secret gets one, which it keeps."""
    await open_once(path)
    execute(path, "DELETE FROM meta WHERE key = 'secret'")
    secrets = set()
    for _ in range(2):
        async with running(path) as engine:
            secrets.add(await engine.secret())

    assert 1 == len(secrets)
