"""The file: who may open it, what is refused, and what is asked of it in a thread."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_urlsafe
from typing import Literal, TypeAlias, final

import msgspec

from . import schema
from .file_lock import FileLock
from .rows import Parameters, decode_text, encode_text

Durability: TypeAlias = Literal["full", "normal", "off"]

CHECKPOINT_PAGES = 4_000
MAX_WAL_BYTES = 64 * 1024 * 1024
"""To how many bytes the log of the file is cut when it has become larger."""

BUSY_TIMEOUT = 5.0
"""For how many seconds somebody else, who should not, may keep the file locked."""

PROBE_BYTES = 65_536

DECODE_ERRORS = (
    msgspec.MsgspecError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)
"""What goes wrong where rows make no sense."""


def is_damage(error: Exception) -> bool:
    """Tell whether *error* says that what is in the file is not what was written."""
    # What is read is text, and of a form that is known; SQLite checks less than that.
    return (
        _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        or isinstance(error, DECODE_ERRORS)
        or "decode to UTF-8" in str(error)
    )


def describe_error(path: Path, error: Exception) -> str:
    """Say to an operator what is wrong with the file, and what to do."""
    # What is stored is personal: no error's words may show it.
    words = type(error).__name__ if isinstance(error, DECODE_ERRORS) else str(error)
    if is_damage(error):
        return f"{path} is damaged ({words}): stop, and restore a backup"
    if _code(error) == sqlite3.SQLITE_FULL:
        return f"there is no room for {path} ({words}): make some, and it goes on"
    return f"{path} cannot be used now ({words})"


def _code(error: Exception) -> int:
    # The lower byte is the kind, the others say more about it.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection for one thread at a time."""
    # A name may have what means something in a URI.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(
        uri,
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )


def schema_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the schema, 0 of an empty file; raises `OSError`."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise OSError(
                f"{path}: is no database, or damaged ({error}): "
                "give another path, or restore a backup"
            ) from None
        raise OSError(describe_error(path, error)) from None
    if (application, found, tables) == (0, 0, 0):
        return 0
    if application != schema.APPLICATION:
        raise OSError(
            f"{path}: is a database of something else than Roundel: give another path"
        )
    if found > schema.VERSION:
        raise OSError(
            f"{path}: was written by a newer Roundel (schema {found}, this one knows "
            f"{schema.VERSION}): run that one, or restore a backup of before"
        )
    return int(found)


def migrate(connection: sqlite3.Connection, found: int, steps: Sequence[str]) -> None:
    """Do the steps that the file lacks, each whole or not at all."""
    for number, step in enumerate(steps[found:], found + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; "
            f"PRAGMA application_id = {schema.APPLICATION}; COMMIT;"
        )


@final
class Database:
    """An open file, for one thread that writes and one that reads.

    Raises `OSError` if it cannot be used. *generation* is another one after each
    time that what was acknowledged may be missing in it.
    """

    def __init__(self, path: Path, durability: Durability, max_claims: int) -> None:
        self.path = path
        self._lock = FileLock(path)
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
        self._writer.executescript(schema.WORK.replace("{max_claims}", str(max_claims)))
        self.key, self.generation = _identity(self._writer, durability)
        (last,) = self._writer.execute("SELECT max(id) FROM user").fetchone()
        self.last_id: int = last or 0
        self._reader = connect(self.path)
        self._reader.execute("PRAGMA query_only = 1")
        self._reader.execute("PRAGMA cell_size_check = 1")
        self._inode = os.stat(self.path).st_ino
        fsync_folder(self.path.parent)

    def check_path(self) -> None:
        """Raise `OSError` if the path leads to something else than what is open."""
        with suppress(FileNotFoundError):
            if os.stat(self.path).st_ino == self._inode:
                return
        raise FileNotFoundError("it was removed, moved away or replaced")

    def write(self, work: Parameters) -> None:
        """Do the work of one group, and make it durable."""
        self._writer.execute(schema.INSERT_WORK, work)

    def insert_claims(self, keys: list[str]) -> dict[str, str]:
        """Return what is kept under *keys*."""
        asked = msgspec.json.encode([encode_text(key) for key in keys]).decode()
        (told,) = self._writer.execute(schema.KEPT, (asked,)).fetchone()
        rows = (row.split(schema.CELL) for row in _rows(told))
        return {decode_text(key): decode_text(value) for key, value in rows}

    def check_writable(self) -> None:
        """Write a little, for nothing."""
        self._writer.execute(
            "INSERT OR REPLACE INTO meta VALUES ('probe', hex(randomblob(?)))",
            (PROBE_BYTES // 2,),
        )

    def load(self, users: list[str]) -> str | None:
        """Return what is stored of *users*, as one text."""
        return self._text(schema.LOAD, msgspec.json.encode(users).decode())

    def users(self, after: str | None, limit: int) -> list[str]:
        """Return the names of the next users behind *after*."""
        return _rows(self._text(schema.USERS, after, limit))

    def holders(self, column: Literal["source", "place"], value: str) -> list[str]:
        """Return the names of those with an item that has *value* there."""
        return _rows(self._text(schema.HOLDERS[column], value))

    def claimed(self, key: str, now: float) -> str | None:
        """Return what is kept under *key*; both are JSON."""
        return self._text(schema.CLAIMED, key, now)

    def _text(self, query: str, *parameters: str | float | None) -> str | None:
        found: tuple[str | None] | None = self._reader.execute(
            query, parameters
        ).fetchone()
        return found[0] if found else None

    def close(self) -> None:
        """Let the file go; what was written is in it."""
        for name in ("_reader", "_writer"):
            if connection := self.__dict__.pop(name, None):
                connection.close()
        self._lock.release()


def _rows(told: str | None) -> list[str]:
    return told.split(schema.ROW) if told else []


def _prepare(
    connection: sqlite3.Connection, path: Path, durability: Durability
) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = wal").fetchone()
    if mode != "wal":
        raise OSError(f"{path}: SQLite keeps no log (WAL) there: give another path")
    connection.executescript(f"""
        PRAGMA synchronous = {durability};
        PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
        PRAGMA journal_size_limit = {MAX_WAL_BYTES};
        PRAGMA foreign_keys = 0;
        PRAGMA cell_size_check = 1;
        PRAGMA temp_store = memory;
        PRAGMA cache_size = -16384;
    """)


def _identity(
    connection: sqlite3.Connection, durability: Durability
) -> tuple[str, str]:
    """Return the key that makes epochs, and the generation that the file is in."""
    meta = dict(connection.execute("SELECT key, value FROM meta WHERE key <> 'probe'"))
    here, risked = _boot(), meta.get("risked", "")
    if risked not in ("", here):
        # The machine went down when not all was on the disk that was acknowledged.
        meta["generation"] = risked = ""
    made = {
        "key": meta.get("key") or token_urlsafe(32),
        "generation": meta.get("generation") or token_urlsafe(9),
        "risked": risked if durability == "full" else here,
    }
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", made.items())
    connection.execute("COMMIT")
    return made["key"], made["generation"]


def _boot() -> str:
    """Return a name for the time since the machine was started; a new one if unsure."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return token_urlsafe(9)


def fsync_folder(folder: Path) -> None:
    """Make the names in *folder* durable, which SQLite does for its log alone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
