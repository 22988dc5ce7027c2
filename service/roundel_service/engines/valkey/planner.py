"""Plans the write of a transaction: runs the reducer, and computes what to write."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from math import ceil, inf
from typing import Final, final

import attrs
from msgspec.structs import replace

from ...domain.items import Item
from ...domain.log.entry import LogEntry, entry_between
from ...domain.mailbox import Mailbox
from ...domain.record import Record, RecordLimits
from ..base import MailboxDamaged
from ..codec.encoding import encode_entry, encode_snapshot
from ..codec.errors import RecordDecodeError
from ..codec.policy import is_snapshot_due
from ..codec.tags import item_tags
from ..damage import DamageLog
from .keys import Keys
from .mailbox_hash import REVISION, decode_hash, salvage
from .pending import (
    MailboxTransaction,
    OperationResult,
    PendingOperation,
    PlannedWrite,
    StoredRecord,
)
from .reduction import Topics, reduce_operations, unstored_record
from .scripts import WRITE_ID_SIZE

DAY: Final = 86_400.0
"""Interval in seconds at which all items of a written mailbox are indexed again."""

NOTHING: Final = Record(Mailbox(epoch=""))
"""The place of a record that is not stored or not readable."""


@final
@attrs.frozen(kw_only=True)
class WritePlanner:
    """Decodes stored records, and plans and encodes writes.

    A mailbox expires a day after *user_ttl* seconds without a write, and a day after it
    is due and the last item that waits has appeared, if that is later.
    """

    keys: Keys
    limits: RecordLimits
    clock: Callable[[], float]
    user_ttl: float
    damage_log: DamageLog = attrs.field(factory=DamageLog)

    def decode(
        self,
        transaction: MailboxTransaction,
        timeline: bytes,
        flat: Sequence[bytes],
        kind: Sequence[object],
    ) -> StoredRecord:
        """Return the record in *flat*, a hash's names and values alternately.

        It has its changes only if the transaction *is_complete*. If the key is no hash,
        *kind* holds its type. What cannot be decoded is a damaged record.
        """
        user = transaction.user
        if kind:
            error = RecordDecodeError("the key is no hash")
            return self._damaged(user, b"", timeline, error)
        if not flat:
            return StoredRecord(record=NOTHING, revision=b"", timeline=timeline)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        revision = fields.get(b"w", b"")
        size = self.limits.change_log_size
        try:
            found = decode_hash(fields, change_log_size=size)
        except Exception as error:  # a record must not end the process
            head, entries = salvage(fields)
            salvaged = Record(head)
            return self._damaged(user, revision, timeline, error, salvaged, entries)
        loaded = StoredRecord(
            record=found.record,
            revision=revision,
            timeline=timeline,
            indexed_at=found.indexed_at,
            entries=found.entries,
            is_outdated=found.is_outdated,
        )
        return loaded if transaction.is_complete else loaded.without_changes()

    def _damaged(
        self,
        user: str,
        revision: bytes,
        timeline: bytes,
        error: Exception,
        salvaged: Record = NOTHING,
        entries: int = 0,
    ) -> StoredRecord:
        return StoredRecord(
            record=salvaged,
            revision=revision,
            timeline=timeline,
            entries=entries,
            damage=self.damage_log.record(user, error),
        )

    def plan(
        self,
        user: str,
        stored: StoredRecord,
        operations: Sequence[PendingOperation],
        topics: Topics,
    ) -> PlannedWrite:
        """Return the write that applies *operations* of *user*, in order, to *stored*.

        If the record is damaged, operations before a `DeleteUser` have no effect,
        except those that need no content.
        """
        try:
            plan = self._plan(user, stored, operations, topics)
        except Exception as error:  # a record must not end the process
            stored = self._damaged(user, stored.revision, stored.timeline, error)
            plan = self._plan_deletion(user, stored, operations, topics)
        if plan.id and stored.damage is not None and plan.after.damage is None:
            self.damage_log.forget(user)
        return plan

    def _plan_deletion(
        self,
        user: str,
        damaged: StoredRecord,
        operations: Sequence[PendingOperation],
        topics: Topics,
    ) -> PlannedWrite:
        try:
            return self._plan(user, damaged, operations, topics)
        except Exception:  # an operation that cannot be encoded
            assert damaged.damage is not None
            results = [MailboxDamaged(*damaged.damage.args) for _ in operations]
            return PlannedWrite(before=damaged, after=damaged, results=results)

    def _plan(
        self,
        user: str,
        stored: StoredRecord,
        operations: Sequence[PendingOperation],
        topics: Topics,
    ) -> PlannedWrite:
        record, results, damage = reduce_operations(
            user,
            stored,
            operations,
            topics,
            limits=self.limits.of(user),
            now=self.clock(),
        )
        if record is stored.record:
            return PlannedWrite(before=stored, after=stored, results=results)
        entry = entry_between(stored.record, record)
        if damage is not None:
            return self._plan_entry_of_damaged(stored, record, entry, results, damage)
        has_base = stored.revision and not stored.is_outdated
        is_snapshot = (
            not has_base
            or entry is None
            or entry.withdraws_text
            or is_snapshot_due(stored.entries, len(record.mailbox.items))
        )
        is_same_epoch = stored.record.mailbox.epoch == record.mailbox.epoch
        if is_snapshot and is_same_epoch and not stored.is_complete:
            return PlannedWrite(
                before=stored, after=stored, results=results, needs_changes=True
            )
        return self._plan_write(
            stored, record, results, entry=entry, is_snapshot=is_snapshot
        )

    def _plan_write(
        self,
        stored: StoredRecord,
        record: Record,
        results: Sequence[OperationResult],
        *,
        entry: LogEntry | None,
        is_snapshot: bool,
    ) -> PlannedWrite:
        now, write_id = self.clock(), _new_write_id()
        number = 0 if is_snapshot else stored.entries + 1
        after = stored.after(record, write_id, entries=number)
        is_new = stored.record.mailbox.epoch != record.mailbox.epoch
        # An empty mailbox without a write needs no index.
        index_all = record.mailbox.v > 0 and (is_new or stored.indexed_at + DAY < now)
        if index_all or is_new:
            after = replace(after, indexed_at=now if index_all else 0.0)
        if entry is None or index_all:
            items = _held_items(record)
        else:
            items = _written_items(record, entry)
        return PlannedWrite(
            id=write_id,
            before=stored,
            after=after,
            results=results,
            entry=b"" if entry is None else encode_entry(entry, number),
            snapshot=encode_snapshot(record) if is_snapshot else b"",
            frees_memory=is_snapshot
            and stored.revision != b""
            and (entry is None or entry.withdraws_text),
            ttl=self._ttl(record.mailbox, now),
            added_tags=sorted(_tags(items)),
            removed_tags=sorted(_removed_tags(stored.record, record, entry)),
            index_all=index_all,
        )

    def _plan_entry_of_damaged(
        self,
        stored: StoredRecord,
        record: Record,
        entry: LogEntry | None,
        results: Sequence[OperationResult],
        damage: MailboxDamaged,
    ) -> PlannedWrite:
        """Return the write of an entry, which leaves all else: it may be repaired.

        The revision keeps its timeline. So a mailbox that needs a new epoch gets it
        after the repair.
        """
        assert entry is not None, "a damaged mailbox keeps its epoch"
        write_id, number = _new_write_id(), stored.entries + 1
        after = stored.after(record, write_id, entries=number)
        revision = write_id + _timeline_of_damaged(stored)
        return PlannedWrite(
            id=write_id,
            before=stored,
            after=replace(after, revision=revision, damage=damage),
            results=results,
            entry=encode_entry(entry, number),
            ttl=self._ttl(record.mailbox, self.clock()),
        )

    def _ttl(self, mailbox: Mailbox, now: float) -> int:
        """Return after how many seconds without a write the mailbox expires."""
        if mailbox.due_at == inf and not mailbox.waiting:
            return ceil(self.user_ttl + DAY)
        ends = [now + self.user_ttl, *(it.until for it in mailbox.waiting.values())]
        if mailbox.due_at < inf:
            ends.append(mailbox.due_at)
        return ceil(max(ends) + DAY - now)

    def unstored(self, user: str, stored: StoredRecord) -> Record:
        """Return what is read of a record while the store refuses its next version."""
        return unstored_record(
            user, stored, limits=self.limits.of(user), now=self.clock()
        )


def _timeline_of_damaged(stored: StoredRecord) -> bytes:
    """Return the timeline in the revision, or one that is never current."""
    if not stored.needs_new_epoch:
        return stored.timeline
    is_readable = REVISION.fullmatch(stored.revision.decode("latin-1"))
    return stored.revision[WRITE_ID_SIZE:] if is_readable else b"unknown"


def _new_write_id() -> bytes:
    return secrets.token_hex(WRITE_ID_SIZE // 2).encode()


def _tags(items: Iterable[Item]) -> set[str]:
    """Return the tags of *items*, by which retractions find them."""
    return set().union(*map(item_tags, items))


def _held_items(record: Record) -> list[Item]:
    """Return all items, also those that wait."""
    mailbox = record.mailbox
    waiting = [each.item for each in mailbox.waiting.values()]
    return [*mailbox.items.values(), *waiting]


def _written_items(record: Record, entry: LogEntry) -> list[Item]:
    """Return the items that *entry* added or updated, also those that wait."""
    waiting = entry.mappings.get("waiting")
    names = () if waiting is None else waiting.put
    return [*entry.items, *(record.mailbox.waiting[name].item for name in names)]


def _removed_tags(before: Record, after: Record, entry: LogEntry | None) -> set[str]:
    """Return the tags that no item has any more."""
    if entry is not None and not entry.removed and "waiting" not in entry.mappings:
        return set()
    return _tags(_held_items(before)) - _tags(_held_items(after))
