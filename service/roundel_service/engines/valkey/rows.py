"""A mailbox as a hash in the store.

| field | value |
|---|---|
| `h` | the head: everything without a field of its own |
| `w` | the revision: id and timeline of the last write |
| `x` | when all items were last indexed, in seconds since 1970 |
| `i:ID` | an item without its flags |
| `f:ID` | the flags of an item, absent if it has none |
| `a:OP_ID` | the result of an idempotent operation |
| `d:NUMBER` | a change; the number is its version modulo the size of the change log |

Layout 1.1 had changes with the text of the items, as `c:NUMBER`. They are not read, and
the next write removes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Final

import msgspec
from msgspec.structs import replace

from ...domain.change_log import ChangeLog
from ...domain.items import Item, next_expiry, total_size
from ...domain.record import Record
from .. import serialization
from ..codec.errors import RecordDecodeError
from ..deserialization import check_record, decode_record
from ..serialization import RecordDiff

_FIXED: Final = frozenset(("h", "w", "x"))


def encode(
    diff: RecordDiff, *, change_log_size: int, indexed_at: float | None = None
) -> bytes:
    """Return the write that applies *diff* to the hash of a mailbox.

    The write is MessagePack, for the script and for the log: whether to delete the hash
    first, names and values to set alternately, and names to delete. *indexed_at* is
    written if given.
    """
    put = ["h", serialization.mailbox_row(diff.mailbox)]
    for name, item in diff.items.items():
        put += (f"i:{name}", serialization.item_row(item))
    for name, flags in diff.flags.items():
        put += (f"f:{name}", str(flags))
    for name, answer in diff.results.items():
        put += (f"a:{name}", serialization.result_row(answer))
    for change in diff.changes:
        put += (f"d:{change.v % change_log_size}", serialization.change_row(change))
    delete = [f"{kind}:{name}" for name in diff.removed for kind in "if"]
    delete += [f"a:{name}" for name in diff.dropped_results]
    if indexed_at is not None:
        put += ("x", repr(indexed_at))
    return msgspec.msgpack.encode((diff.replace, put, delete))


def decode(fields: Mapping[str, str]) -> Record:
    """Return the record that is stored in the *fields* of a hash.

    Raises an exception of any type if the fields are damaged.
    """
    record = _decode(fields)
    check_record(record)
    return record


def has_texts_in_changes(names: Iterable[bytes]) -> bool:
    """Return whether a hash with fields of these *names* has changes of layout 1.1."""
    return any(name.startswith(b"c:") for name in names)


def _decode(fields: Mapping[str, str]) -> Record:
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


def decode_time(value: str) -> float:
    """Return the time in the field `x`."""
    if not isfinite(time := float(value)):
        raise RecordDecodeError("the time of the index is not finite")
    return time


def apply_write(before: Record, packed: bytes, *, change_log_size: int) -> Record:
    """Return the record after a *packed* write to the record *before*."""
    replace, put, delete = msgspec.msgpack.decode(
        packed, type=tuple[bool, list[str], list[str]]
    )
    fields = dict(zip(put[::2], put[1::2], strict=True))
    if replace:
        return _decode(fields)
    removed = {name[2:] for name in delete if name[0] == "i"}
    items = {k: v for k, v in before.mailbox.items.items() if k not in removed}
    # A write of flags alone contains no item, and _decode() needs one.
    for name in [field[2:] for field in fields if field[0] == "f"]:
        if name in items:
            fields[f"i:{name}"] = serialization.item_row(items[name])
    written = _decode(fields)
    forgotten = {name[2:] for name in delete if name[0] == "a"}
    return _merge(before, written, items, forgotten, change_log_size)


def _merge(
    before: Record,
    written: Record,
    items: dict[str, Item],
    forgotten: set[str],
    change_log_size: int,
) -> Record:
    items |= written.mailbox.items
    results = {
        name: result
        for name, result in before.mailbox.results.items()
        if name not in forgotten and name not in written.mailbox.results
    }
    results |= written.mailbox.results
    mailbox = replace(
        written.mailbox,
        items=items,
        results=results,
        expires_at=next_expiry(items.values()),
        size=total_size(items.values()),
    )
    is_contiguous = len(written.changes) == written.mailbox.v - before.mailbox.v
    changes = before.changes if is_contiguous else ChangeLog()
    return Record(mailbox, changes.extend(written.changes, max_length=change_log_size))


def tags(items: Iterable[Item]) -> set[str]:
    """Return the tags of *items*, by which retractions find them."""
    return set().union(*map(serialization.item_tags, items))
