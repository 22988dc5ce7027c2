"""Decodes snapshots and entries, and finds out whether they are damaged.

Everything is decoded with its exact type when a record is loaded. Damage must not be
found later, by a task that serves many users. Only the changes in a snapshot become
`Change` objects on first access, because most of them are never read.

`RecordDecodeError` is the only exception: whatever a decoder raises, for example
`RecursionError` or `MemoryError`, is damage of one record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from ...domain.change_log import ChangeLog
from ...domain.changes import Change
from ...domain.idempotency import IdempotentResult
from ...domain.item_list import ItemList
from ...domain.items import Item
from ...domain.log.entry import LogEntry, MappingDelta
from ...domain.log.replay import replay
from ...domain.mailbox import Mailbox
from ...domain.record import Record
from . import rows
from .errors import RecordDecodeError, checked, describe
from .fields import HEAD, MAPPINGS, VALUES, stored_badge, stored_results
from .items import stored_items

MAX_ROW: Final = 1 << 24
"""Maximum length of an entry or of a part of a snapshot, in bytes."""

_number: Callable[[rows.EntryRow], int] = attrgetter("number")
_mapping_rows: Callable[[rows.FieldsRow], tuple[Any, ...]] = attrgetter(*MAPPINGS)
_value_rows: Callable[[rows.FieldsRow], tuple[Any, ...]] = attrgetter(*VALUES)


_checked = partial(checked, max_length=MAX_ROW)
_head = _checked("head", msgspec.json.Decoder(rows.HeadRow))
_items = _checked("items", msgspec.json.Decoder(list[rows.ItemRow]))
_results = _checked("results", msgspec.json.Decoder(dict[str, rows.ResultRow]))
_changes = _checked("changes", msgspec.json.Decoder(list[rows.ChangeRow]))
_entry = _checked("entry", msgspec.json.Decoder(rows.EntryRow))
_entries = _checked("entry", msgspec.json.Decoder(list[rows.EntryRow]))


def decode_stored(
    snapshot: bytes, entries: Iterable[bytes], *, change_log_size: int
) -> Record:
    """Return the record of a *snapshot* and all *entries* after it, in any order.

    Raises `RecordDecodeError`, also if the parts disagree.
    """
    try:
        record = _snapshot(snapshot, change_log_size)
        if log := list(entries):
            record = _replay(record, log, change_log_size)
        check_record(record)
    except Exception as error:
        raise RecordDecodeError(describe(error)) from None
    return record


def decode_entry(row: bytes, epoch: str) -> tuple[int, LogEntry]:
    """Return the number of an entry, and the entry of a mailbox in this *epoch*.

    Raises `RecordDecodeError`.
    """
    entry = _entry(row)
    try:
        items = stored_items(entry.items)
        values, mappings = _fields(entry)
    except Exception as error:
        raise RecordDecodeError(f"entry: {describe(error)}") from None
    decoded = LogEntry(
        changes=tuple(_change(epoch, each) for each in entry.changes),
        items=tuple(items),
        values=values,
        mappings=mappings,
    )
    return entry.number, decoded


def _fields(
    entry: rows.EntryRow,
) -> tuple[dict[str, object], dict[str, MappingDelta]]:
    """Return the values and the differences of the mailbox's fields."""
    row, mappings = entry.fields, dict[str, MappingDelta]()
    if row is None:
        return {}, mappings
    drops = row.drop
    for name, put in zip(MAPPINGS, _mapping_rows(row), strict=True):
        if put or name in drops:
            values = cast("dict[str, object]", MAPPINGS[name][1](put))
            mappings[name] = MappingDelta(values, drops.get(name, ()))
    if not drops.keys() <= mappings.keys():
        raise RecordDecodeError("entry: drops keys of an unknown field")
    found = {
        name: VALUES[name][1](value)
        for name, value in zip(VALUES, _value_rows(row), strict=True)
        if value is not UNSET
    }
    return found, mappings


def decode_head(snapshot: bytes, entries: Iterable[bytes]) -> Mailbox:
    """Return the readable part of a damaged mailbox, without its content.

    It has the times at which the user's streams and tokens were ended. It has no epoch
    if the head itself cannot be read.
    """
    try:
        mailbox = _mailbox(_head(snapshot.partition(b"\n")[0]), (), {})
    except Exception:
        return Mailbox(epoch="")
    for row in entries:
        try:
            _, entry = decode_entry(row, mailbox.epoch)
        except RecordDecodeError:
            continue
        times = {name: entry.values[name] for name in _TIMES if name in entry.values}
        mailbox = replace(mailbox, **cast("dict[str, Any]", times))
    return mailbox


def check_record(record: Record) -> None:
    """Raise `RecordDecodeError` unless the parts of a whole *record* agree."""
    mailbox, changes = record.mailbox, record.changes
    if max([item.seq for item in mailbox.items.values()], default=0) > mailbox.v:
        raise RecordDecodeError("an item is newer than the mailbox")
    if changes and changes.newest.badge != mailbox.badge:
        raise RecordDecodeError("the items and the newest change have other counts")


def _replay(record: Record, entries: Sequence[bytes], change_log_size: int) -> Record:
    log = sorted(_entries(b"[" + b",".join(entries) + b"]"), key=_number)
    if [entry.number for entry in log] != list(range(1, len(entries) + 1)):
        raise RecordDecodeError("the entries are not all that follow the snapshot")
    # One call for all items, which each entry takes its part of.
    items = iter(stored_items([item for entry in log for item in entry.items]))
    decoded = (_undecoded_entry(entry, items) for entry in log)
    return replay(record, decoded, change_log_size=change_log_size)


def _undecoded_entry(entry: rows.EntryRow, items: Iterator[Item]) -> LogEntry:
    """Return the entry, whose changes are decoded on access (see `ChangeLog`)."""
    values, mappings = _fields(entry)
    changes = cast("tuple[Change, ...]", entry.changes)
    held = tuple(islice(items, len(entry.items)))
    return LogEntry(changes=changes, items=held, values=values, mappings=mappings)


def _snapshot(snapshot: bytes, change_log_size: int) -> Record:
    head, items, results, changes = snapshot.split(b"\n")
    held = stored_items(_items(items))
    if len({item.id for item in held}) < len(held):
        raise RecordDecodeError("items with the same id")
    row = _head(head)
    log = _changes(changes)
    if log and [each.v for each in log] != [*range(row.v - len(log) + 1, row.v + 1)]:
        raise RecordDecodeError("the changes do not lead to the version of the mailbox")
    mailbox = _mailbox(row, held, stored_results(_results(results)))
    latest = log[-change_log_size:] if change_log_size else []
    return Record(mailbox, ChangeLog(latest, partial(_change, row.epoch)))


def _mailbox(
    row: rows.HeadRow,
    items: Sequence[Item],
    results: Mapping[str, IdempotentResult],
) -> Mailbox:
    fields: dict[str, Any] = {
        name: from_row(getattr(row, name)) for name, (_, from_row) in HEAD.items()
    }
    return Mailbox(
        epoch=row.epoch, v=row.v, items=ItemList(items), results=results, **fields
    )


def _change(epoch: str, row: rows.ChangeRow) -> Change:
    return Change(
        v=row.v,
        steps=row.steps,
        badge=stored_badge(epoch, row.v, row.more, row.by),
        operation=row.operation,
        by=row.caller,
        time=row.time,
        op_id=row.op_id,
    )


_TIMES: Final = ("disconnected_at", "revocation")
