"""Users and topics whose records a test changes, without an engine."""

from __future__ import annotations

import attrs

from roundel_service.domain.content import decode_content
from roundel_service.domain.mailbox import Applied, Mailbox
from roundel_service.domain.names import is_topic_mailbox
from roundel_service.domain.operations import Operation, Refresh, StartNewEpoch
from roundel_service.domain.record import Record, RecordLimits


@attrs.define
class Mailboxes:
    """The records of users and topics; a user's record pulls from the topics."""

    limits: RecordLimits = attrs.field(factory=RecordLimits)
    now: float = 0.0
    records: dict[str, Record] = attrs.field(factory=dict)

    def stored(self, name: str) -> Record:
        return self.records.get(name, Record(Mailbox(epoch=f"epoch of {name}")))

    def do(self, name: str, operation: Operation) -> Applied:
        """Apply *operation* to the mailbox *name*, and store it."""
        record, applied = self.stored(name).apply(
            operation,
            now=self.now,
            limits=self.limits.of(name),
            topics=self._topics(name, operation),
        )
        self.records[name] = record
        return applied

    def look(self, name: str) -> Record:
        """Return the record as of now, and store it."""
        before = self.stored(name)
        record = before.refresh(
            now=self.now,
            limits=self.limits.of(name),
            topics=self._topics(name, Refresh()),
        )
        if record is not before:
            self.records[name] = record
        return record

    def _topics(self, name: str, operation: Operation) -> dict[str, Record]:
        if is_topic_mailbox(name):
            return {}
        topics = self.stored(name).topics(operation)
        return {topic: self.look(topic) for topic in topics}

    def fail_over(self, name: str, to: Record, epoch: str) -> None:
        """Let a store lose what came after *to*, and start a new epoch."""
        self.records[name] = to
        self.do(name, StartNewEpoch(epoch))

    def titles(self, name: str) -> list[str]:
        """Return the titles of the items that a look finds, oldest first."""
        items = self.look(name).mailbox.items.values()
        return [decode_content(item.content).title for item in items]
