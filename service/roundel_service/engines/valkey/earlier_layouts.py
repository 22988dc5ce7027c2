"""Reads a mailbox of layout 1.1 or 1.2; the next write replaces it by a snapshot.

| field | value |
|---|---|
| `h` | the head: everything without a field of its own |
| `i:ID` | an item without its flags |
| `f:ID` | the flags of an item, absent if it has none |
| `a:OP_ID` | the result of an idempotent operation |
| `d:NUMBER` | a change; the number is its version modulo the size of the change log |
| `c:NUMBER` | a change of layout 1.1, which has the text of items; it is not read |

The fields `w` and `x` are those of later layouts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...domain.record import Record
from ..codec.decoding import check_record
from ..codec.earlier import decode_record
from ..codec.errors import RecordDecodeError

_FIXED: Final = frozenset(("h", "w", "x"))


def decode(stored: Mapping[bytes, bytes]) -> Record:
    """Return the record that is stored in the fields of a hash.

    Raises an exception of any type if the fields are damaged.
    """
    fields = {name.decode(): value.decode() for name, value in stored.items()}
    by_kind: dict[str, dict[str, str]] = {kind: {} for kind in "ifacd"}
    for field, value in fields.items():
        if field not in _FIXED:
            by_kind[_kind(field)][field[2:]] = value
    flags = {name: _flags(value) for name, value in by_kind["f"].items()}
    items = by_kind["i"]
    record = decode_record(
        fields["h"],
        items=((row, flags.get(name, 0)) for name, row in items.items()),
        results=by_kind["a"].items(),
        # With changes of layout 1.1 the newest one may be among them.
        changes=() if by_kind["c"] else by_kind["d"].values(),
    )
    if items.keys() != record.mailbox.items.keys() or flags.keys() - items.keys():
        raise RecordDecodeError("the fields of items disagree with their rows")
    check_record(record)
    return record


def _kind(field: str) -> str:
    if field[:2] not in ("i:", "f:", "a:", "c:", "d:"):
        raise RecordDecodeError("a field of no known kind")
    return field[0]


def _flags(value: str) -> int:
    # int() also accepts spaces, signs and other digits.
    if len(value) != 1 or not value.isascii():
        raise RecordDecodeError("item flags: not a combination of known flags")
    return int(value)
