"""The states on which operations are computed: pending ones before committed ones.

A mailbox is brought up to date before each operation: from its topics, too. A topic
that is due is brought up to date first, in a batch that is not later. Batches are
committed in order, and a failed one fails all behind it, so no mailbox is durable with
a version of a topic that is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias, final

import attrs

from ...domain.names import is_topic_mailbox
from ...domain.operations import Operation, Refresh
from ...domain.record import Record, RecordLimits, names_topics
from ...lru_map import LruMap
from ..base import ApplyResult, MailboxDamaged
from ..damage import DAMAGED, DamageLog, needs_no_content
from .group_commit import CommitBatch, StoredRecord
from .loader import DamagedMailbox
from .next_record import next_record
from .writer import Writer

PendingResult: TypeAlias = tuple[ApplyResult, CommitBatch | None]
"""A result, and the batch that must be committed before it is returned."""

DamagedMailboxes: TypeAlias = Mapping[str, DamagedMailbox]


def topics_of(name: str, record: Record, operation: Operation) -> Collection[str]:
    """Return the topic mailboxes from which *record* pulls with *operation*."""
    return () if is_topic_mailbox(name) else record.topics(operation)


@final
@attrs.frozen
class PendingRecords:
    """Applies operations to loaded records, and gives the next ones to the writer."""

    _writer: Writer
    _cache: LruMap[str, StoredRecord]
    _clock: Callable[[], float]
    _limits: RecordLimits
    _damage: DamageLog

    def get(self, name: str, damaged: DamagedMailboxes) -> StoredRecord | None:
        """Return the latest state of *name*; `None` if it is not loaded."""
        stored = self._writer.pending(name)[0] or self._cache.get(name)
        if stored is None and name in damaged:
            return damaged[name].salvaged
        return stored

    def apply(
        self, name: str, operation: Operation, damaged: DamagedMailboxes
    ) -> PendingResult:
        """Apply *operation* to the latest state of *name*, which is loaded."""
        before = self.get(name, damaged)
        assert before is not None, "loaded and pinned"
        mailbox = before.record.mailbox
        if before.is_salvaged and not needs_no_content(operation, mailbox):
            found = damaged.get(name)
            return found.error if found else MailboxDamaged(DAMAGED), None
        topics = self._topics(name, before.record, operation, damaged)
        if names_topics(operation):
            for topic in before.record.topics(operation) - topics.keys():
                return MailboxDamaged(*damaged[topic].error.args), None
        return self._apply(name, before, operation, topics)

    def _apply(
        self,
        name: str,
        before: StoredRecord,
        operation: Operation,
        topics: Mapping[str, Record],
    ) -> PendingResult:
        now, limits = self._clock(), self._limits.of(name)
        try:
            record, result = next_record(
                before, operation, now=now, limits=limits, topics=topics
            )
        except Exception as error:
            # The reducer fails only on a record that no operations can have made.
            return self._damage.record(name, error), None
        if record is not before.record:
            return result, self._writer.enqueue(name, before, record)
        # What the result is based on may not be committed yet.
        return result, self._writer.pending(name)[1]

    def _topics(
        self,
        name: str,
        record: Record,
        operation: Operation,
        damaged: DamagedMailboxes,
    ) -> dict[str, Record]:
        """Return the topics from which *record* pulls, as of now."""
        topics = {}
        for topic in topics_of(name, record, operation):
            current = self._current_topic(topic, damaged)
            if current is not None:
                topics[topic] = current
        return topics

    def current_topics(self, name: str, record: Record) -> dict[str, Record]:
        """Return the loaded topics from which *record* pulls, without a write."""
        now, topics = self._clock(), {}
        for topic in topics_of(name, record, Refresh()):
            stored = self._cache.get(topic)
            if stored is not None:
                limits = self._limits.of(topic)
                topics[topic] = stored.record.refresh(now=now, limits=limits)
        return topics

    def _current_topic(self, name: str, damaged: DamagedMailboxes) -> Record | None:
        stored = self.get(name, damaged)
        if stored is not None and self.is_due(stored) and not stored.is_salvaged:
            self._apply(name, stored, Refresh(), {})
            stored = self.get(name, damaged)
        if stored is None or stored.is_salvaged:
            return None
        return stored.record

    def is_due(self, stored: StoredRecord) -> bool:
        """Return whether *stored* changes by itself when it is read now."""
        return stored.is_old or stored.record.is_due(self._clock())

    def is_behind(self, name: str, stored: StoredRecord) -> bool:
        """Return whether the committed topics have news for the record of *name*."""
        topics = {}
        for topic in topics_of(name, stored.record, Refresh()):
            committed = self._cache.get(topic)
            if committed is None:
                continue
            if self.is_due(committed):
                return True
            topics[topic] = committed.record
        return stored.record.is_behind(topics)
