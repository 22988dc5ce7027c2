"""A mailbox as a hash in the store: a snapshot, and the entries after it.

| field | value |
|---|---|
| `w` | the revision: id and timeline of the last write |
| `x` | when all items were last indexed, in seconds since 1970 |
| `b` | the snapshot |
| `e:NUMBER` | an entry after the snapshot, from 1 |

A snapshot replaces the whole hash. `codec` has the form of snapshots and entries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Final, final

import attrs

from ...domain.log.replay import replay
from ...domain.mailbox import Mailbox
from ...domain.record import Record
from ..codec.decoding import decode_entry, decode_head, decode_stored
from ..codec.errors import RecordDecodeError
from . import earlier_layouts
from .scripts import WRITE_ID_SIZE

REVISION: Final = re.compile(rf"[0-9a-f]{{{WRITE_ID_SIZE}}}[0-9A-Za-z_-]+")

_FIXED: Final = frozenset((b"w", b"x", b"b"))

_MAX_NAME: Final = 18
"""Maximum length of the name of an entry. Python converts no very long number."""


@final
@attrs.frozen(kw_only=True)
class MailboxHash:
    """A decoded hash: a *record*, and the number of *entries* after its snapshot.

    *indexed_at* is when all items were last indexed. It *is_outdated* if it has an
    earlier layout.
    """

    record: Record
    entries: int
    indexed_at: float
    is_outdated: bool


def decode_hash(fields: Mapping[bytes, bytes], *, change_log_size: int) -> MailboxHash:
    """Return what is stored in the *fields* of a hash.

    Raises an exception of any type if the fields are damaged.
    """
    if not REVISION.fullmatch(fields[b"w"].decode()):
        raise RecordDecodeError("the revision is no revision")
    indexed_at = decode_time(fields[b"x"].decode())
    if is_outdated := b"b" not in fields:
        record, entries = earlier_layouts.decode(fields), {}
    else:
        entries = numbered_entries(fields)
        if len(fields) != len(_FIXED) + len(entries):
            raise RecordDecodeError("a field of no known kind")
        record = decode_stored(
            fields[b"b"], entries.values(), change_log_size=change_log_size
        )
    return MailboxHash(
        record=record,
        entries=len(entries),
        indexed_at=indexed_at,
        is_outdated=is_outdated,
    )


def numbered_entries(fields: Mapping[bytes, bytes]) -> dict[int, bytes]:
    """Return the entries in *fields* by the number in their names, in this order."""
    entries = {
        int(name[2:]): row
        for name, row in fields.items()
        if name[:2] == b"e:" and name[2:].isdigit() and len(name) <= _MAX_NAME
    }
    return dict(sorted(entries.items()))


def salvage(fields: Mapping[bytes, bytes]) -> tuple[Mailbox, int]:
    """Return the readable part of a damaged hash, and the highest number of an entry.

    It has the times at which the user's streams and tokens were ended, and no epoch if
    these cannot be read. Nothing is read of an earlier layout.
    """
    entries = numbered_entries(fields)
    head = decode_head(fields.get(b"b", b""), entries.values())
    return head, max(entries, default=0)


def decode_time(value: str) -> float:
    """Return the time in the field `x`."""
    if not isfinite(time := float(value)):
        raise RecordDecodeError("the time of the index is not finite")
    return time


def apply_logged(before: Record, row: bytes, *, change_log_size: int) -> Record:
    """Return the record after a write to *before* that is a *row* in the log.

    The row is an entry, or a snapshot, which has several lines. Raises an exception of
    any type if it is damaged.
    """
    if b"\n" in row:
        return decode_stored(row, (), change_log_size=change_log_size)
    _, entry = decode_entry(row, before.mailbox.epoch)
    return replay(before, [entry], change_log_size=change_log_size)
