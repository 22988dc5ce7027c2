"""Encodes snapshots and entries."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ...domain.changes import Change
from ...domain.log.entry import LogEntry
from ...domain.mailbox import Mailbox
from ...domain.record import Record
from . import rows
from .fields import HEAD, MAPPINGS, VALUES, counts_row, results_row
from .items import item_row
from .policy import snapshot_changes

_encode: Final = msgspec.json.Encoder().encode


def encode_snapshot(record: Record) -> bytes:
    """Return the snapshot of *record*, with its latest changes."""
    mailbox = record.mailbox
    items = [item_row(item) for item in mailbox.items.values()]
    results = results_row(mailbox.results)
    latest = record.changes[-snapshot_changes(len(items)) :]
    changes = [_change_row(change) for change in latest]
    return b"\n".join(map(_encode, (_head_row(mailbox), items, results, changes)))


def encode_entry(entry: LogEntry, number: int) -> bytes:
    """Return *entry* with its *number* after the snapshot; the first one is 1."""
    row = rows.EntryRow(
        number=number,
        changes=tuple(map(_change_row, entry.changes)),
        items=tuple(map(item_row, entry.items)),
        fields=_fields_row(entry) if entry.values or entry.mappings else None,
    )
    return _encode(row)


def _fields_row(entry: LogEntry) -> rows.FieldsRow:
    fields: dict[str, Any] = {
        name: VALUES[name][0](value) for name, value in entry.values.items()
    }
    for name, delta in entry.mappings.items():
        fields[name] = MAPPINGS[name][0](delta.put)
    drop = {name: it.drop for name, it in entry.mappings.items() if it.drop}
    return rows.FieldsRow(drop=drop, **fields)


def _head_row(mailbox: Mailbox) -> rows.HeadRow:
    fields: dict[str, Any] = {
        name: to_row(getattr(mailbox, name)) for name, (to_row, _) in HEAD.items()
    }
    return rows.HeadRow(epoch=mailbox.epoch, v=mailbox.v, **fields)


def _change_row(change: Change) -> rows.ChangeRow:
    badge, cause = change.badge, (change.operation, change.by, change.time)
    return rows.ChangeRow(
        change.v, badge.more, counts_row(badge), *cause, change.op_id, change.steps
    )
