"""Applies an operation to a stored record."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_urlsafe

from msgspec.structs import replace

from ...domain.operations import Operation, StartNewEpoch
from ...domain.record import Record, RecordLimits
from ...domain.refusals import OperationRefused
from ..base import ApplyResult
from ..epochs import first_epoch
from .group_commit import StoredRecord


def next_record(
    before: StoredRecord,
    operation: Operation,
    *,
    now: float,
    limits: RecordLimits,
    topics: Mapping[str, Record],
) -> tuple[Record, ApplyResult]:
    """Return the next record, and the result; *topics* are as of now."""
    record = before.record
    if before.is_old:
        renew = StartNewEpoch(token_urlsafe(9))
        record, _ = record.apply(renew, now=now, limits=limits)
    try:
        record, result = record.apply(operation, now=now, limits=limits, topics=topics)
    except OperationRefused as error:
        return record.refresh(now=now, limits=limits, topics=topics), error
    return record, result


def unstored_record(
    stored: StoredRecord,
    user: str,
    *,
    key: bytes,
    now: float,
    limits: RecordLimits,
    topics: Mapping[str, Record],
) -> Record:
    """Return what is read of a record while its next version cannot be committed.

    Its epoch is computed from the content, so that no two states have the same name.
    Nothing is stored in such an epoch.
    """
    record = stored.record.refresh(now=now, limits=limits, topics=topics)
    mailbox = record.mailbox
    state = (user, stored.record.badge.etag, *mailbox.items)
    epoch = first_epoch(key, "\n".join(state))
    return Record(replace(mailbox, epoch=epoch))
