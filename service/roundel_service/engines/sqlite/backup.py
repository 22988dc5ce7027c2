"""Online backup of the database of the SQLite engine."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from .connection import (
    connect,
    describe_error,
    fsync,
    is_full,
    open_read_only,
    refuses_writes,
    schema_version,
)
from .file_lock import check_sole_name, real_path


def back_up(source: Path, destination: Path) -> None:
    """Copy a consistent snapshot of *source*, which may be in use.

    The copy is checked and on the disk when this returns. An engine that opens it
    starts a new epoch for each mailbox, so clients notice that versions may be missing.
    Raises `OSError`, and removes the partial copy.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file")
    check_sole_name(real_path(source))
    part = _create_part(destination)
    try:
        _copy(source, part)
        fsync(part)
        # Unlike a rename, a link does not replace an existing file.
        os.link(part, destination)
    except sqlite3.Error as error:
        if is_full(error):
            raise OSError(f"no space left for {destination}") from None
        raise OSError(describe_error(source, error)) from None
    except FileExistsError:
        raise _exists(destination) from None
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                part.with_name(part.name + suffix).unlink()
    fsync(destination.parent)


def _create_part(destination: Path) -> Path:
    if destination.exists():
        raise _exists(destination)
    part = destination.with_name(destination.name + ".part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise FileExistsError(
            f"{part} exists: another backup is running, or one was interrupted; "
            "remove the file in that case"
        ) from None
    except OSError as error:
        raise OSError(f"cannot create {part}: {error.strerror}") from None
    return part


def _exists(destination: Path) -> FileExistsError:
    return FileExistsError(f"{destination} exists: give another path")


def _open(source: Path) -> sqlite3.Connection:
    connection = connect(source)
    try:
        version = schema_version(connection, source)
    except OSError as error:
        connection.close()
        # The index of the log needs space, and a full disk can still be copied.
        if refuses_writes(error) and (readable := open_read_only(source)):
            return readable
        raise
    if not version:
        connection.close()
        raise OSError(f"{source} is empty")
    return connection


def _copy(source: Path, part: Path) -> None:
    with closing(_open(source)) as original, closing(connect(part)) as copy:
        # All pages in one step: SQLite would restart the copy after a write.
        original.backup(copy, pages=-1)
        copy.execute("PRAGMA journal_mode = delete")
        (result,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if result != "ok":
            raise OSError(f"{source} is damaged and was not copied: {result}")
        # Each engine that opens a copy creates a new generation, and a new secret: with
        # that of the source, a copy would allow to forge tickets for the source. Some
        # builds of SQLite would leave it in the free space of its page.
        copy.execute("PRAGMA secure_delete = 1")
        values = "('generation', 'probe', 'risked', 'secret', 'token')"
        copy.execute(f"DELETE FROM meta WHERE key IN {values}")  # noqa: S608
