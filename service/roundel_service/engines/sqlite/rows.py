"""The parameters of the statement that writes a batch, and the decoding of loads."""

from __future__ import annotations

from itertools import count
from typing import TypeAlias, final

import attrs
import msgspec

from ...domain.record import Record
from ..serialization import (
    change_row,
    decode_record,
    diff,
    flag_bits,
    item_row,
    mailbox_row,
    result_row,
)
from . import schema
from .group_commit import CommitBatch, MailboxUpdate, StoredRecord

SqlRow: TypeAlias = tuple[object, ...]
Parameters: TypeAlias = tuple[str | float, ...]


def encode_text(value: str) -> str:
    """Return *value* as JSON, which contains no control characters."""
    return msgspec.json.encode(value).decode()


def decode_text(encoded: str) -> str:
    """Return the text that `encode_text()` encoded."""
    return msgspec.json.decode(encoded, type=str)


def category_key(category: str | None, key: str | None) -> str | None:
    """Return the index value of an item with this category and key."""
    return None if key is None else encode_text(f"{category} {key}")


@final
@attrs.define
class BatchRows:
    """The rows that a batch writes and deletes, by table.

    A change is stored at its version modulo *change_log_size*. *sequence* numbers the
    results, so that results with the same time keep their order.
    """

    generation: str
    change_log_size: int
    sequence: count[int]
    replaced: list[int | None] = attrs.field(factory=list)
    users: list[SqlRow] = attrs.field(factory=list)
    removed_items: list[SqlRow] = attrs.field(factory=list)
    items: list[SqlRow] = attrs.field(factory=list)
    flags: list[SqlRow] = attrs.field(factory=list)
    dropped_results: list[SqlRow] = attrs.field(factory=list)
    results: list[SqlRow] = attrs.field(factory=list)
    changes: list[SqlRow] = attrs.field(factory=list)

    def add(self, name: str, update: MailboxUpdate) -> None:
        """Add the rows of one mailbox."""
        user, after = update.after.id, update.after.record
        before = update.before.record if update.before.id is not None else None
        difference = diff(None if update.replace else before, after)
        if difference.replace and before is not None:
            self.replaced.append(user)
        mailbox = mailbox_row(difference.mailbox)
        self.users.append((user, name, self.generation, mailbox))
        self.removed_items += [(user, item) for item in difference.removed]
        for item in difference.items.values():
            source = None if item.source is None else encode_text(item.source)
            tags = (source, category_key(item.category, item.key))
            self.items.append((user, item.id, flag_bits(item), *tags, item_row(item)))
        self.flags += [
            (user, item, flags)
            for item, flags in difference.flags.items()
            if item not in difference.items
        ]
        self.dropped_results += [
            (user, encode_text(op_id)) for op_id in difference.dropped_results
        ]
        for op_id, result in reversed(list(difference.results.items())):
            number = next(self.sequence)
            row = (user, encode_text(op_id), number, result_row(result))
            self.results.append(row)
        for change in difference.changes:
            slot = change.v % self.change_log_size
            self.changes.append((user, slot, change_row(change)))

    def parameters(self, batch: CommitBatch, now: float) -> Parameters:
        """Return the parameters of `schema.INSERT_BATCH`."""
        claims = [
            (encode_text(key), encode_text(value), expires_at)
            for key, (value, expires_at) in batch.claims.items()
        ]
        tables = (
            *(self.replaced, self.users, self.removed_items, self.items, self.flags),
            *(self.dropped_results, self.results, self.changes, claims),
        )
        return (*[msgspec.json.encode(rows).decode() for rows in tables], now)


def split(loaded: str | None, separator: str) -> list[str]:
    """Return the parts of a loaded text, which is empty or `None` without parts."""
    return loaded.split(separator) if loaded else []


def decode_mailbox(
    loaded: str, generation: str, change_log_size: int
) -> tuple[str, StoredRecord]:
    """Return the user name and the record of one loaded mailbox.

    Raises one of `database.DECODE_ERRORS` if the file is damaged.
    """
    number, name, made_in, *parts = loaded.split(schema.PART)
    mailbox, items, results, changes = parts
    record = decode_record(
        mailbox,
        items=[(row, int(flags)) for flags, row in _cells(items)],
        results=_results(_cells(results)),
        changes=[row for (row,) in _cells(changes)],
    )
    if len(record.changes) > change_log_size:
        record = Record(record.mailbox, record.changes[-change_log_size:])
    return name, StoredRecord(int(number), record, is_old=made_in != generation)


def _cells(loaded: str) -> list[list[str]]:
    return [row.split(schema.CELL) for row in split(loaded, schema.ROW)]


def _results(cells: list[list[str]]) -> list[tuple[str, str]]:
    in_order = sorted((int(number), op_id, row) for number, op_id, row in cells)
    return [(decode_text(op_id), row) for _, op_id, row in in_order]
