"""What a database file stores about itself, so that a copy of it is noticed.

The *generation* changes each time that acknowledged writes may be missing: in a
restored backup, and after a crash of the machine without full durability. A record of
an earlier generation continues in a new epoch, so clients notice that versions may be
missing.

Each start writes a new *token* to the database and to its lock file. A database with
another token than its lock file is a copy from before, put back without the engine's
knowledge, and gets a new generation too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Set
from pathlib import Path
from secrets import token_urlsafe

from .connection import Durability


def read_meta(connection: sqlite3.Connection) -> dict[str, str]:
    """Return what the file stores about itself."""
    rows = connection.execute("SELECT key, value FROM meta WHERE key <> 'probe'")
    # A damaged value is replaced by a new one.
    return {key: it for key, it in rows if isinstance(it, str) and it.isascii()}


def write_meta(connection: sqlite3.Connection, new: Set[tuple[str, str]]) -> None:
    """Store *new* names and values."""
    if new:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", new)
        connection.execute("COMMIT")


def next_identity(
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
