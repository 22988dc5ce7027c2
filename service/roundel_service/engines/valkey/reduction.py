"""Runs the reducer on a stored record."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import final

import attrs
from msgspec.structs import replace

from ...domain.names import is_topic_mailbox
from ...domain.operations import DeleteUser, Operation, Refresh, StartNewEpoch
from ...domain.record import Record, RecordLimits, needs_topics
from ...domain.refusals import OperationRefused
from ..base import ApplyResult, EngineUnavailable, MailboxDamaged
from ..damage import needs_no_content
from ..epochs import first_epoch
from .pending import OperationResult, PendingOperation, StoredRecord

Topics = Mapping[str, Record]
"""Records of topics, as of now, by the names of their mailboxes."""


@final
@attrs.define
class Reduction:
    """The *record* after the operations so far, and the *damage* that is left.

    *limits* are those of this mailbox, and *now* is in seconds since 1970. A topic has
    no topics.
    """

    record: Record
    damage: MailboxDamaged | None
    limits: RecordLimits
    now: float
    is_topic: bool = False

    def apply(self, operation: Operation | None, topics: Topics) -> OperationResult:
        """Apply *operation*, or read the record if it is `None`; return the result.

        A damaged record is kept, except by operations that need no content.
        """
        damage = self.damage
        if damage and not needs_no_content(operation, self.record.mailbox):
            return MailboxDamaged(*damage.args)
        if operation is None:
            self._refresh(topics)
            return self.record
        if self._lacks_topics(operation, topics):
            return EngineUnavailable("the store: a topic is unavailable")
        if isinstance(operation, DeleteUser):
            self.damage = None
        return self._apply(operation, topics)

    def _apply(self, operation: Operation, topics: Topics) -> ApplyResult:
        try:
            self.record, applied = self.record.apply(
                operation, now=self.now, limits=self.limits, topics=topics
            )
        except OperationRefused as error:
            self._refresh(topics)
            return error
        return applied

    def _refresh(self, topics: Topics) -> None:
        self.record = self.record.refresh(
            now=self.now, limits=self.limits, topics=topics
        )

    def _lacks_topics(self, operation: Operation, topics: Topics) -> bool:
        # A refresh without some topics is the best that there is.
        if not needs_topics(operation) or isinstance(operation, Refresh):
            return False
        return not self.is_topic and not (
            self.record.topics(operation) <= topics.keys()
        )

    def start_epoch(self) -> None:
        """Continue the record in a new epoch."""
        # Random: the rest of a store that lost a mailbox must not lead back to an
        # epoch whose versions clients have seen.
        epoch, record = secrets.token_urlsafe(9), self.record
        if record.mailbox.v == 0:
            self.record = Record(replace(record.mailbox, epoch=epoch))
        else:
            self._apply(StartNewEpoch(epoch), {})


def reduce_operations(
    user: str,
    stored: StoredRecord,
    operations: Sequence[PendingOperation],
    topics: Topics,
    *,
    limits: RecordLimits,
    now: float,
) -> tuple[Record, list[OperationResult], MailboxDamaged | None]:
    """Return the record after *operations*, their results, and the damage left."""
    reduction = Reduction(
        stored.record, stored.damage, limits, now, is_topic_mailbox(user)
    )
    if stored.damage is None and stored.needs_new_epoch:
        reduction.start_epoch()
    results = [reduction.apply(each.operation, topics) for each in operations]
    return reduction.record, results, reduction.damage


def unstored_record(
    user: str, stored: StoredRecord, *, limits: RecordLimits, now: float
) -> Record:
    """Return what is read of a record while the store refuses its next version.

    Its epoch is computed from all that decides about its content, so that no two
    states have the same name, and all nodes name a state alike. Nothing is stored in
    such an epoch.
    """
    record = stored.record.refresh(now=now, limits=limits)
    if record is stored.record and not stored.needs_new_epoch:
        return record
    revision = stored.revision.decode("latin-1")
    state = "\n".join((user, revision, *record.mailbox.items))
    epoch = first_epoch(stored.timeline, state)
    return Record(replace(record.mailbox, epoch=epoch))
