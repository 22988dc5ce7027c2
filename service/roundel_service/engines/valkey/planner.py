"""Plans the write of a transaction: runs the reducer, and computes what to write."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final, final

import attrs
import msgspec
from msgspec.structs import replace

from ...domain.mailbox import Mailbox
from ...domain.mailbox_builder import OperationRefused
from ...domain.operations import DeleteUser, StartNewEpoch
from ...domain.record import Record, RecordLimits
from .. import serialization
from ..base import MailboxDamaged
from ..codec.errors import RecordDecodeError
from ..damage import DamageLog, needs_no_content
from ..deserialization import decode_mailbox
from ..epochs import first_epoch
from ..serialization import RecordDiff
from . import rows
from .client import Command
from .keys import Keys
from .pending import (
    MailboxTransaction,
    OperationResult,
    PendingOperation,
    PlannedWrite,
    StoredRecord,
)
from .scripts import COMMIT, LOAD, WRITE_ID_SIZE

_pack: Final = msgspec.msgpack.Encoder().encode

_REVISION: Final = re.compile(rf"[0-9a-f]{{{WRITE_ID_SIZE}}}[0-9A-Za-z_-]+")

DAY: Final = 86_400.0
"""Interval in seconds at which all items of a written mailbox are indexed again."""


NOTHING: Final = Record(Mailbox(epoch=""))
"""The place of a record that is not stored or not readable."""


@final
@attrs.frozen(kw_only=True)
class WritePlanner:
    """Decodes stored records, and plans and encodes writes.

    A mailbox expires *user_ttl* seconds and a day after its last write.
    """

    keys: Keys
    limits: RecordLimits
    clock: Callable[[], float]
    user_ttl: float
    damage_log: DamageLog = attrs.field(factory=DamageLog)

    def load(self, transaction: MailboxTransaction) -> Command:
        """Return the command that loads the record, unless it is as cached."""
        keys, user, cached = self.keys, transaction.user, transaction.cached
        new_data_id = secrets.token_urlsafe(9)
        return LOAD.call(
            [keys.data_id(keys.shard(user)), keys.user(user)],
            [new_data_id, cached.revision if cached is not None else b""],
        )

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
        stored = dict(zip(flat[::2], flat[1::2], strict=True))
        revision = stored.get(b"w", b"")
        try:
            record, indexed_at = _decode(stored)
        except Exception as error:  # a record must not end the process
            salvaged = Record(_salvage(stored))
            return self._damaged(user, revision, timeline, error, salvaged)
        loaded = StoredRecord(
            record=record,
            revision=revision,
            timeline=timeline,
            indexed_at=indexed_at,
            is_outdated=rows.has_texts_in_changes(stored),
        )
        return loaded if transaction.is_complete else loaded.without_changes()

    def _damaged(
        self,
        user: str,
        revision: bytes,
        timeline: bytes,
        error: Exception,
        salvaged: Record = NOTHING,
    ) -> StoredRecord:
        return StoredRecord(
            record=salvaged,
            revision=revision,
            timeline=timeline,
            damage=self.damage_log.record(user, error),
        )

    def plan(
        self, user: str, stored: StoredRecord, operations: Sequence[PendingOperation]
    ) -> PlannedWrite:
        """Return the write that applies *operations* of *user*, in order, to *stored*.

        If the record is damaged, operations before a `DeleteUser` have no effect,
        except those that need no content.
        """
        try:
            plan = self._plan(stored, operations)
        except Exception as error:  # a record must not end the process
            stored = self._damaged(user, stored.revision, stored.timeline, error)
            plan = self._plan_deletion(stored, operations)
        if plan.id and stored.damage is not None and plan.after.damage is None:
            self.damage_log.forget(user)
        return plan

    def _plan_deletion(
        self, damaged: StoredRecord, operations: Sequence[PendingOperation]
    ) -> PlannedWrite:
        try:
            return self._plan(damaged, operations)
        except Exception:  # an operation that cannot be encoded
            assert damaged.damage is not None
            results = [MailboxDamaged(*damaged.damage.args) for _ in operations]
            return PlannedWrite(before=damaged, after=damaged, results=results)

    def _plan(
        self, stored: StoredRecord, operations: Sequence[PendingOperation]
    ) -> PlannedWrite:
        record, results, damage = self._apply_operations(stored, operations)
        if record is stored.record:
            return PlannedWrite(before=stored, after=stored, results=results)
        before = None if stored.is_outdated else stored.record
        diff, now = serialization.diff(before, record), self.clock()
        if damage is not None:
            diff = attrs.evolve(diff, replace=False)  # The content may be repaired.
        is_due = diff.replace or (damage is None and stored.indexed_at + DAY < now)
        # An empty mailbox without a write needs no index.
        index_all = is_due and record.mailbox.v > 0
        indexed_at = now if index_all else 0.0 if diff.replace else None
        items = record.mailbox.items if index_all else diff.items
        write_id = secrets.token_hex(WRITE_ID_SIZE // 2).encode()
        return PlannedWrite(
            id=write_id,
            before=stored,
            after=attrs.evolve(
                stored.after(record, write_id, indexed_at=indexed_at), damage=damage
            ),
            results=results,
            packed=rows.encode(
                diff,
                change_log_size=self.limits.change_log_size,
                indexed_at=indexed_at,
            ),
            added_tags=sorted(rows.tags(items.values())),
            removed_tags=sorted(_removed_tags(stored.record, record, diff)),
            index_all=index_all,
        )

    def _apply_operations(
        self, stored: StoredRecord, operations: Sequence[PendingOperation]
    ) -> tuple[Record, list[OperationResult], MailboxDamaged | None]:
        """Return the record, the results, and the damage that is left."""
        now, limits, record = self.clock(), self.limits, stored.record
        damage = stored.damage
        if damage is None and stored.needs_new_epoch:
            record = self._start_epoch(record)
        results: list[OperationResult] = []
        for operation in (pending.operation for pending in operations):
            if damage is not None:
                if not needs_no_content(operation, record.mailbox):
                    results.append(MailboxDamaged(*damage.args))
                    continue
                if record is stored.record and stored.needs_new_epoch:
                    record = self._start_epoch(record)
            if isinstance(operation, DeleteUser):
                damage = None
            record = record.expire(now=now, limits=limits)
            if operation is None:
                results.append(record)
                continue
            try:
                record, applied = record.apply(operation, now=now, limits=limits)
                results.append(applied)
            except OperationRefused as error:
                results.append(error)
        return record, results, damage

    def _start_epoch(self, record: Record) -> Record:
        # Random: what is left in a store that lost a mailbox must not lead back to an
        # epoch whose versions clients have seen.
        epoch = secrets.token_urlsafe(9)
        if record.mailbox.v == 0:
            return Record(replace(record.mailbox, epoch=epoch))
        renew = StartNewEpoch(epoch)
        return record.apply(renew, now=self.clock(), limits=self.limits)[0]

    def unstored(self, user: str, stored: StoredRecord) -> Record:
        """Return what is read of a record while the store refuses its next version.

        Its epoch is computed from all that decides about its content, so that no two
        states have the same name, and all nodes name a state alike. Nothing is stored
        in such an epoch.
        """
        record = stored.record.expire(now=self.clock(), limits=self.limits)
        if record is stored.record and not stored.needs_new_epoch:
            return record
        revision = stored.revision.decode("latin-1")
        state = "\n".join((user, revision, *record.mailbox.items))
        epoch = first_epoch(stored.timeline, state)
        return Record(replace(record.mailbox, epoch=epoch))

    def commit(self, writes: Sequence[tuple[str, PlannedWrite]]) -> Command:
        """Return the command that applies *writes*, by user, of one shard.

        Each takes effect if its stored record is unchanged.
        """
        keys, shard = self.keys, self.keys.shard(writes[0][0])
        names = [keys.data_id(shard), keys.log(shard), keys.users(shard)]
        headers: list[tuple[object, ...]] = []
        contents: list[bytes] = []
        for user, plan in writes:
            names.append(keys.user(user))
            tags = (*plan.added_tags, *plan.removed_tags)
            names += [keys.tag(shard, tag) for tag in tags]
            headers.append(self._header(user, plan))
            contents += (plan.before.revision, plan.packed)
        # The client library takes long for each argument.
        return COMMIT.call(names, [_pack(headers), b"".join(contents)])

    def _header(self, user: str, plan: PlannedWrite) -> tuple[object, ...]:
        # The store's MessagePack library decodes no binary type, so these are text.
        return (
            user,
            plan.id.decode(),
            plan.before.timeline.decode(),
            len(plan.before.revision),
            len(plan.packed),
            round(self.user_ttl + DAY),
            plan.index_all,
            len(plan.added_tags),
            len(plan.removed_tags),
        )


def _decode(stored: Mapping[bytes, bytes]) -> tuple[Record, float]:
    """Return the record of a hash, and when its items were last indexed."""
    fields = {name.decode(): value.decode() for name, value in stored.items()}
    if not _REVISION.fullmatch(fields["w"]):
        raise RecordDecodeError("the revision is no revision")
    return rows.decode(fields), rows.decode_time(fields["x"])


def _salvage(stored: Mapping[bytes, bytes]) -> Mailbox:
    """Return the times at which the user's streams and tokens were ended, if any."""
    try:
        return decode_mailbox(stored[b"h"].decode())
    except (KeyError, ValueError):
        return NOTHING.mailbox


def _removed_tags(before: Record, after: Record, diff: RecordDiff) -> set[str]:
    """Return the tags that no item has any more."""
    old, new = before.mailbox.items, after.mailbox.items
    names = old.keys() - new.keys() if diff.replace else diff.removed
    removed = rows.tags(old[name] for name in names)
    return removed - rows.tags(new.values()) if removed else removed
