"""The types of the rows of earlier versions: JSON lists, with their bounds."""

from __future__ import annotations

from typing import Any, TypeAlias, final

from ...domain.changes import Step
from .rows import ArrayRow, Caller, Counts, Epoch, StoredCount, Text, Version


@final
class MailboxRow(ArrayRow):
    """The mailbox, without its items, results and changes."""

    epoch: Epoch
    v: Version
    more: bool
    disconnected_at: float
    revoked_at: float
    gauges: Counts
    # Only rows whose revocation has a time of the issuer's clock have one.
    issued_before: float | None = None


@final
class EarlierItemRow(ArrayRow):
    """An item without its flags."""

    id: str
    seq: Version
    category: str
    title: str
    body: Text
    url: Text
    icon: Text
    key: Text
    source: Text
    data: Any
    created_at: float
    expires_at: float | None
    size: StoredCount
    # The oldest rows have none.
    updated_at: float | None = None


EarlierChangeRow: TypeAlias = tuple[
    Epoch, Version, bool, Counts, str, Caller, float, Text, tuple[Step, ...]
]
