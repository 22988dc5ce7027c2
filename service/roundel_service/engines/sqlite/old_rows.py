"""Decodes the mailboxes of schema 1 to 3, which had a row for each item and change.

A mailbox is loaded as one text; control characters separate its parts, rows and cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import attrs

from ...domain.mailbox import Mailbox
from ...domain.record import Record
from ..codec.decoding import check_record
from ..codec.earlier import decode_mailbox, decode_record
from ..codec.encoding import encode_snapshot
from ..codec.errors import RecordDecodeError, describe
from . import schema
from .rows import decode_text, encode_text, mailbox_tags, split

CHANGES_WITHOUT_TEXT = 3
"""The schema since which changes have no text; those of before are dropped."""


@final
@attrs.frozen
class OldMailbox:
    """A mailbox of an earlier schema, with its snapshot as *body*.

    *user* is the name as it is stored. A damaged mailbox stays so in the new schema.
    """

    number: int
    user: bytes
    generation: str
    body: bytes
    tags: frozenset[str] = frozenset()


def decode_old(loaded: bytes, found: int) -> OldMailbox:
    """Return the mailbox in a loaded text of the schema *found*.

    Raises `RecordDecodeError`.
    """
    try:
        number, name, generation, head, items, results, changes = loaded.split(
            schema.PART
        )
        kept = split(changes, schema.ROW) if found >= CHANGES_WITHOUT_TEXT else []
        record = decode_record(
            head.decode(),
            items=_items(items),
            results=_results(results),
            changes=[row.decode() for row in kept],
        )
        check_record(record)
        body = encode_snapshot(record)
        tags = frozenset(mailbox_tags(record.mailbox))
        return OldMailbox(int(number), name, generation.decode(), body, tags)
    except Exception as error:
        raise RecordDecodeError(describe(error)) from None


def _items(loaded: bytes) -> Iterator[tuple[str, int]]:
    for name, flags, row in _cells(loaded):
        # Else the row belongs to another item.
        if not row.startswith(f"[{encode_text(name)},"):
            raise RecordDecodeError("item row: another id than its key")
        yield row, int(flags)


def _results(loaded: bytes) -> list[tuple[str, str]]:
    in_order = sorted(
        (int(number), op_id, row) for number, op_id, row in _cells(loaded)
    )
    return [(decode_text(op_id.encode()), row) for _, op_id, row in in_order]


def _cells(loaded: bytes) -> Iterator[list[str]]:
    for row in split(loaded, schema.ROW):
        yield row.decode().split(schema.CELL.decode())


def damaged_body(loaded: bytes) -> bytes:
    """Return a body that keeps what is stored of a damaged mailbox.

    It cannot be decoded, except its head if that is sound.
    """
    _, _, _, head, *_ = [*loaded.split(schema.PART), b"", b"", b"", b""]
    try:
        mailbox = decode_mailbox(head.decode())
    except ValueError:
        mailbox = Mailbox(epoch="")
    first_line = encode_snapshot(Record(mailbox)).partition(b"\n")[0]
    rest = loaded.translate(None, b"\n\x1c\x1d\x1e\x1f")
    return first_line + b"\n" + rest
