"""A copy of the file of the SQLite engine, made while it is in use."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from .database import connect, describe_error, fsync_folder, schema_version


def back_up(source: Path, destination: Path) -> None:
    """Copy the file at *source* as it is at one moment; it may be in use.

    The copy is checked and on the disk when this returns. An engine that is started
    with it tells every client that what it knows may be of another line of versions.
    Raises `OSError`, and leaves nothing behind.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: there is no such file")
    part = destination.with_name(destination.name + ".part")
    _make(destination, part)
    try:
        _copy(source, part)
        _sync(part)
        # Unlike a rename, this takes nobody's place.
        os.link(part, destination)
    except sqlite3.Error as error:
        raise OSError(describe_error(source, error)) from None
    except FileExistsError:
        raise _taken(destination) from None
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                part.with_name(part.name + suffix).unlink()
    fsync_folder(destination.parent)


def _make(destination: Path, part: Path) -> None:
    if destination.exists():
        raise _taken(destination)
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise FileExistsError(
            f"{part}: is there already: another backup is being made, or one was "
            "interrupted, and then it can be removed"
        ) from None
    except OSError as error:
        raise OSError(f"{part}: cannot be made ({error.strerror})") from None


def _taken(destination: Path) -> FileExistsError:
    return FileExistsError(f"{destination}: is there already: give another path")


def _copy(source: Path, part: Path) -> None:
    with closing(connect(source)) as original, closing(connect(part)) as copy:
        if not schema_version(original, source):
            raise OSError(f"{source}: is empty")
        # All pages at once: whoever writes meanwhile would have it begin anew.
        original.backup(copy, pages=-1)
        copy.execute("PRAGMA journal_mode = delete")
        (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise OSError(f"{source} is damaged ({found}): there is no good copy of it")
        # The next who opens it makes up another one, each time that it is restored.
        copy.execute("DELETE FROM meta WHERE key IN ('generation', 'probe', 'risked')")


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
