"""The estimate of a record's size in memory."""

from __future__ import annotations

from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.record import Record, RecordLimits
from roundel_service.engines.cache import record_weight
from support.mailboxes import note


def test_weight_grows_with_the_record():
    """The estimate counts items, their text and the changes."""
    record = Record(Mailbox(epoch="e"))
    weights = [record_weight(record)]
    for number, size in enumerate([0, 0, 8_000]):
        new = note(f"{number}", size=size, op_id=f"{number}")
        record, _ = record.apply(new, now=0.0, limits=RecordLimits())
        weights.append(record_weight(record))

    assert weights == sorted(set(weights))
    assert weights[-1] > 8_000
