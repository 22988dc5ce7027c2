"""Reads the rows of earlier versions, and finds out whether they are damaged.

Those versions had a row for the mailbox, and one for each item, result and change. Rows
may have any order. Each is decoded with its exact type when the record is loaded, like
the rows of this version. `RecordDecodeError` is the only exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Final

import msgspec

from ...domain.change_log import ChangeLog
from ...domain.changes import Change
from ...domain.content import encode_content, is_deeper
from ...domain.idempotency import IdempotentResult
from ...domain.item_list import ItemList
from ...domain.items import ExternalCount, Item
from ...domain.mailbox import Mailbox
from ...domain.record import Record
from ...domain.revocation import Revocation
from .earlier_rows import EarlierChangeRow, EarlierItemRow, MailboxRow
from .errors import RecordDecodeError, checked, describe
from .fields import stored_badge, stored_result
from .items import MAX_DEPTH
from .rows import ResultRow

FLAGS: Final = {"seen": 1, "read": 2, "archived": 4}

MAX_ROW: Final = 1 << 22
"""Maximum length of a row in characters; written rows are far below it."""

_checked = partial(checked, max_length=MAX_ROW)
_mailbox_row = _checked("mailbox row", msgspec.json.Decoder(MailboxRow))
_item_row = _checked("item row", msgspec.json.Decoder(EarlierItemRow))
_result_row = _checked("result row", msgspec.json.Decoder(ResultRow))
_change_row = _checked("change row", msgspec.json.Decoder(EarlierChangeRow))


def decode_record(
    mailbox: str,
    *,
    items: Iterable[tuple[str, int]],
    results: Iterable[tuple[str, str]],
    changes: Iterable[str],
) -> Record:
    """Return the record that is stored in these rows; raises `RecordDecodeError`.

    *mailbox* is the mailbox row. *items* are rows and flags. *results* are operation
    ids and rows.
    """
    try:
        return _decode(mailbox, items, results, changes)
    except Exception as error:
        raise RecordDecodeError(describe(error)) from None


def _decode(
    row: str,
    items: Iterable[tuple[str, int]],
    results: Iterable[tuple[str, str]],
    changes: Iterable[str],
) -> Record:
    by_seq = sorted((_item(row, flags) for row, flags in items), key=attrgetter("seq"))
    by_time = sorted(
        ((name, stored_result(_result_row(it))) for name, it in results), key=_time
    )
    mailbox = decode_mailbox(row, by_seq, dict(by_time))
    if len({item.id for item in by_seq}) < len(by_seq) or (
        by_seq and by_seq[-1].seq > mailbox.v
    ):
        raise RecordDecodeError("items with the same id, or newer than the mailbox")
    rows = _consecutive(mailbox.epoch, mailbox.v, changes)
    return Record(mailbox, ChangeLog(rows, _change))


def decode_mailbox(
    text: str,
    items: Sequence[Item] = (),
    results: Mapping[str, IdempotentResult] | None = None,
) -> Mailbox:
    """Return the mailbox of a mailbox row; raises `RecordDecodeError`."""
    row = _mailbox_row(text)
    issued_before = row.issued_before
    return Mailbox(
        epoch=row.epoch,
        v=row.v,
        items=ItemList(items),
        gauges={name: ExternalCount(*gauge) for name, gauge in row.gauges.items()},
        more=row.more,
        results=results or {},
        disconnected_at=row.disconnected_at,
        revocation=Revocation(
            row.revoked_at, row.revoked_at if issued_before is None else issued_before
        ),
    )


def _time(named: tuple[str, IdempotentResult]) -> tuple[float, int]:
    return named[1].time, named[1].badge.v


def _consecutive(epoch: str, v: int, rows: Iterable[str]) -> list[str]:
    """Return the changes with consecutive versions up to *v*, oldest first.

    A store may contain older changes, if the change log was shorter before.
    """
    by_v = {}
    for row in rows:
        row_epoch, row_v, *_ = _change_row(row)
        if row_epoch == epoch:
            by_v[row_v] = row
    if by_v and max(by_v) != v:
        raise RecordDecodeError("the newest change is not that of the mailbox")
    found = []
    while v in by_v:
        found.append(by_v[v])
        v -= 1
    found.reverse()
    return found


def _item(row: str, flags: int) -> Item:
    values = _item_row(row)
    _check_depth(row, values.data)
    if not 0 <= flags < 1 << len(FLAGS):
        raise RecordDecodeError("item flags: not a combination of known flags")
    return _item_from_row(values, flags)


def _check_depth(row: str, values: object) -> None:
    # Nearly all rows have fewer brackets than the limit, and counting them is fast.
    has_many = len(row) > MAX_DEPTH and row.count("[") + row.count("{") > MAX_DEPTH
    if has_many and is_deeper(values, MAX_DEPTH):
        raise RecordDecodeError(f"item: nested deeper than {MAX_DEPTH} levels")


def _item_from_row(values: EarlierItemRow, flags: int) -> Item:
    return Item(
        id=values.id,
        seq=values.seq,
        category=values.category,
        content=encode_content(
            values.title,
            body=values.body,
            url=values.url,
            icon=values.icon,
            data=values.data,
        ),
        key=values.key,
        source=values.source,
        created_at=values.created_at,
        expires_at=values.expires_at,
        size=values.size,
        updated_at=values.updated_at,
        seen=bool(flags & FLAGS["seen"]),
        read=bool(flags & FLAGS["read"]),
        archived=bool(flags & FLAGS["archived"]),
    )


def _change(row: str) -> Change:
    epoch, v, more, by, operation, caller, time, op_id, steps = _change_row(row)
    return Change(
        v=v,
        steps=steps,
        badge=stored_badge(epoch, v, more, by),
        operation=operation,
        by=caller,
        time=time,
        op_id=op_id,
    )
