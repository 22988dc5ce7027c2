"""Connections to the database file, and the meaning of their errors."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

from . import schema

Durability: TypeAlias = Literal["full", "normal", "off"]

CHECKPOINT_PAGES: Final = 4_000
"""Length of the write-ahead log, in pages, at which SQLite makes a checkpoint."""

MAX_WAL_BYTES: Final = 64 * 1024 * 1024
"""Size in bytes to which the write-ahead log is truncated after a checkpoint."""

BUSY_TIMEOUT: Final = 5.0
"""Timeout in seconds for a lock of another process on the file."""

CACHED_STATEMENTS: Final = 512
"""Prepared statements that a connection keeps: one for each number of rows."""

MIN_FREE: Final = 1 << 20
"""Free space in bytes below which an error of the disk is one of its space."""

_REFUSED: Final = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
)


def is_damage(error: Exception) -> bool:
    """Return whether *error* means that the file is damaged."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_full(error: BaseException) -> bool:
    """Return whether *error* means that the disk of the written file is full."""
    return _code(error) == sqlite3.SQLITE_FULL


def describe_error(path: Path, error: Exception) -> str:
    """Return what is wrong with the file and what an operator can do."""
    if is_damage(error):
        return f"{path} is damaged ({error}): stop, and restore a backup"
    if lacks_space(path, error):
        return f"no space left for {path} ({error}): free some, and the engine recovers"
    return f"{path} is unavailable ({error})"


def refuses_writes(error: Exception) -> bool:
    """Return whether *error* means that the disk takes no writes, but can be read."""
    cause = error.__cause__ or error
    if isinstance(cause, sqlite3.Error):
        return _code(cause) in _REFUSED
    return getattr(cause, "errno", None) in (errno.EROFS, errno.ENOSPC, errno.EDQUOT)


def lacks_space(path: Path, error: BaseException) -> bool:
    """Return whether the write to *path* that raised *error* found a full disk."""
    if is_full(error):
        return True
    # Without space for the index of the log, SQLite reports an error of the disk.
    if _code(error) != sqlite3.SQLITE_IOERR:
        return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    with suppress(OSError):
        return shutil.disk_usage(path.parent).free < MIN_FREE
    return False


def _code(error: BaseException) -> int:
    # The lower byte is the primary result code.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def connect(path: Path, query: str = "mode=rw") -> sqlite3.Connection:
    """Open a connection for one thread at a time."""
    uri = f"{path.absolute().as_uri()}?{query}"
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        cached_statements=CACHED_STATEMENTS,
        check_same_thread=False,
    )
    connection.text_factory = decode_name
    return connection


def decode_name(stored: bytes) -> str:
    """Return a stored name as text, also if it is no UTF-8."""
    return stored.decode("utf-8", "surrogateescape")


def encode_bytes(text: str) -> bytes:
    """Return the stored bytes of a *text* that was read, also if it is no UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def schema_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the schema, 0 for an empty file; raises `OSError`."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise OSError(
                f"{path} is not a database, or damaged ({error}): "
                "give another path, or restore a backup"
            ) from None
        raise OSError(describe_error(path, error)) from error
    if (application, found, tables) == (0, 0, 0):
        return 0
    if application != schema.APPLICATION:
        raise OSError(
            f"{path} is the database of another application: give another path"
        )
    if found > schema.VERSION:
        raise OSError(
            f"{path} was written by a newer Roundel (schema {found}, expected at most "
            f"{schema.VERSION}): run that version, or restore an older backup"
        )
    return int(found)


def create(connection: sqlite3.Connection, script: str, version: int) -> None:
    """Run the script that creates *version* of the schema, in a transaction."""
    connection.executescript(
        f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {version}; "
        f"PRAGMA application_id = {schema.APPLICATION}; COMMIT;"
    )


def open_read_only(path: Path) -> sqlite3.Connection | None:
    """Open a connection without a write to the disk, or return `None`.

    The file must have the current schema.
    """
    for connection in _read_only_connections(path):
        try:
            if schema_version(connection, path) == schema.VERSION:
                return connection
        except OSError:
            pass
        connection.close()
    return None


def _read_only_connections(path: Path) -> Iterator[sqlite3.Connection]:
    # Without a log: no lock, no index, and nothing changes the file meanwhile.
    log_path = path.with_name(path.name + "-wal")
    if not log_path.exists() or not log_path.stat().st_size:
        with suppress(sqlite3.Error):
            yield connect(path, "mode=ro&immutable=1")
    # On a full disk: the index of the log is in memory if no other process has it.
    with suppress(sqlite3.Error):
        connection = connect(path)
        connection.execute("PRAGMA locking_mode = exclusive")
        yield connection
    # On a read-only file system, with the log and its index.
    with suppress(sqlite3.Error):
        yield connect(path, "mode=ro")


def prepare(connection: sqlite3.Connection, path: Path, durability: Durability) -> None:
    """Set the pragmas of the writing connection; raises `OSError` without a WAL."""
    # Before the first table, so that the space of deleted mailboxes can be given back.
    connection.execute("PRAGMA auto_vacuum = incremental")
    (mode,) = connection.execute("PRAGMA journal_mode = wal").fetchone()
    if mode != "wal":
        raise OSError(
            f"{path}: the file system does not support a write-ahead log (WAL): "
            "give another path"
        )
    # What is deleted must not stay readable in the free space of the file.
    connection.executescript(f"""
        PRAGMA secure_delete = on;
        PRAGMA synchronous = {durability};
        PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
        PRAGMA journal_size_limit = {MAX_WAL_BYTES};
        PRAGMA foreign_keys = 0;
        PRAGMA cell_size_check = 1;
        PRAGMA temp_store = memory;
        PRAGMA cache_size = -16384;
    """)


def empty_log(writer: sqlite3.Connection) -> bool:
    """Move the write-ahead log into the file; return false if a reader needs it."""
    # The thread of the writer does not wait for a reader.
    writer.execute("PRAGMA busy_timeout = 0")
    try:
        (is_busy, *_) = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        writer.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1_000)}")
    return not is_busy


def fsync(path: Path) -> None:
    """Make a file, or the names in a folder, durable; SQLite syncs only its log."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
