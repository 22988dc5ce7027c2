"""How an engine stores records and reads topics, with an optional flaw."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

import attrs
import trio
from msgspec.structs import replace

from roundel_service.domain.change_log import ChangeLog
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.names import is_topic_mailbox
from roundel_service.domain.operations import DeleteUser, Operation, Refresh
from roundel_service.domain.record import Record, RecordLimits
from roundel_service.domain.subscriptions import Muted
from support.flaws import Flaw

LOST_FIELDS = {
    Flaw.LOSES_MORE: {"more": False},
    Flaw.LOSES_WAITING: {"waiting": {}},
    Flaw.LOSES_MUTED: {"muted": Muted()},
    Flaw.FORGETS_EVICTIONS: {"evicted_upto": 0},
    Flaw.LOSES_POSITIONS: {"subscriptions": {}},
    Flaw.LOSES_EPOCH_HISTORY: {"epoch_history": ()},
}
"""The fields that an engine does not store, and their values when it reads them."""


def stored_form(flaw: Flaw | None, record: Record) -> Record:
    """Return what is left of *record* when it is stored."""
    mailbox = record.mailbox
    if flaw in LOST_FIELDS:
        return replace(record, mailbox=replace(mailbox, **LOST_FIELDS[flaw]))
    if flaw is Flaw.SHORT_POSITIONS:
        return replace(record, mailbox=_with_short_positions(mailbox))
    if flaw is Flaw.GAP_IN_CHANGE_LOG and len(record.changes) > 2:
        changes = (*record.changes[:-2], record.changes[-1])
        return replace(record, changes=ChangeLog(changes))
    return record


def _with_short_positions(mailbox: Mailbox) -> Mailbox:
    subscriptions = {
        name: replace(held, position=held.position[-1:])
        for name, held in mailbox.subscriptions.items()
    }
    return replace(mailbox, subscriptions=subscriptions)


@final
@attrs.define
class TopicReader:
    """Reads the topics of a record, and brings both up to date.

    *load* returns a stored record, and *store* replaces one by another.
    """

    flaw: Flaw | None
    limits: RecordLimits
    load: Callable[[str], Record]
    store: Callable[[str, Record, Record], Awaitable[None]]
    _first_read: dict[str, Record] = attrs.field(factory=dict)
    _unstored: list[tuple[str, Record, Record]] = attrs.field(factory=list)

    def limits_of(self, name: str) -> RecordLimits:
        """Return the limits of a mailbox."""
        return self.limits if self.flaw is Flaw.SAME_LIMITS else self.limits.of(name)

    async def refresh(self, name: str, record: Record, now: float) -> Record:
        """Return *record* as of *now*."""
        if self.flaw is Flaw.LATE_APPEARANCE and record.mailbox.waiting:
            return record
        topics = await self.topics(name, record, Refresh(), now)
        hidden = self._hidden(record.mailbox)
        mailbox = record.mailbox
        if hidden:
            shown = {i: w for i, w in mailbox.waiting.items() if i not in hidden}
            record = replace(record, mailbox=replace(mailbox, waiting=shown))
        after = record.refresh(now=now, limits=self.limits_of(name), topics=topics)
        if hidden:
            waiting = {**hidden, **after.mailbox.waiting}
            after = replace(after, mailbox=replace(after.mailbox, waiting=waiting))
        if self.flaw is Flaw.WRITES_WITHOUT_NEWS and after is record:
            return replace(record)
        return after

    def _hidden(self, mailbox: Mailbox) -> dict:
        if self.flaw is not Flaw.IGNORES_SNOOZED_COPIES:
            return {}
        return {i: w for i, w in mailbox.waiting.items() if w.item.topic is not None}

    async def topics(
        self, name: str, record: Record, operation: Operation, now: float
    ) -> dict[str, Record]:
        """Return the topics of *record* as of *now*."""
        if is_topic_mailbox(name) or self.flaw is Flaw.NEVER_PULLS:
            return {}
        is_deletion = isinstance(operation, DeleteUser)
        if self.flaw is Flaw.DELETES_WITHOUT_TOPICS and is_deletion:
            return {}
        return {
            topic: await self._topic(topic, now) for topic in record.topics(operation)
        }

    async def _topic(self, topic: str, now: float) -> Record:
        before = self.load(topic)
        if self.flaw is Flaw.PULLS_OLD_TOPICS:
            if before.mailbox.v:
                self._first_read.setdefault(topic, before)
            return self._first_read.get(topic, before)
        if self.flaw is Flaw.IGNORES_DUE_TOPICS:
            return before
        record = before.refresh(now=now, limits=self.limits_of(topic))
        if record is before or self.flaw is Flaw.PULLS_UNSTORED:
            return record
        if self.flaw is Flaw.STORES_TOPIC_LATE:
            self._unstored.append((topic, before, record))
            return record
        await self.store(topic, before, record)
        return record

    async def store_late(self) -> None:
        """Store the topics that are not stored yet."""
        for _ in range(9 if self._unstored else 0):
            await trio.lowlevel.checkpoint()
        while self._unstored:
            await self.store(*self._unstored.pop())
