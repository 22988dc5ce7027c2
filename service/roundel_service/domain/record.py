"""The record: the state that an engine stores for one user."""

from __future__ import annotations

from typing import final

from msgspec import Struct

from .badge import Badge
from .change_log import ChangeLog
from .items import MailboxLimits
from .mailbox import Applied, Mailbox, apply
from .operations import Expire, Operation


@final
class RecordLimits(Struct, frozen=True, gc=False, kw_only=True):
    """The limits of a record: of its mailbox, and of the length of its change log."""

    mailbox: MailboxLimits = MailboxLimits()
    change_log_size: int = 256


_NO_CHANGES = ChangeLog()


@final
class Record(Struct, frozen=True, gc=False):
    """A *mailbox* and the latest *changes* that led to it, oldest first.

    The changes have consecutive versions. `RecordLimits` bounds their number.
    """

    mailbox: Mailbox
    changes: ChangeLog = _NO_CHANGES

    @property
    def badge(self) -> Badge:
        """The current badge, taken from the latest change if there is one."""
        return self.changes.newest.badge if self.changes else self.mailbox.badge

    def is_before(self, other: Record) -> bool:
        """Return whether this is an earlier version in the epoch of *other*."""
        mine, others = self.mailbox, other.mailbox
        return mine.epoch == others.epoch and mine.v < others.v

    def expire(self, *, now: float, limits: RecordLimits) -> Record:
        """Return the record without the items that are expired at *now*."""
        if self.mailbox.expires_at > now:
            return self
        return self.apply(Expire(), now=now, limits=limits)[0]

    def apply(
        self, operation: Operation, *, now: float, limits: RecordLimits
    ) -> tuple[Record, Applied]:
        """Return the record after *operation*, and the result of the operation.

        *now* is in seconds since 1970. Raises `OperationRefused`.
        """
        applied = apply(self.mailbox, operation, now=now, limits=limits.mailbox)
        if applied.mailbox is self.mailbox:
            return self, applied
        if applied.mailbox.epoch != self.mailbox.epoch:
            return Record(applied.mailbox), applied
        changes = self.changes
        if applied.change is not None:
            changes = changes.extend(
                (applied.change,), max_length=limits.change_log_size
            )
        return Record(applied.mailbox, changes), applied
