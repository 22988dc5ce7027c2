"""The schema of the file, and the statements that read and write it.

Python releases the GIL and takes it again at each step of a statement, which can take
milliseconds under load. So a batch is written by one statement: it inserts one row of
JSON lists into a view, and a trigger writes all tables from it. The transaction begins
and ends with this statement. A load likewise returns one text for many mailboxes.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final


def _read(name: str) -> str:
    return files(__package__).joinpath("statements", f"{name}.sql").read_text("utf-8")


APPLICATION: Final = 0x526F756E  # "Roun"

STEPS: Final = tuple(_read(f"migration_{number}") for number in (1, 2, 3))
"""Migrations: each creates the next version of the schema from the one before.

If `serialization.FORMAT_VERSION` changes, a migration must convert the rows.
"""

VERSION: Final = len(STEPS)

BATCH_VIEW: Final = _read("batch_view")
INSERT_BATCH: Final = "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
EMPTY_BATCH: Final[tuple[str | float, ...]] = (*["[]"] * 9, 0.0)

# Separators of loaded texts: JSON escapes control characters, and names have none.
USER, PART, ROW, CELL = "\x1c", "\x1d", "\x1e", "\x1f"

LOAD: Final = _read("load")
FIND: Final = "SELECT id FROM user WHERE name = CAST(? AS TEXT)"
LAST_ID: Final = _read("last_id")
USERS: Final = _read("users")
HOLDERS: Final = {
    "source": _read("holders_by_source"),
    "place": _read("holders_by_place"),
}
CLAIMED: Final = "SELECT value FROM claim WHERE key = ? AND until > ?"
CLAIM_VALUES: Final = _read("claim_values")
