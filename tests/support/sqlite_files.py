"""Runs SQLite engines on files, and reads, changes and damages these files."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio

from roundel_service.engines.sqlite.engine import SqliteEngine

from .mailboxes import note

OLD_FILE = Path(__file__).with_name("schema_3.sql")
"""The script of a file that an earlier version has written, with four users."""


@asynccontextmanager
async def running(path, *arguments, **options):
    """Run an engine on the file."""
    options = {"durability": "off", **options}
    engine = SqliteEngine(path, *arguments, **options)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        yield engine
        nursery.cancel_scope.cancel()


async def open_once(path, **options) -> None:
    """Start an engine on the file and stop it."""
    async with running(path, **options):
        pass


async def refusal(path) -> str:
    """Return the message of the error with which an engine refuses the file."""
    with pytest.raises(OSError, match=r".") as error:
        await SqliteEngine(path).run()
    return str(error.value)


def fetch_all(path, query: str) -> list:
    """Return the rows that *query* selects in the file."""
    with closing(sqlite3.connect(path)) as file:
        return file.execute(query).fetchall()


def execute(path, script: str) -> None:
    """Execute *script* on the file."""
    with closing(sqlite3.connect(path)) as file:
        file.executescript(script)


async def fill_pages(path) -> None:
    """Write enough items to fill many pages of the file."""
    async with running(path) as engine:
        work = [(f"user-{n}", note("1", body="b" * 900, source="s")) for n in range(99)]
        await engine.apply(work)


def damage(path, first: int = 2) -> None:
    """Overwrite the pages of the file from number *first* on."""
    size = path.stat().st_size
    with path.open("rb+") as file:
        file.seek(first * 4096)
        file.write(b"\xa5" * (size - first * 4096))
