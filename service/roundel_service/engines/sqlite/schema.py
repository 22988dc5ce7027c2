"""The schema of the file, and the statements that read and write it.

Python releases the GIL and takes it again at each step of a statement, which can take
milliseconds under load. So a batch inserts all rows of a table by one statement, and a
load returns one text for many mailboxes.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final


def _read(name: str) -> str:
    return files(__package__).joinpath("statements", f"{name}.sql").read_text("utf-8")


APPLICATION: Final = 0x526F756E  # "Roun"

VERSION: Final = 4
"""The current version of the schema. `migration` converts files of earlier versions."""

CREATE: Final = _read("schema_4")

OLD_STEPS: Final = tuple(_read(f"migration_{number}") for number in (1, 2, 3))
"""Earlier versions: each script creates the next version from the one before."""

OLD_LOAD: Final = _read("load_schema_3")
"""Loads mailboxes of schema 1 to 3, by an SQL query of their ids."""

MAX_ROWS: Final = 128
"""Maximum number of rows that one statement inserts."""

INSERT_ENTRIES: Final = ("INSERT INTO entry (n, user, row) VALUES ", 3, "")
INSERT_SNAPSHOTS: Final = (
    "INSERT INTO mailbox (id, name, generation, active_at, body) VALUES ",
    5,
    """ ON CONFLICT (id) DO UPDATE SET generation = excluded.generation,
    active_at = excluded.active_at, body = excluded.body""",
)
DELETE_MAILBOXES: Final = ("DELETE FROM mailbox WHERE id IN (VALUES ", 1, ")")
TOUCH_MAILBOX: Final = "UPDATE mailbox SET active_at = ? WHERE id = ?"
DELETE_ENTRIES: Final = ("DELETE FROM entry WHERE user IN (VALUES ", 1, ")")
INSERT_TAGS: Final = ("INSERT OR IGNORE INTO tag (tag, user) VALUES ", 2, "")
DELETE_TAG: Final = "DELETE FROM tag WHERE tag = ? AND user = ?"

INSERT_CLAIMS: Final = (
    "INSERT INTO claim (key, value, until) VALUES ",
    3,
    """ ON CONFLICT (key) DO UPDATE SET value = excluded.value,
    until = excluded.until WHERE until <= ?""",
)
EXPIRE_CLAIMS: Final = (
    "DELETE FROM claim WHERE id IN "
    "(SELECT id FROM claim WHERE until <= ? ORDER BY until LIMIT 200)"
)
EVICT_CLAIMS: Final = "DELETE FROM claim WHERE id <= (SELECT max(id) FROM claim) - ?"

CHECK_TABLES: Final = "SELECT 1 FROM meta, mailbox, entry, tag, claim LIMIT 0"

# Separators of loaded texts: JSON escapes control characters, and names have none.
USER, PART, ROW, CELL = b"\x1c", b"\x1d", b"\x1e", b"\x1f"

LOAD: Final = _read("load")
FIND: Final = "SELECT id FROM mailbox WHERE name = CAST(? AS TEXT)"
LAST_ID: Final = _read("last_id")
LAST_ENTRY: Final = "SELECT coalesce(max(n), 0) FROM entry WHERE n < 9007199254740992"
USERS: Final = _read("users")
HOLDERS: Final = _read("holders")
IDLE: Final = _read("idle")
CLAIMED: Final = "SELECT value FROM claim WHERE key = ? AND until > ?"
CLAIM_VALUES: Final = _read("claim_values")
