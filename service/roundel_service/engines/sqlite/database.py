"""The database file: opening, checks, and the queries of both threads."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple, final

import msgspec

from ..codec.errors import RecordDecodeError, describe
from . import schema
from .batch_statements import insert_rows, write_mailboxes
from .connection import (
    Durability,
    connect,
    create,
    decode_name,
    describe_error,
    empty_log,
    encode_bytes,
    fsync,
    open_read_only,
    prepare,
    refuses_writes,
    schema_version,
)
from .file_lock import FileLock
from .identity import next_identity, read_meta, write_meta
from .migration import convert
from .rows import BatchRows, encode_text, split

LOG_SUFFIXES: Final = ("-wal", "-shm")
"""Suffixes of the write-ahead log and of its index."""

MAX_LOAD_BYTES: Final = 128 * 1024 * 1024
"""Maximum length of a loaded text; mailboxes that are longer together load singly."""

PROBE_BYTES: Final = 65_536
"""Size of a test write in bytes."""

MIN_FREE_PAGES: Final = 256
"""Number of free pages, of 4 KiB, that the file keeps."""

SHRINK_PAGES: Final = 256
"""Maximum number of pages that are given back in one step, which takes a few ms."""


@final
class IdleMailbox(NamedTuple):
    """A mailbox that may be idle; *last_entry* is the number of its last one, or 0."""

    name: str
    active_at: float
    id: int
    last_entry: int


@final
class Database:
    """An open database, for one writing and one reading thread at a time.

    Raises `OSError` if the file is not usable. If the disk only refuses writes, the
    file is opened for reading, `refusal` has the reason, and each later write tries to
    open the file again.
    """

    def __init__(
        self,
        path: Path,
        durability: Durability,
        max_claims: int,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        self._given_path = path.absolute()
        self._lock = FileLock(path)
        self.path: Path = self._lock.path
        self._durability, self._max_claims = durability, max_claims
        self._checkpoint = checkpoint
        self.refusal: Exception | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._reading = Lock()
        try:
            self._open_or_read()
        except sqlite3.Error as error:
            self.close()
            raise OSError(describe_error(path, error)) from None
        except BaseException:
            self.close()
            raise

    def _open_or_read(self) -> None:
        """Open the file for writing, or only for reading if the disk refuses writes."""
        try:
            self._lock.acquire()
            self._open()
            self.refusal = None
        except (sqlite3.Error, OSError) as error:
            self._close_connections()
            if not refuses_writes(error) or not self._open_for_reading():
                raise
            cause = error.__cause__
            self.refusal = cause if isinstance(cause, Exception) else error

    def _open(self) -> None:
        self._writer = writer = self._connect()
        found = schema_version(writer, self.path)
        prepare(writer, self.path, self._durability)
        if not found:
            create(writer, schema.CREATE, schema.VERSION)
        meta = read_meta(writer)
        identity = next_identity(meta, self._durability, self._lock.token)
        self._write_identity(writer, identity, meta)
        self._use(connect(self.path), identity)
        # The log exists as long as a connection is open.
        log_paths = [self.path.with_name(self.path.name + it) for it in LOG_SUFFIXES]
        self._files = {path: _inode(path) for path in (self._given_path, *log_paths)}
        fsync(self.path.parent)

    def _connect(self) -> sqlite3.Connection:
        """Open the writing connection; convert the file if its schema is older."""
        writer = connect(self.path)
        try:
            found = schema_version(writer, self.path)
            if found in (0, schema.VERSION):
                return writer
        except BaseException:
            writer.close()
            raise
        writer.close()
        convert(self.path, found, time.time(), self._checkpoint)
        return connect(self.path)

    def _write_identity(
        self,
        writer: sqlite3.Connection,
        identity: Mapping[str, str],
        meta: Mapping[str, str],
    ) -> None:
        """Store what has changed, and the same token in both files."""
        before = self._lock.token
        self._lock.write_token(identity["token"], sync=self._durability == "full")
        try:
            write_meta(writer, identity.items() - meta.items())
        except sqlite3.Error:
            self._lock.write_token(before)
            raise

    def _open_for_reading(self) -> bool:
        connection = open_read_only(self.path)
        if connection is None:
            return False
        meta = read_meta(connection)
        # A file of an unknown origin is of another generation until it can be written.
        identity = next_identity(meta, self._durability, self._lock.token)
        if identity["secret"] != meta.get("secret"):
            connection.close()
            return False
        self._use(connection, identity)
        self._files = {self._given_path: _inode(self._given_path)}
        return True

    def _use(self, reader: sqlite3.Connection, identity: Mapping[str, str]) -> None:
        reader.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_LOAD_BYTES)
        reader.execute("PRAGMA query_only = 1")
        reader.execute("PRAGMA cell_size_check = 1")
        self.last_id: int = reader.execute(schema.LAST_ID).fetchone()[0]
        self.last_entry: int = reader.execute(schema.LAST_ENTRY).fetchone()[0]
        self.generation: str = identity["generation"]
        self.secret: bytes = identity["secret"].encode()
        # One text holds many mailboxes, and SQLite does not check its encoding.
        reader.text_factory = bytes
        self._reader = reader

    def check_path(self) -> None:
        """Raise `OSError` if the path no longer names the open file and its log."""
        with suppress(FileNotFoundError):
            if all(_inode(path) == inode for path, inode in self._files.items()):
                return
        raise FileNotFoundError("the file or its log was removed, moved or replaced")

    def _require_writer(self) -> sqlite3.Connection:
        if self.refusal is not None:
            # The reading connection can have a lock that excludes all others.
            with self._reading:
                self._close_connections()
                self._open_or_read()
        if self.refusal is not None:
            raise self.refusal
        assert self._writer is not None, "open without a refusal"
        return self._writer

    def write(self, rows: BatchRows) -> None:
        """Write and commit one batch, or nothing of it."""
        writer = self._require_writer()
        writer.execute("BEGIN IMMEDIATE")
        try:
            write_mailboxes(writer, rows)
            if rows.claims:
                self._write_claims(writer, rows)
            writer.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
            raise

    def _write_claims(self, writer: sqlite3.Connection, rows: BatchRows) -> None:
        writer.execute(schema.EXPIRE_CLAIMS, (rows.now,))
        insert_rows(writer, schema.INSERT_CLAIMS, rows.claims, rows.now)
        writer.execute(schema.EVICT_CLAIMS, (self._max_claims,))

    def claim_values(self, keys: list[str]) -> dict[str, bytes]:
        """Return the values of *keys*, as JSON."""
        encoded = msgspec.json.encode([encode_text(key) for key in keys]).decode()
        writer = self._require_writer()
        (found,) = writer.execute(schema.CLAIM_VALUES, (encoded,)).fetchone()
        rows = (row.partition(schema.CELL) for row in split(found, schema.ROW))
        values = {key: value for key, _, value in rows}
        return {key: values.get(encode_text(key).encode(), b"") for key in keys}

    def check_writable(self) -> None:
        """Make a test write, and check that all tables are there."""
        writer = self._require_writer()
        writer.execute(
            "INSERT OR REPLACE INTO meta VALUES ('probe', hex(randomblob(?)))",
            (PROBE_BYTES // 2,),
        )
        writer.execute(schema.CHECK_TABLES)

    def empty_log(self) -> bool:
        """Empty the write-ahead log; return false if a reader needs it."""
        return self._writer is None or empty_log(self._writer)

    def shrink(self) -> bool:
        """Give some free pages back to the disk; return whether there are more.

        Some stay, because snapshots and entries need them again at once.
        """
        if self._writer is None:
            return False
        (free,) = self._writer.execute("PRAGMA freelist_count").fetchone()
        (pages,) = self._writer.execute("PRAGMA page_count").fetchone()
        surplus = free - max(MIN_FREE_PAGES, pages // 8)
        if surplus <= 0:
            return False
        steps = min(surplus, SHRINK_PAGES)
        self._writer.execute(f"PRAGMA incremental_vacuum({steps})").fetchall()
        return bool(surplus > steps)

    def idle(
        self, before: float, after: tuple[float, int], limit: int
    ) -> list[IdleMailbox]:
        """Return up to *limit* mailboxes without a snapshot since *before*.

        They come after the one with the time and id *after*, oldest first.
        """
        with self._reading:
            if self._reader is None:
                return []
            query = self._reader.execute(schema.IDLE, (before, *after, limit))
            return [IdleMailbox(decode_name(name), *rest) for name, *rest in query]

    def load(self, users: list[str]) -> list[bytes]:
        """Return the stored mailboxes of *users*, one text each.

        Raises `RecordDecodeError` if they are too long.
        """
        try:
            found = self._text(schema.LOAD, msgspec.json.encode(users).decode())
        except (sqlite3.DataError, MemoryError, ValueError) as error:
            raise RecordDecodeError(describe(error)) from None
        return split(found, schema.USER)

    def load_one(self, user: str) -> tuple[int, bytes] | None:
        """Return the row id and the stored mailbox of *user*, or `None`.

        The mailbox is empty if its text is too long, or contains a separator.
        """
        found = self._row(schema.FIND, encode_bytes(user))
        if found is None:
            return None
        with suppress(RecordDecodeError):
            texts = self.load([user])
            if len(texts) == 1:
                return found[0], texts[0]
        return found[0], b""

    def users(self, after: str | None, limit: int) -> list[str]:
        """Return up to *limit* users after *after*."""
        name = None if after is None else encode_bytes(after)
        found = split(self._text(schema.USERS, name, limit), schema.ROW)
        return list(map(decode_name, found))

    def holders(self, tag: str) -> list[str]:
        """Return the users with an item that has *tag*, as JSON."""
        found = split(self._text(schema.HOLDERS, tag), schema.ROW)
        return list(map(decode_name, found))

    def claimed(self, key: str, now: float) -> bytes | None:
        """Return the value of *key*; both are JSON."""
        return self._text(schema.CLAIMED, key, now)

    def _text(
        self, query: str, *parameters: str | bytes | float | None
    ) -> bytes | None:
        found = self._row(query, *parameters)
        return found[0] if found else None

    def _row(
        self, query: str, *parameters: str | bytes | float | None
    ) -> tuple[Any] | None:
        with self._reading:
            if self._reader is None:
                raise sqlite3.OperationalError("the file cannot be opened again")
            found: tuple[Any] | None = self._reader.execute(
                query, parameters
            ).fetchone()
        return found

    def close(self) -> None:
        """Close the file and release its lock."""
        self._close_connections()
        self._lock.release()

    def _close_connections(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None


def _inode(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
