"""The fields of a mailbox besides its items, and their stored form.

A new field of `Mailbox` needs a line in `VALUES` or `MAPPINGS`, and a field of the same
name in `rows.HeadRow` and `rows.FieldsRow`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from ...domain.badge import Badge, badge_from_counts
from ...domain.idempotency import IdempotentResult
from ...domain.items import Count, ExternalCount
from ...domain.revocation import Revocation
from . import rows
from .items import stored_waiting, waiting_rows

_T = TypeVar("_T")

Conversions: TypeAlias = Mapping[
    str, tuple[Callable[[Any], object], Callable[[Any], object]]
]
"""By the name of a field: functions to its stored form, and back."""


def counts_row(badge: Badge) -> rows.Counts:
    """Return the counts of *badge* by category."""
    return {name: (count.unread, count.unseen) for name, count in badge.by.items()}


def stored_badge(epoch: str, v: int, more: bool, by: rows.Counts) -> Badge:
    """Return the badge with the stored counts *by* category."""
    counts = {name: Count(*count) for name, count in by.items()}
    return badge_from_counts(epoch, v, counts, more=more)


def _unchanged(value: _T) -> _T:
    return value


def _revocation_row(revocation: Revocation) -> rows.RevocationRow:
    return revocation.made_at, revocation.issued_before


def _revocation(row: rows.RevocationRow) -> Revocation:
    return Revocation(*row)


def _gauges_row(gauges: Mapping[str, ExternalCount]) -> rows.Counts:
    return {name: (it.count, it.source_version) for name, it in gauges.items()}


def _gauges(row: rows.Counts) -> dict[str, ExternalCount]:
    return {name: ExternalCount(*gauge) for name, gauge in row.items()}


def results_row(results: Mapping[str, IdempotentResult]) -> dict[str, rows.ResultRow]:
    """Return the stored form of the results of operation ids."""
    return {op_id: _result_row(result) for op_id, result in results.items()}


def _result_row(result: IdempotentResult) -> rows.ResultRow:
    badge, cause = result.badge, (result.time, result.item, result.digest)
    return rows.ResultRow(badge.epoch, badge.v, badge.more, counts_row(badge), *cause)


def stored_results(row: Mapping[str, rows.ResultRow]) -> dict[str, IdempotentResult]:
    """Return the results of operation ids from their stored form."""
    return {op_id: stored_result(result) for op_id, result in row.items()}


def stored_result(row: rows.ResultRow) -> IdempotentResult:
    """Return the result of an operation id from its stored form."""
    badge = stored_badge(row.epoch, row.v, row.more, row.by)
    return IdempotentResult(
        badge=badge, time=row.time, item=row.item, digest=row.digest
    )


VALUES: Final[Conversions] = {
    "more": (_unchanged, _unchanged),
    "disconnected_at": (_unchanged, _unchanged),
    "revocation": (_revocation_row, _revocation),
    "muted": (_unchanged, _unchanged),
    "claimed_at": (_unchanged, _unchanged),
    "epoch_history": (_unchanged, _unchanged),
    "evicted_upto": (_unchanged, _unchanged),
}
"""Fields that an entry has as a whole."""

MAPPINGS: Final[Conversions] = {
    "gauges": (_gauges_row, _gauges),
    "results": (results_row, stored_results),
    "waiting": (waiting_rows, stored_waiting),
    "subscriptions": (_unchanged, _unchanged),
}
"""Fields of which an entry has the values that were set, and the keys dropped."""

HEAD: Final[Conversions] = {
    name: convert
    for name, convert in {**VALUES, **MAPPINGS}.items()
    if name != "results"
}
"""Fields in the head of a snapshot, which has the results in a line of their own."""
