"""The database file: opening, checks, migration, and the queries of both threads.

The *generation* changes each time that acknowledged writes may be missing: in a
restored backup, and after a crash of the machine without full durability. A record of
an earlier generation continues in a new epoch, so clients notice that versions may be
missing.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_urlsafe
from typing import Final, Literal, TypeAlias, final

import msgspec

from ..deserialization import RecordDecodeError, describe
from . import schema
from .file_lock import FileLock
from .rows import Parameters, encode_text, split

Durability: TypeAlias = Literal["full", "normal", "off"]

CHECKPOINT_PAGES: Final = 4_000
"""Length of the write-ahead log, in pages, at which SQLite makes a checkpoint."""

MAX_WAL_BYTES: Final = 64 * 1024 * 1024
"""Size in bytes to which the write-ahead log is truncated after a checkpoint."""

BUSY_TIMEOUT: Final = 5.0
"""Timeout in seconds for a lock of another process on the file."""

LOG_SUFFIXES: Final = ("-wal", "-shm")
"""Suffixes of the write-ahead log and of its index."""

MAX_LOAD_BYTES: Final = 128 * 1024 * 1024
"""Maximum length of a loaded text; mailboxes that are longer together load singly."""

PROBE_BYTES: Final = 65_536
"""Size of a test write in bytes."""


def is_damage(error: Exception) -> bool:
    """Return whether *error* means that the file is damaged."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def describe_error(path: Path, error: Exception) -> str:
    """Return what is wrong with the file and what an operator can do."""
    if is_damage(error):
        return f"{path} is damaged ({error}): stop, and restore a backup"
    if _code(error) == sqlite3.SQLITE_FULL:
        return f"no space left for {path} ({error}): free some, and the engine recovers"
    return f"{path} is unavailable ({error})"


def _code(error: Exception) -> int:
    # The lower byte is the primary result code.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection for one thread at a time."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )
    # SQLite does not check the encoding of a text, and one text holds many mailboxes.
    connection.text_factory = _decode_text
    return connection


def _decode_text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogateescape")


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
        raise OSError(describe_error(path, error)) from None
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


def migrate(connection: sqlite3.Connection, found: int, steps: Sequence[str]) -> None:
    """Run the migrations that the file lacks, each in a transaction."""
    for number, step in enumerate(steps[found:], found + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; "
            f"PRAGMA application_id = {schema.APPLICATION}; COMMIT;"
        )


@final
class Database:
    """An open database, for one writing and one reading thread at a time.

    Raises `OSError` if the file is not usable.
    """

    def __init__(self, path: Path, durability: Durability, max_claims: int) -> None:
        self._lock = FileLock(path)
        self.path = self._lock.path
        self._given_path = path.absolute()
        try:
            self._open(durability, max_claims)
        except sqlite3.Error as error:
            self.close()
            raise OSError(describe_error(path, error)) from None
        except BaseException:
            self.close()
            raise

    def _open(self, durability: Durability, max_claims: int) -> None:
        self._writer = connect(self.path)
        found = schema_version(self._writer, self.path)
        _prepare(self._writer, self.path, durability)
        migrate(self._writer, found, schema.STEPS)
        self._writer.executescript(
            schema.BATCH_VIEW.replace("{max_claims}", str(max_claims))
        )
        identity = _identity(self._writer, durability)
        self.generation = identity["generation"]
        self.secret = identity["secret"].encode()
        (self.last_id,) = self._writer.execute(schema.LAST_ID).fetchone()
        self._reader = connect(self.path)
        self._reader.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_LOAD_BYTES)
        self._reader.execute("PRAGMA query_only = 1")
        self._reader.execute("PRAGMA cell_size_check = 1")
        # The log exists since the write of the identity, as long as it is open.
        log_paths = [self.path.with_name(self.path.name + it) for it in LOG_SUFFIXES]
        self._files = {path: _inode(path) for path in (self._given_path, *log_paths)}
        fsync(self.path.parent)

    def check_path(self) -> None:
        """Raise `OSError` if the path no longer names the open file and its log."""
        with suppress(FileNotFoundError):
            if all(_inode(path) == inode for path, inode in self._files.items()):
                return
        raise FileNotFoundError("the file or its log was removed, moved or replaced")

    def write(self, parameters: Parameters) -> None:
        """Write and commit one batch."""
        self._writer.execute(schema.INSERT_BATCH, parameters)

    def claim_values(self, keys: list[str]) -> dict[str, str]:
        """Return the values of *keys*, as JSON."""
        encoded = msgspec.json.encode([encode_text(key) for key in keys]).decode()
        (found,) = self._writer.execute(schema.CLAIM_VALUES, (encoded,)).fetchone()
        rows = (row.partition(schema.CELL) for row in split(found, schema.ROW))
        values = {key: value for key, _, value in rows}
        return {key: values.get(encode_text(key), "") for key in keys}

    def check_writable(self) -> None:
        """Make a test write."""
        self._writer.execute(
            "INSERT OR REPLACE INTO meta VALUES ('probe', hex(randomblob(?)))",
            (PROBE_BYTES // 2,),
        )

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
        try:
            found = self._reader.execute(schema.FIND, (user,)).fetchone()
            texts = self.load([user]) if found else []
        except ValueError:
            texts = []
        return found and (found[0], texts[0] if len(texts) == 1 else "")

    def users(self, after: str | None, limit: int) -> list[str]:
        """Return up to *limit* users after *after*."""
        return split(self._text(schema.USERS, after, limit), schema.ROW)

    def holders(self, column: Literal["source", "place"], value: str) -> list[str]:
        """Return the users with an item that has *value* in *column*."""
        return split(self._text(schema.HOLDERS[column], value), schema.ROW)

    def claimed(self, key: str, now: float) -> str | None:
        """Return the value of *key*; both are JSON."""
        return self._text(schema.CLAIMED, key, now)

    def _text(self, query: str, *parameters: str | float | None) -> str | None:
        found: tuple[str | None] | None = self._reader.execute(
            query, parameters
        ).fetchone()
        return found[0] if found else None

    def close(self) -> None:
        """Close the file and release its lock."""
        for name in ("_reader", "_writer"):
            if connection := self.__dict__.pop(name, None):
                connection.close()
        self._lock.release()


def _prepare(
    connection: sqlite3.Connection, path: Path, durability: Durability
) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = wal").fetchone()
    if mode != "wal":
        raise OSError(
            f"{path}: the file system does not support a write-ahead log (WAL): "
            "give another path"
        )
    connection.executescript(f"""
        PRAGMA synchronous = {durability};
        PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
        PRAGMA journal_size_limit = {MAX_WAL_BYTES};
        PRAGMA foreign_keys = 0;
        PRAGMA cell_size_check = 1;
        PRAGMA temp_store = memory;
        PRAGMA cache_size = -16384;
    """)


def _identity(connection: sqlite3.Connection, durability: Durability) -> dict[str, str]:
    """Return the current *generation* and the *secret*; create missing ones."""
    meta = dict(connection.execute("SELECT key, value FROM meta WHERE key <> 'probe'"))
    boot, risked = _boot_id(), meta.get("risked", "")
    if risked not in ("", boot):
        # The machine restarted, so the last acknowledged writes may be missing.
        meta["generation"] = risked = ""
    values = {
        "secret": meta.get("secret") or token_urlsafe(32),
        "generation": meta.get("generation") or token_urlsafe(9),
        "risked": risked if durability == "full" else boot,
    }
    if new := values.items() - meta.items():
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", new)
        connection.execute("COMMIT")
    return values


def _boot_id() -> str:
    """Return an id of the machine's current boot; random if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return token_urlsafe(9)


def _inode(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def fsync(path: Path) -> None:
    """Make a file, or the names in a folder, durable; SQLite syncs only its log."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
