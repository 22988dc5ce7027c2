"""The database file: opening, checks, migration, and the queries of both threads.

The *generation* changes each time that acknowledged writes may be missing: in a
restored backup, and after a crash of the machine without full durability. A record of
an earlier generation continues in a new epoch, so clients notice that versions may be
missing.

Each start writes a new *token* to the database and to its lock file. A database with
another token than its lock file is a copy from before, put back without the engine's
knowledge, and gets a new generation too.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Set
from contextlib import suppress
from pathlib import Path
from secrets import token_urlsafe
from threading import Lock
from typing import Any, Final, Literal, final

import msgspec

from ..codec.errors import RecordDecodeError, describe
from . import schema
from .connection import (
    Durability,
    connect,
    describe_error,
    empty_log,
    encode_bytes,
    fsync,
    migrate,
    open_read_only,
    prepare,
    refuses_writes,
    schema_version,
)
from .file_lock import FileLock
from .rows import Parameters, encode_text, split

LOG_SUFFIXES: Final = ("-wal", "-shm")
"""Suffixes of the write-ahead log and of its index."""

MAX_LOAD_BYTES: Final = 128 * 1024 * 1024
"""Maximum length of a loaded text; mailboxes that are longer together load singly."""

PROBE_BYTES: Final = 65_536
"""Size of a test write in bytes."""


@final
class Database:
    """An open database, for one writing and one reading thread at a time.

    Raises `OSError` if the file is not usable. If the disk only refuses writes, the
    file is opened for reading, `refusal` has the reason, and each later write tries to
    open the file again.
    """

    def __init__(self, path: Path, durability: Durability, max_claims: int) -> None:
        self._given_path = path.absolute()
        self._lock = FileLock(path)
        self.path: Path = self._lock.path
        self._durability, self._max_claims = durability, max_claims
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
        self._writer = writer = connect(self.path)
        found = schema_version(writer, self.path)
        prepare(writer, self.path, self._durability)
        migrate(writer, found, schema.STEPS)
        max_claims = str(self._max_claims)
        writer.executescript(schema.BATCH_VIEW.replace("{max_claims}", max_claims))
        meta = _read_meta(writer)
        identity = _identity(meta, self._durability, self._lock.token)
        self._write_identity(writer, identity, meta)
        self._use(connect(self.path), identity)
        # The log exists as long as a connection is open.
        log_paths = [self.path.with_name(self.path.name + it) for it in LOG_SUFFIXES]
        self._files = {path: _inode(path) for path in (self._given_path, *log_paths)}
        fsync(self.path.parent)

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
            _write_meta(writer, identity.items() - meta.items())
        except sqlite3.Error:
            self._lock.write_token(before)
            raise

    def _open_for_reading(self) -> bool:
        connection = open_read_only(self.path)
        if connection is None:
            return False
        meta = _read_meta(connection)
        # A file of an unknown origin is of another generation until it can be written.
        identity = _identity(meta, self._durability, self._lock.token)
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
        self.generation: str = identity["generation"]
        self.secret: bytes = identity["secret"].encode()
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

    def write(self, parameters: Parameters) -> None:
        """Write and commit one batch."""
        self._require_writer().execute(schema.INSERT_BATCH, parameters)

    def claim_values(self, keys: list[str]) -> dict[str, str]:
        """Return the values of *keys*, as JSON."""
        encoded = msgspec.json.encode([encode_text(key) for key in keys]).decode()
        writer = self._require_writer()
        (found,) = writer.execute(schema.CLAIM_VALUES, (encoded,)).fetchone()
        rows = (row.partition(schema.CELL) for row in split(found, schema.ROW))
        values = {key: value for key, _, value in rows}
        return {key: values.get(encode_text(key), "") for key in keys}

    def check_writable(self) -> None:
        """Make a test write, and write an empty batch, which needs all tables."""
        self._require_writer().execute(
            "INSERT OR REPLACE INTO meta VALUES ('probe', hex(randomblob(?)))",
            (PROBE_BYTES // 2,),
        )
        self.write(schema.EMPTY_BATCH)

    def empty_log(self) -> bool:
        """Empty the write-ahead log; return false if a reader needs it."""
        return self._writer is None or empty_log(self._writer)

    def load(self, users: list[str]) -> list[str]:
        """Return the stored mailboxes of *users*, one text each.

        Raises `RecordDecodeError` if they are too long.
        """
        try:
            found = self._text(schema.LOAD, msgspec.json.encode(users).decode())
        except (sqlite3.DataError, MemoryError, ValueError) as error:
            raise RecordDecodeError(describe(error)) from None
        return split(found, schema.USER)

    def load_one(self, user: str) -> tuple[int, str] | None:
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
        return found[0], ""

    def users(self, after: str | None, limit: int) -> list[str]:
        """Return up to *limit* users after *after*."""
        name = None if after is None else encode_bytes(after)
        return split(self._text(schema.USERS, name, limit), schema.ROW)

    def holders(self, column: Literal["source", "place"], value: str) -> list[str]:
        """Return the users with an item that has *value* in *column*."""
        return split(self._text(schema.HOLDERS[column], value), schema.ROW)

    def claimed(self, key: str, now: float) -> str | None:
        """Return the value of *key*; both are JSON."""
        return self._text(schema.CLAIMED, key, now)

    def _text(self, query: str, *parameters: str | bytes | float | None) -> str | None:
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


def _read_meta(connection: sqlite3.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT key, value FROM meta WHERE key <> 'probe'")
    # A damaged value is replaced by a new one.
    return {key: it for key, it in rows if isinstance(it, str) and it.isascii()}


def _write_meta(connection: sqlite3.Connection, new: Set[tuple[str, str]]) -> None:
    if new:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", new)
        connection.execute("COMMIT")


def _identity(
    meta: Mapping[str, str], durability: Durability, token: str
) -> dict[str, str]:
    """Return the current *generation* and the *secret*, new ones where needed.

    *token* is that of the lock file; if it differs, the file is a copy from before.
    """
    boot, risked = _boot_id(), meta.get("risked", "")
    generation = meta.get("generation")
    if risked not in ("", boot):
        # The machine restarted, so the last acknowledged writes may be missing.
        generation = risked = ""
    if meta.get("token", token) != token:
        generation = ""
    return {
        "secret": meta.get("secret") or token_urlsafe(32),
        "generation": generation or token_urlsafe(9),
        "risked": risked if durability == "full" else boot,
        "token": token_urlsafe(9),
    }


def _boot_id() -> str:
    """Return an id of the machine's current boot; random if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return token_urlsafe(9)


def _inode(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
