"""What a turn at the store comes to: the reducer's answer, and the write it takes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, final

import attrs
import msgspec

from ...domain.mailbox import Mailbox
from ...domain.mailbox_builder import TooManyCategories
from ...domain.operations import StartNewEpoch
from ...domain.record import Record, RecordLimits
from .. import serialization as stored
from ..epochs import first_epoch
from ..serialization import RecordDiff
from . import rows
from .keys import Keys
from .pending import OperationResult, PendingOperation, PlannedWrite, StoredRecord
from .scripts import COMMIT, ID_SIZE
from .store import Command, call

_packed: Final = msgspec.msgpack.Encoder().encode

DAY: Final = 86_400.0
"""After how many seconds all that a mailbox holds is indexed again."""


@final
@attrs.frozen(kw_only=True)
class WritePlanner:
    """Makes records of what is stored, and plans of what is asked.

    A mailbox goes *user_ttl* seconds, and a day, after the last write to it.
    """

    keys: Keys
    limits: RecordLimits
    clock: Callable[[], float]
    user_ttl: float
    # The id of a write has to differ from others', and nobody may gain by guessing it.
    draw: Callable[[int], int] = attrs.field(
        factory=lambda: Random(secrets.randbits(128)).getrandbits  # noqa: S311
    )

    def decode(
        self, user: str, line: bytes, flat: Sequence[bytes], *, is_whole: bool
    ) -> StoredRecord:
        """Return what the fields of a hash, names and values in turn, tell.

        What nobody is to see needs no changes, and so is not whole.
        """
        if not flat:
            # An idle mailbox is gone at the end of the next of these spans, and does
            # not come back with an epoch that it had; nor does one that was lost.
            span = int(self.clock() // self.user_ttl)
            epoch = first_epoch(line, f"{user}/{span}")
            return StoredRecord(record=Record(Mailbox(epoch=epoch)), at=b"", line=line)
        fields = {
            name.decode(): value.decode()
            for name, value in zip(flat[::2], flat[1::2], strict=True)
            if is_whole or name[:2] != b"c:"
        }
        return StoredRecord(
            record=rows.record(fields),
            at=fields["w"].encode(),
            line=line,
            indexed=float(fields["x"]),
            is_whole=is_whole,
        )

    def plan(
        self, held: StoredRecord, pieces: Sequence[PendingOperation]
    ) -> PlannedWrite:
        """Return what *pieces*, one after the other, make of what is *held*."""
        record, outcomes = self._apply_operations(held, pieces)
        if record is held.record:
            return PlannedWrite(before=held, after=held, results=outcomes)
        was = held.record if held.at else None
        edit = stored.diff(was, record)
        is_due = edit.replace or held.indexed + DAY < self.clock()
        indexed = self.clock() if is_due else held.indexed
        write = rows.write(edit, ring=self.limits.change_log_size)
        if is_due:
            write.put.extend(("x", repr(indexed)))
        add = rows.tags((record.mailbox.items if is_due else edit.items).values())
        identity = f"{self.draw(4 * ID_SIZE):0{ID_SIZE}x}".encode()
        return PlannedWrite(
            id=identity,
            before=held,
            after=StoredRecord(
                record=record,
                at=identity + held.line,
                line=held.line,
                indexed=indexed,
                is_whole=held.is_whole,
            ),
            results=outcomes,
            packed=write.packed(),
            add=sorted(add),
            remove=sorted(_dropped(was, record, edit)),
            is_due=is_due,
        )

    def _apply_operations(
        self, held: StoredRecord, pieces: Sequence[PendingOperation]
    ) -> tuple[Record, list[OperationResult]]:
        now, rules, record = self.clock(), self.limits, held.record
        if held.is_lost:
            renew = StartNewEpoch(secrets.token_urlsafe(9))
            record, _ = record.applied(renew, now=now, limits=rules)
        outcomes: list[OperationResult] = []
        for piece in pieces:
            record = record.expired(now=now, limits=rules)
            if piece.operation is None:
                outcomes.append(record)
                continue
            try:
                record, applied = record.applied(piece.operation, now=now, limits=rules)
            except TooManyCategories as error:
                outcomes.append(error)
            else:
                outcomes.append(applied)
        return record, outcomes

    def commit(self, user: str, plan: PlannedWrite) -> Command:
        """Return the command that does what was planned, if nothing came between."""
        keys, shard = self.keys, self.keys.shard(user)
        names = [keys.line(shard), keys.user(user), keys.log(shard), keys.users(shard)]
        names += [keys.tag(shard, tag) for tag in (*plan.add, *plan.remove)]
        # The store's library knows no bytes but those of a text.
        writes = (plan.before.at, plan.before.line, plan.id)
        at, line, identity = [told.decode() for told in writes]
        ttl = round(self.user_ttl + DAY)
        told = (at, line, user, identity, ttl, len(plan.add), plan.is_due)
        return call(COMMIT, names, [_packed(told), plan.packed])


def _dropped(was: Record | None, record: Record, edit: RecordDiff) -> set[str]:
    """Return the tags of which nothing is left."""
    if was is None:
        return set()
    old, new = was.mailbox.items, record.mailbox.items
    names = old.keys() - new.keys() if edit.replace else edit.gone
    gone = rows.tags(old[name] for name in names)
    return gone - rows.tags(new.values()) if gone else gone
