"""What goes into the file as parameters of one statement, and comes out as one text."""

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
    """Return any text without control characters, so that it can be told apart."""
    return msgspec.json.encode(value).decode()


def decode_text(told: str) -> str:
    """Return the text that was told by `text()`."""
    return msgspec.json.decode(told, type=str)


def category_key(category: str | None, key: str | None) -> str | None:
    """Return under what an item with a key is found."""
    return None if key is None else encode_text(f"{category} {key}")


@final
@attrs.define
class BatchRows:
    """The rows that make one state of the file of another.

    *ring* changes of each user have a place; *numbers* keep in their order the
    answers that were given at the same time.
    """

    generation: str
    ring: int
    numbers: count[int]
    replace: list[int | None] = attrs.field(factory=list)
    users: list[SqlRow] = attrs.field(factory=list)
    gone: list[SqlRow] = attrs.field(factory=list)
    items: list[SqlRow] = attrs.field(factory=list)
    flags: list[SqlRow] = attrs.field(factory=list)
    forgotten: list[SqlRow] = attrs.field(factory=list)
    answers: list[SqlRow] = attrs.field(factory=list)
    changes: list[SqlRow] = attrs.field(factory=list)

    def add(self, name: str, step: MailboxUpdate) -> None:
        """Add what makes of the mailbox that is stored the one that is to be."""
        user, after = step.after.id, step.after.record
        before = step.before.record if step.before.id is not None else None
        made = diff(None if step.replace else before, after)
        if made.replace and before is not None:
            self.replace.append(user)
        self.users.append((user, name, self.generation, mailbox_row(made.mailbox)))
        self.gone += [(user, item) for item in made.removed]
        for item in made.items.values():
            source = None if item.source is None else encode_text(item.source)
            tags = (source, category_key(item.category, item.key))
            flags = flag_bits(item)
            self.items.append((user, item.id, flags, *tags, item_row(item)))
        self.flags += [
            (user, item, flags)
            for item, flags in made.flags.items()
            if item not in made.items
        ]
        self.forgotten += [(user, encode_text(op_id)) for op_id in made.dropped_results]
        for op_id, answer in reversed(list(made.results.items())):
            number = next(self.numbers)
            self.answers.append((user, encode_text(op_id), number, result_row(answer)))
        for change in made.changes:
            self.changes.append((user, change.v % self.ring, change_row(change)))

    def parameters(self, group: CommitBatch, now: float) -> Parameters:
        """Return what the statement is given."""
        claims = [
            (encode_text(key), encode_text(value), until)
            for key, (value, until) in group.claims.items()
        ]
        tables = (
            *(self.replace, self.users, self.gone, self.items, self.flags),
            *(self.forgotten, self.answers, self.changes, claims),
        )
        return (*[msgspec.json.encode(rows).decode() for rows in tables], now)


def split_mailboxes(told: str | None) -> list[str]:
    """Return the mailboxes that are told, each by itself."""
    return told.split(schema.USER) if told else []


def decode_mailbox(told: str, generation: str, ring: int) -> tuple[str, StoredRecord]:
    """Return the name of the user, and the mailbox that is told.

    Raises one of many errors if it is none.
    """
    number, name, made_in, head, items, answers, changes = told.split(schema.PART)
    found = _record(head, _rows(items), _rows(answers), _rows(changes))
    if len(found.changes) > ring:
        found = Record(found.mailbox, found.changes[-ring:])
    return name, StoredRecord(int(number), found, is_old=made_in != generation)


def _rows(told: str) -> list[list[str]]:
    return [row.split(schema.CELL) for row in told.split(schema.ROW)] if told else []


_Cells: TypeAlias = list[list[str]]


def _record(head: str, items: _Cells, answers: _Cells, changes: _Cells) -> Record:
    given = sorted((int(number), op_id, row) for number, op_id, row in answers)
    return decode_record(
        head,
        items=[(row, int(flags)) for flags, row in items],
        results=[(decode_text(op_id), row) for _, op_id, row in given],
        changes=[row for (row,) in changes],
    )
