"""The values that a transaction works on: operations, records, and planned writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Final, TypeAlias, final

import attrs
import trio
from msgspec import Struct, field
from msgspec.structs import replace

from ...domain.names import is_topic_mailbox
from ...domain.operations import Operation
from ...domain.record import Record, needs_topics
from ..base import ApplyResult, EngineUnavailable, MailboxDamaged
from .scripts import WRITE_ID_SIZE

OperationResult: TypeAlias = Record | ApplyResult

next_number: Final[Callable[[], int]] = count(1).__next__
"""Returns a number that is higher than all before: the order of reads."""


@final
@attrs.define(eq=False)
class PendingOperation:
    """An operation on a user's mailbox, or `None` for a read, and its result.

    *since* is when it was submitted, by trio's clock.
    """

    user: str
    operation: Operation | None
    since: float
    result: OperationResult | None = None
    # Made by the first wait: of many operations of a call, most are not waited for.
    _resolved: trio.Event | None = attrs.field(default=None, init=False, repr=False)

    def resolve(self, result: OperationResult) -> None:
        """Set the result, unless it is set already."""
        if self.result is None:
            self.result = result
            if self._resolved is not None:
                self._resolved.set()

    async def wait(self) -> OperationResult:
        """Wait for the result."""
        while self.result is None:
            if self._resolved is None:
                self._resolved = trio.Event()
            await self._resolved.wait()
        return self.result


@final
class StoredRecord(Struct, frozen=True, kw_only=True):
    """A *record* as it is stored.

    *revision* is the id of the last write followed by the timeline of that write. It
    is empty if the mailbox was never written. *timeline* is the current timeline.
    *indexed_at* is when all items were last indexed, in seconds since 1970. *entries*
    is the number of entries after the snapshot. The record has its changes only if it
    *is_complete*. If the stored mailbox is damaged, *damage* is the error, and the
    record is the readable part. It *is_rewound* if a later version of the same epoch
    was stored before. It *is_outdated* if the next write has to replace all that is
    stored. It was read before the number *read_at*.
    """

    record: Record
    revision: bytes
    timeline: bytes
    indexed_at: float = 0.0
    entries: int = 0
    is_complete: bool = True
    damage: MailboxDamaged | None = None
    is_rewound: bool = False
    is_outdated: bool = False
    read_at: int = field(default_factory=next_number)

    @property
    def write_id(self) -> bytes:
        """The id of the last write, empty if there is none."""
        return self.revision[:WRITE_ID_SIZE]

    @property
    def needs_new_epoch(self) -> bool:
        """Whether there is no write, or none since the timeline has changed.

        A later write may have been lost, so the mailbox continues in a new epoch. A
        mailbox that was never written begins in a random one, which the first read or
        write stores.
        """
        return self.is_rewound or not self.revision.endswith(self.timeline)

    def newer_than(self, before: StoredRecord) -> StoredRecord:
        """Return the record, which was loaded after *before*; it may be rewound."""
        if not self.record.is_before(before.record):
            return self
        return replace(self, is_rewound=True)

    def without_changes(self) -> StoredRecord:
        """Return the record without its changes; a write does not need them."""
        if not self.record.changes:
            return self
        record = Record(self.record.mailbox)
        return replace(self, record=record, is_complete=False)

    def after(self, record: Record, write_id: bytes, *, entries: int) -> StoredRecord:
        """Return what is stored after a write that results in *record*."""
        return StoredRecord(
            record=record,
            revision=write_id + self.timeline,
            timeline=self.timeline,
            indexed_at=self.indexed_at,
            entries=entries,
            is_complete=self.is_complete,
        )


@final
class PlannedWrite(Struct, frozen=True, kw_only=True):
    """A write that replaces *before* by *after*, and the *results* of its operations.

    A write that is tried again is the same write with the same *id*. The id is empty
    if nothing changes. It is an *entry*, and for some writes a *snapshot* that replaces
    all that is stored; the entry is then for the log alone. If it *frees_memory*, a
    full store accepts it. The mailbox expires after *ttl* seconds. With *index_all* all
    items are indexed, otherwise only the new ones. If it *needs_changes*, it is no
    write: the record has to be loaded with its changes.
    """

    before: StoredRecord
    after: StoredRecord
    results: Sequence[OperationResult]
    id: bytes = b""
    entry: bytes = b""
    snapshot: bytes = b""
    frees_memory: bool = False
    ttl: int = 0
    added_tags: Sequence[str] = ()
    removed_tags: Sequence[str] = ()
    index_all: bool = False
    needs_changes: bool = False


@final
@attrs.define(eq=False, kw_only=True)
class MailboxTransaction:
    """All pending *operations* on one user's mailbox, executed as one write.

    *cached* may be out of date; a stored version before it was rewound. *stored* is the
    record that the plan is based on; it *is_fresh* if this transaction loaded it. With
    *is_complete* the record is loaded with its changes. *is_doubtful* means that the
    planned write may have been applied.
    *is_alone* means that a command with the writes of several users has failed, so that
    this one gets a command of its own. It *needs_topics* if an operation must see all
    topics as of now.
    """

    user: str
    operations: list[PendingOperation]
    is_complete: bool
    cached: StoredRecord | None
    stored: StoredRecord | None = None
    plan: PlannedWrite | None = None
    is_fresh: bool = False
    is_doubtful: bool = False
    is_alone: bool = False
    is_resolved: bool = False
    has_failed: bool = False
    needs_topics: bool = attrs.field(init=False)

    @needs_topics.default
    def _find_needs(self) -> bool:
        return not is_topic_mailbox(self.user) and any(
            each.operation is None or needs_topics(each.operation)
            for each in self.operations
        )

    def set_stored(self, stored: StoredRecord) -> None:
        """Set the record that was loaded from the store."""
        if self.cached is not None:
            stored = stored.newer_than(self.cached)
        self.stored, self.is_fresh = stored, True

    def reload(self, cached: StoredRecord) -> None:
        """Load again before the next step; *cached* may be out of date."""
        self.cached, self.stored, self.is_fresh = cached, None, False

    @property
    def is_cached(self) -> bool:
        """Whether the cached record has what this transaction needs."""
        cached = self.cached
        return cached is not None and (cached.is_complete or not self.is_complete)

    def load_changes(self) -> None:
        """Load the record with its changes before the next step."""
        self.is_complete, self.stored = True, None

    def resolve(self, results: Sequence[OperationResult]) -> None:
        """Set the result of each operation."""
        self.is_resolved = True
        for operation, result in zip(self.operations, results, strict=True):
            operation.resolve(result)

    def fail(self, error: EngineUnavailable) -> None:
        """Fail all operations; they may or may not have been applied."""
        self.has_failed = True
        self.resolve([EngineUnavailable(*error.args) for _ in self.operations])
