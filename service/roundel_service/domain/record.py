"""The record of a mailbox: what an engine stores of one user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import attrs

from .badge import Badge
from .change_log import ChangeLog
from .changes import Change
from .items import MailboxLimits
from .mailbox import Applied, Mailbox, apply
from .operations import Expire, Operation


@final
@attrs.frozen(kw_only=True)
class RecordLimits:
    """What bounds a record: the *limits* of the mailbox, and *ring* changes."""

    mailbox: MailboxLimits = attrs.field(factory=MailboxLimits)
    change_log_size: int = 256


_NO_CHANGES = ChangeLog()


def _ring(changes: Iterable[Change]) -> ChangeLog:
    # Asked in this way since it is asked for each record.
    return changes if type(changes) is ChangeLog else ChangeLog(changes)


@final
@attrs.frozen
class Record:
    """A *mailbox*, and the latest *changes* that led to it, oldest first.

    The changes are without a hole; how many are kept is bounded by `RecordLimits`.
    """

    mailbox: Mailbox
    changes: ChangeLog = attrs.field(default=_NO_CHANGES, converter=_ring)

    @property
    def badge(self) -> Badge:
        """The badge now; that of the latest change, where there is one."""
        return self.changes.newest.badge if self.changes else self.mailbox.badge

    def expire(self, *, now: float, limits: RecordLimits) -> Record:
        """Return the record without what is over *now*, in seconds since 1970."""
        if self.mailbox.expires_at > now:
            return self
        return self.apply(Expire(), now=now, limits=limits)[0]

    def apply(
        self, operation: Operation, *, now: float, limits: RecordLimits
    ) -> tuple[Record, Applied]:
        """Return what *operation* makes of the record, and what it answers.

        Raises `TooManyCategories`.
        """
        applied = apply(self.mailbox, operation, now=now, limits=limits.mailbox)
        if applied.mailbox is self.mailbox:
            return self, applied
        if applied.mailbox.epoch != self.mailbox.epoch:
            return Record(applied.mailbox), applied
        changes = self.changes
        if applied.change is not None:
            changes = changes.extend((applied.change,), keep=limits.change_log_size)
        return Record(applied.mailbox, changes), applied
