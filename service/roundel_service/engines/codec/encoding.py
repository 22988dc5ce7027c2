"""Encodes snapshots and entries."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from ...domain.changes import Added, Change, Flagged, Removed, Step, Updated
from ...domain.log_entry import LogEntry
from ...domain.mailbox import Mailbox
from ...domain.record import Record
from . import rows
from .fields import HEAD, MAPPINGS, VALUES, counts_row, results_row
from .items import item_row
from .policy import MAX_SNAPSHOT_CHANGES

_encode: Final = msgspec.json.Encoder().encode


def encode_snapshot(record: Record) -> bytes:
    """Return the snapshot of *record*, with its latest changes."""
    mailbox = record.mailbox
    items = [item_row(item) for item in mailbox.items.values()]
    results = results_row(mailbox.results)
    changes = [_change_row(each) for each in record.changes[-MAX_SNAPSHOT_CHANGES:]]
    return b"\n".join(map(_encode, (_head_row(mailbox), items, results, changes)))


def encode_entry(entry: LogEntry, number: int) -> bytes:
    """Return *entry* with its *number* after the snapshot; the first one is 1."""
    fields: dict[str, Any] = {
        name: VALUES[name][0](value) for name, value in entry.values.items()
    }
    for name, delta in entry.mappings.items():
        fields[name] = MAPPINGS[name][0](delta.put)
    row = rows.EntryRow(
        number=number,
        changes=tuple(map(_change_row, entry.changes)),
        items=tuple(map(item_row, entry.items)),
        drop={name: it.drop for name, it in entry.mappings.items() if it.drop},
        **fields,
    )
    return _encode(row)


def _head_row(mailbox: Mailbox) -> rows.HeadRow:
    fields: dict[str, Any] = {
        name: to_row(getattr(mailbox, name)) for name, (to_row, _) in HEAD.items()
    }
    return rows.HeadRow(epoch=mailbox.epoch, v=mailbox.v, **fields)


def _change_row(change: Change) -> rows.ChangeRow:
    badge, steps = change.badge, tuple(map(_step_row, change.steps))
    cause = (change.operation, change.by, change.time, change.op_id)
    return rows.ChangeRow(change.v, badge.more, counts_row(badge), *cause, steps)


def _step_row(step: Step) -> rows.StepRow:
    match step:
        case Added():
            return rows.AddedRow(step.id, step.category, step.seq)
        case Updated(ids):
            return rows.UpdatedRow(cast("dict[str, str]", ids))
        case Flagged(ids, flags):
            return rows.FlaggedRow(
                cast("dict[str, str]", ids), cast("dict[str, bool]", flags)
            )
        case Removed(ids, reason):
            return rows.RemovedRow(cast("dict[str, str]", ids), reason)
