"""The size of an engine's record cache, and the weight of a record in it."""

from __future__ import annotations

from typing import Final

from ..domain.record import Record

CACHE_BYTES: Final = 128 * 1024 * 1024
"""Default size of a record cache in bytes."""

_SAMPLE: Final = 4
# Average sizes in memory, in bytes and without text.
_RECORD_BYTES, _ITEM_BYTES, _CHANGE_BYTES, _RESULT_BYTES = 1_500, 800, 1_400, 650


def record_weight(record: Record) -> int:
    """Return an estimate of the memory that *record* takes, in bytes.

    The length of a text is that of the newest items, so the estimate is O(1).
    """
    mailbox = record.mailbox
    sizes = [item.size for item in mailbox.items.newest(_SAMPLE)]
    text = sum(sizes) // max(1, len(sizes))
    return (
        _RECORD_BYTES
        + len(mailbox.items) * (_ITEM_BYTES + text)
        # A change that was read from a store does not share its item.
        + len(record.changes) * (_CHANGE_BYTES + text)
        + len(mailbox.results) * _RESULT_BYTES
    )
