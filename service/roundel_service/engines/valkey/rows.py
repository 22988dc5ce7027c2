"""A mailbox as one hash: which fields a change writes, and back again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, final

import attrs
import msgspec

from ...domain.change_log import ChangeLog
from ...domain.items import Item, next_end, size_of
from ...domain.record import Record
from .. import serialization as stored
from ..serialization import RecordDiff

FIXED: Final = ("h", "w", "x")
"""The head row, the last write with its line, and when it was last indexed."""


@final
@attrs.frozen
class Write:
    """The fields to *put*, each with its value behind it, and those to *drop*.

    With *anew* all that is there goes first.
    """

    replace: bool
    put: list[str]
    drop: list[str]

    def packed(self) -> bytes:
        """Return what the script takes, and others read from the log."""
        return msgspec.msgpack.encode((self.replace, self.put, self.drop))


def write(edit: RecordDiff, *, ring: int) -> Write:
    """Return what *edit* does to the hash, where a *ring* of changes is kept."""
    put = ["h", stored.head_row(edit.head)]
    for name, item in edit.items.items():
        put += (f"i:{name}", stored.item_row(item))
    for name, flags in edit.flags.items():
        put += (f"f:{name}", str(flags))
    for name, answer in edit.answers.items():
        put += (f"a:{name}", stored.answer_row(answer))
    for change in edit.changes:
        put += (f"c:{change.v % ring}", stored.change_row(change))
    drop = [f"{kind}:{name}" for name in edit.gone for kind in "if"]
    drop += [f"a:{name}" for name in edit.forgotten]
    return Write(edit.replace, put, drop)


def record(fields: Mapping[str, str]) -> Record:
    """Return the record that all the *fields* of a hash tell."""
    by_kind: dict[str, list[tuple[str, str]]] = {kind: [] for kind in "ifac"}
    for field, value in fields.items():
        if field not in FIXED:
            by_kind[field[0]].append((field[2:], value))
    flags = dict(by_kind["f"])
    return stored.record(
        fields["h"],
        items=((row, int(flags.get(name, 0))) for name, row in by_kind["i"]),
        answers=by_kind["a"],
        changes=(row for _, row in by_kind["c"]),
    )


def advanced(before: Record, packed: bytes, *, ring: int) -> Record:
    """Return what a write, as it was *packed*, made of the record *before* it."""
    anew, put, drop = msgspec.msgpack.decode(
        packed, type=tuple[bool, list[str], list[str]]
    )
    fields = dict(zip(put[::2], put[1::2], strict=True))
    if anew:
        return record(fields)
    gone = {name[2:] for name in drop if name[0] == "i"}
    held = {k: v for k, v in before.mailbox.items.items() if k not in gone}
    # An item whose flags alone were written has its row from here.
    for name in [field[2:] for field in fields if field[0] == "f"]:
        if name in held:
            fields[f"i:{name}"] = stored.item_row(held[name])
    new = record(fields)
    forgotten = {name[2:] for name in drop if name[0] == "a"}
    return _joined(before, new, held, forgotten, ring)


def _joined(
    before: Record, new: Record, held: dict[str, Item], forgotten: set[str], ring: int
) -> Record:
    held |= new.mailbox.items
    answers = {
        name: answer
        for name, answer in before.mailbox.results.items()
        if name not in forgotten and name not in new.mailbox.results
    }
    answers |= new.mailbox.results
    mailbox = attrs.evolve(
        new.mailbox,
        items=held,
        results=answers,
        expires_at=next_end(held.values()),
        size=size_of(held.values()),
    )
    follows = len(new.changes) == new.mailbox.v - before.mailbox.v
    changes = before.changes if follows else ChangeLog()
    return Record(mailbox, changes.after(new.changes, keep=ring))


def tags(items: Iterable[Item]) -> set[str]:
    """Return all names under which a retraction finds one of *items*."""
    found: set[str] = set()
    for item in items:
        if item.source is not None or item.key is not None:
            found.update(stored.tags(item))
    return found
