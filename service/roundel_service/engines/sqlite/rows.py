"""The parameters of the statement that writes a batch, and the decoding of loads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TypeAlias, final

import attrs
import msgspec
import structlog

from ...domain.change_log import ChangeLog
from ...domain.mailbox import Mailbox
from ...domain.record import Record
from ..base import EngineUnavailable
from ..codec.errors import RecordDecodeError, describe
from ..deserialization import check_record, decode_mailbox, decode_record
from ..serialization import (
    change_row,
    diff,
    flag_bits,
    item_row,
    mailbox_row,
    result_row,
)
from . import schema
from .group_commit import CommitBatch, MailboxUpdate, StoredRecord

Parameters: TypeAlias = tuple[str | float, ...]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


def encode_text(value: str) -> str:
    """Return *value* as JSON, which contains no control characters."""
    return msgspec.json.encode(value).decode()


def decode_text(encoded: str) -> str:
    """Return the text that `encode_text()` encoded."""
    return msgspec.json.decode(encoded, type=str)


def decode_claim(key: str, encoded: str | None) -> str:
    """Return the value of the claim *key*; raises `EngineUnavailable`."""
    try:
        return decode_text(encoded or "")
    except Exception as error:
        log.warning("claim unreadable", name=key, reason=describe(error))
        raise EngineUnavailable("a claim could not be read") from None


def category_key(category: str | None, key: str | None) -> str | None:
    """Return the index value of an item with this category and key."""
    return None if key is None else encode_text(f"{category} {key}")


@final
@attrs.define
class MailboxRows:
    """The rows that one or many mailboxes write and delete, by table, as JSON."""

    replaced: list[str] = attrs.field(factory=list)
    users: list[str] = attrs.field(factory=list)
    removed_items: list[str] = attrs.field(factory=list)
    items: list[str] = attrs.field(factory=list)
    flags: list[str] = attrs.field(factory=list)
    dropped_results: list[str] = attrs.field(factory=list)
    results: list[str] = attrs.field(factory=list)
    changes: list[str] = attrs.field(factory=list)

    def tables(self) -> Iterator[list[str]]:
        """Yield the rows of each table, in the order of `schema.INSERT_BATCH`."""
        yield from (self.replaced, self.users, self.removed_items, self.items)
        yield from (self.flags, self.dropped_results, self.results, self.changes)


@final
@attrs.define
class BatchRows:
    """The rows of a batch.

    A change is stored at its version modulo *change_log_size*. *sequence* numbers the
    results, so that results with the same time keep their order.
    """

    generation: str
    change_log_size: int
    sequence: count[int]
    rows: MailboxRows = attrs.field(factory=MailboxRows)

    def add(self, name: str, update: MailboxUpdate) -> None:
        """Add the rows of one mailbox: all, or none if one cannot be encoded."""
        added = self._mailbox_rows(name, update)
        for rows, new in zip(self.rows.tables(), added.tables(), strict=True):
            rows += new

    def _mailbox_rows(self, name: str, update: MailboxUpdate) -> MailboxRows:
        rows = MailboxRows()
        user, after = update.after.id, update.after.record
        before = update.before.record if update.before.id is not None else None
        difference = diff(None if update.replace else before, after)
        if difference.replace and before is not None:
            rows.replaced.append(_row(user))
        mailbox = mailbox_row(difference.mailbox)
        rows.users.append(_row((user, name, self.generation, mailbox)))
        rows.removed_items += [_row((user, item)) for item in difference.removed]
        for item in difference.items.values():
            source = None if item.source is None else encode_text(item.source)
            tags = (source, category_key(item.category, item.key))
            cells = (user, item.id, flag_bits(item), *tags, item_row(item))
            rows.items.append(_row(cells))
        rows.flags += [
            _row((user, item, flags))
            for item, flags in difference.flags.items()
            if item not in difference.items
        ]
        rows.dropped_results += [
            _row((user, encode_text(op_id))) for op_id in difference.dropped_results
        ]
        for op_id, result in reversed(list(difference.results.items())):
            number = next(self.sequence)
            row = (user, encode_text(op_id), number, result_row(result))
            rows.results.append(_row(row))
        for change in difference.changes:
            slot = change.v % self.change_log_size
            rows.changes.append(_row((user, slot, change_row(change))))
        return rows

    def parameters(self, batch: CommitBatch, now: float) -> Parameters:
        """Return the parameters of `schema.INSERT_BATCH`."""
        claims = [
            _row((encode_text(key), encode_text(value), expires_at))
            for key, (value, expires_at) in batch.claims.items()
        ]
        tables = (*self.rows.tables(), claims)
        return (*[f"[{','.join(rows)}]" for rows in tables], now)


def _row(cells: object) -> str:
    return msgspec.json.encode(cells).decode()


def split(loaded: str | None, separator: str) -> list[str]:
    """Return the parts of a loaded text, which is empty or `None` without parts."""
    return loaded.split(separator) if loaded else []


def decode_stored(
    loaded: str, generation: str, change_log_size: int
) -> tuple[str, StoredRecord]:
    """Return the user name and the record of one loaded mailbox.

    Raises `RecordDecodeError`.
    """
    try:
        number, name, made_in, *parts = loaded.split(schema.PART)
        mailbox, items, results, changes = parts
        record = decode_record(
            mailbox,
            items=_items(_cells(items)),
            results=_results(_cells(results)),
            changes=[row for (row,) in _cells(changes)],
        )
        stored = StoredRecord(int(number), record, is_old=made_in != generation)
    except Exception as error:
        raise RecordDecodeError(describe(error)) from None
    check_record(record)
    if len(record.changes) > change_log_size:
        log = ChangeLog(record.changes[-change_log_size:])
        stored = attrs.evolve(stored, record=Record(record.mailbox, log))
    return name, stored


def salvage(loaded: str) -> Mailbox:
    """Return the mailbox row of a damaged mailbox, or an empty one if that is damaged.

    It has the times at which the user's streams and tokens were ended.
    """
    try:
        _, _, _, mailbox, *_ = loaded.split(schema.PART)
        return decode_mailbox(mailbox)
    except ValueError:
        return Mailbox(epoch="")


def _cells(loaded: str) -> list[list[str]]:
    return [row.split(schema.CELL) for row in split(loaded, schema.ROW)]


def _items(cells: list[list[str]]) -> Iterator[tuple[str, int]]:
    for name, flags, row in cells:
        # The rows of an item with another id could not be deleted later.
        if not row.startswith(f"[{encode_text(name)},"):
            raise RecordDecodeError("item row: another id than its key")
        yield row, int(flags)


def _results(cells: list[list[str]]) -> list[tuple[str, str]]:
    in_order = sorted((int(number), op_id, row) for number, op_id, row in cells)
    return [(decode_text(op_id), row) for _, op_id, row in in_order]
