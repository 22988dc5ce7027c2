"""Converts a file of schema 1 to 3 to the current one.

The converted mailboxes go into a new file in the same folder. It replaces the old file
at the end. The old file is only read. So the conversion can be killed at any time: the
next start begins again, and an earlier version of the service can still open the file.
It needs space on the disk for the new file.

The new file can give space back when mailboxes are deleted. SQLite would have to copy
the old one for that, too.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from ..codec.errors import RecordDecodeError, describe
from . import schema
from .connection import connect, create, fsync, lacks_space
from .old_rows import OldMailbox, damaged_body, decode_old
from .rows import split

PART_SUFFIX: Final = ".migrating"
"""Suffix of the new file until it is complete."""

PAGE: Final = 200
"""Number of mailboxes that are converted in one transaction."""

REPORT_INTERVAL: Final = 5.0
"""Seconds between two log lines about the progress."""

_INSERT: Final = "INSERT INTO mailbox VALUES (?, CAST(? AS TEXT), ?, ?, ?)"
_INSERT_TAG: Final = "INSERT OR IGNORE INTO tag VALUES (?, ?)"

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


def convert(path: Path, found: int, now: float, checkpoint: Callable[[], None]) -> None:
    """Convert the file at *path* from the schema *found*.

    *now* is in seconds since 1970. *checkpoint* is called now and then. If it raises an
    exception, the conversion ends, and the file is unchanged. Raises `OSError` if
    another process reads the file, or if the disk has no space for the new one.
    """
    part = path.with_name(path.name + PART_SUFFIX)
    with closing(connect(path)) as old:
        _leave_wal(old, path)
        try:
            _create_part(part, path)
            with closing(connect(part)) as new:
                _prepare(new)
                _convert(old, new, found, now, checkpoint)
            fsync(part)
        except BaseException as error:
            is_full = lacks_space(part, error)
            _remove(part)
            if is_full:
                message = f"no space left to convert {path}: free some, and start again"
                raise OSError(message) from error
            raise
    part.replace(path)
    fsync(path.parent)


def _leave_wal(old: sqlite3.Connection, path: Path) -> None:
    """Move the write-ahead log into the file, and remove it.

    The log of the old file must not become that of the new one, which has its name.
    """
    try:
        (mode,) = old.execute("PRAGMA journal_mode = delete").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (
            sqlite3.SQLITE_BUSY,
            sqlite3.SQLITE_LOCKED,
        ):
            raise
        mode = "wal"
    if mode == "wal":
        raise OSError(f"{path} is in use by another process, such as a backup: stop it")


def _create_part(part: Path, path: Path) -> None:
    _remove(part)
    status = os.stat(path)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    part.chmod(status.st_mode & 0o777)
    with suppress(PermissionError):
        os.chown(part, status.st_uid, status.st_gid)


def _remove(part: Path) -> None:
    for suffix in ("", "-journal"):
        part.with_name(part.name + suffix).unlink(missing_ok=True)


def _prepare(new: sqlite3.Connection) -> None:
    # A conversion that does not reach its end leaves nothing to recover.
    new.executescript("""
        PRAGMA auto_vacuum = incremental;
        PRAGMA journal_mode = off;
        PRAGMA synchronous = off;
        PRAGMA locking_mode = exclusive;
        PRAGMA cache_size = -65536;
    """)
    create(new, schema.CREATE, schema.VERSION)


def _convert(
    old: sqlite3.Connection,
    new: sqlite3.Connection,
    found: int,
    now: float,
    checkpoint: Callable[[], None],
) -> None:
    _copy(old, new, "meta")
    if found > 1:
        _copy(old, new, "claim")
    old.text_factory = bytes
    (total,) = old.execute("SELECT count(*) FROM user").fetchone()
    log.info("migration started", users=total, schema=found)
    done, began, reported = 0, time.monotonic(), time.monotonic()
    for page in _pages(old):
        checkpoint()
        _write(new, _mailboxes(old, page, found), now)
        done += len(page)
        if time.monotonic() - reported >= REPORT_INTERVAL:
            reported = time.monotonic()
            log.info("migration running", users=done, of=total)
    seconds = round(time.monotonic() - began, 1)
    log.info("migration finished", users=done, duration_s=seconds)


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> None:
    rows = old.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
    if rows:
        marks = ",".join("?" * len(rows[0]))
        new.execute("BEGIN")
        new.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608
        new.execute("COMMIT")


def _pages(old: sqlite3.Connection) -> Iterator[list[int]]:
    """Yield the ids of the mailboxes in pages."""
    after = -1 << 63
    query = "SELECT id FROM user WHERE id > ? ORDER BY id LIMIT ?"
    while page := [number for (number,) in old.execute(query, (after, PAGE))]:
        yield page
        after = page[-1]


def _mailboxes(
    old: sqlite3.Connection, page: list[int], found: int
) -> Iterator[OldMailbox]:
    """Yield the mailboxes of a *page* of ids."""
    try:
        # Damage in one mailbox can hide where it ends: then each is loaded alone.
        mailboxes = [decode_old(text, found) for text in _load(old, page)]
        if [mailbox.number for mailbox in mailboxes] == page:
            yield from mailboxes
            return
    except RecordDecodeError:
        pass
    for number in page:
        yield _mailbox(old, number, found)


def _mailbox(old: sqlite3.Connection, number: int, found: int) -> OldMailbox:
    texts = _load(old, [number])
    try:
        (text,) = texts
        return decode_old(text, found)
    except ValueError as error:
        reason = describe(error)
    query = "SELECT CAST(name AS BLOB), generation FROM user WHERE id = ?"
    name, generation = old.execute(query, (number,)).fetchone()
    user = name.decode(errors="backslashreplace")
    log.error("mailbox damaged", user=user, reason=reason)
    body = damaged_body(schema.USER.join(texts))
    return OldMailbox(number, name, generation.decode("ascii", "replace"), body)


def _load(old: sqlite3.Connection, numbers: list[int]) -> list[bytes]:
    encoded = msgspec.json.encode(numbers).decode()
    (found,) = old.execute(schema.OLD_LOAD, (encoded,)).fetchone()
    return split(found, schema.USER)


def _write(
    new: sqlite3.Connection, mailboxes: Iterator[OldMailbox], now: float
) -> None:
    new.execute("BEGIN")
    for it in mailboxes:
        new.execute(_INSERT, (it.number, it.user, it.generation, now, it.body))
        new.executemany(_INSERT_TAG, [(tag, it.number) for tag in it.tags])
    new.execute("COMMIT")
