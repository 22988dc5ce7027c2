"""Writes the rows of a batch, many rows by each statement."""

from __future__ import annotations

import sqlite3

from . import schema
from .rows import BatchRows, Values


def write_mailboxes(writer: sqlite3.Connection, rows: BatchRows) -> None:
    """Write the mailboxes, entries and tags of a batch."""
    insert_rows(writer, schema.DELETE_MAILBOXES, rows.removed_mailboxes)
    insert_rows(writer, schema.DELETE_ENTRIES, rows.without_entries)
    insert_rows(writer, schema.INSERT_SNAPSHOTS, rows.snapshots)
    insert_rows(writer, schema.INSERT_ENTRIES, rows.entries)
    if rows.removed_tags:
        writer.executemany(schema.DELETE_TAG, rows.removed_tags)
    insert_rows(writer, schema.INSERT_TAGS, rows.added_tags)
    if rows.touched:
        writer.executemany(schema.TOUCH_MAILBOX, rows.touched)


def insert_rows(
    writer: sqlite3.Connection,
    statement: tuple[str, int, str],
    values: Values,
    *others: float,
) -> None:
    """Execute *statement* for all rows in *values*, by as few steps as possible."""
    start, width, end = statement
    row = f"({','.join('?' * width)})"
    size = width * schema.MAX_ROWS
    for index in range(0, len(values), size):
        some = values[index : index + size]
        rows = ",".join([row] * (len(some) // width))
        writer.execute(f"{start}{rows}{end}", (*some, *others))
