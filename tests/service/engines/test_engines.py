"""Every engine of the house keeps what all engines promise."""

from __future__ import annotations

import pytest

from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.record import Record, RecordLimits
from roundel_service.testing import CHECKS, Check
from support.engines import ENGINES, memory, redis, sqlite, store_urls, valkey
from support.mailboxes import note

# Fixtures are found by their names.
__all__ = ["memory", "redis", "sqlite", "store_urls", "valkey"]


def promised() -> list:
    """Return each engine with each of its promises."""
    return [
        pytest.param(
            name,
            promise,
            id=f"{name}-{promise.name}",
            marks=[] if name == "memory" else [pytest.mark.slow],
        )
        for name, kind in ENGINES.items()
        for promise in CHECKS
        if promise.applies_to(kind)
    ]


@pytest.mark.parametrize(("name", "promise"), promised())
async def test_promise(name: str, promise: Check, request):
    """What an engine is chosen for is what it does."""
    make_engine, kind = request.getfixturevalue(name), ENGINES[name]

    await promise.run(make_engine, is_durable=kind.is_durable, is_shared=kind.is_shared)


@pytest.mark.parametrize("ring", [1, 2, 3])
def test_record_keeps_no_more_changes_than_the_ring(ring):
    """The bound of the settings holds, from the smallest on."""
    record = Record(Mailbox(epoch="e"))
    for number in range(5):
        new = note(f"{number}")
        record, _ = record.apply(
            new, now=0.0, limits=RecordLimits(change_log_size=ring)
        )

    assert ring == len(record.changes)
