"""Group commit: many operations share one transaction and one fsync.

A commit to the disk takes milliseconds, however small it is. So operations do not
commit on their own: each joins the current `CommitBatch` and waits until that is
resolved.

State: `CommitQueue` holds the batches that wait, oldest first. New operations join the
last one. The writer takes the first one, and while it commits that, the next one fills.

Invariants: a batch is committed as a whole or not at all, and in the order of the
queue. It contains one update for each mailbox, with the latest state: several
operations on a mailbox are written once. A batch is resolved exactly once, also if the
commit fails or the writer ends, so no operation waits forever.

Cost: a batch closes at `MAX_BATCH` mailboxes or claims, which bounds the duration of a
transaction. Under load all operations of one commit time share the next commit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, final

import attrs
import trio

from roundel_adapters.wakeup import Wakeup

from ...domain.record import Record
from ..base import EngineUnavailable

MAX_BATCH: Final = 128
"""Maximum number of mailboxes, and of claims, in one commit.

While one batch is committed the next one is prepared. Several small batches thus keep
both the disk and the processor busy.
"""

COMMIT_TIMEOUT: Final = 10.0
"""Commit timeout in seconds."""


@final
@attrs.frozen
class StoredRecord:
    """A *record* and its row *id*, which is `None` before the first write.

    *entries* is the number of stored entries after the snapshot. *written_at* is when
    this process wrote it, in seconds since 1970, or 0. If *is_old* is set,
    the record was written before a backup was restored. If *is_salvaged* is set, it has
    only the readable part of a damaged mailbox.
    """

    id: int | None
    record: Record
    entries: int = 0
    written_at: float = 0.0
    is_old: bool = False
    is_salvaged: bool = False


@final
@attrs.define(eq=False)
class MailboxUpdate:
    """Replaces *before*, the stored state of a mailbox, by *after*.

    If they have different ids, the mailbox was removed, and perhaps written again.
    *previous* is the update of an earlier batch that leads to *before*, if that was not
    committed when this one began.
    """

    before: StoredRecord
    after: StoredRecord
    previous: MailboxUpdate | None = None

    @property
    def removes_mailbox(self) -> bool:
        """Whether the stored mailbox is removed."""
        return self.before.id not in (None, self.after.id)

    @property
    def entries_before(self) -> int:
        """The number of entries when this update is written, after all earlier ones."""
        stored = self.before if self.previous is None else self.previous.after
        return stored.entries


@final
class CommitBatch:
    """Updates and claims of one transaction."""

    def __init__(self) -> None:
        self.updates: dict[str, MailboxUpdate] = {}
        self.claims: dict[str, tuple[str, float]] = {}
        """Values and expiry times by key."""
        self.touched: dict[int, float] = {}
        """New values of `active_at` by row id."""
        self.claim_values: dict[str, bytes] = {}
        """The stored values of the claimed keys, after the commit."""
        self.created_at: float = trio.current_time()
        self._resolved = trio.Event()
        self._error: EngineUnavailable | None = None
        self._rejected: dict[str, EngineUnavailable] = {}

    @property
    def is_resolved(self) -> bool:
        """Whether the batch was committed or has failed."""
        return self._resolved.is_set()

    @property
    def is_full(self) -> bool:
        """Whether the next operation must join another batch."""
        return len(self.updates) >= MAX_BATCH or len(self.claims) >= MAX_BATCH

    def add(self, user: str, update: MailboxUpdate) -> None:
        """Add the first update of the user's mailbox in this batch."""
        self.updates[user] = update

    def reject(self, user: str, error: EngineUnavailable) -> None:
        """Remove the update of *user*, which cannot be stored; the others stay."""
        del self.updates[user]
        self._rejected[user] = error

    def resolve(self, error: EngineUnavailable | None = None) -> None:
        """Wake all waiters, with *error* if the commit failed."""
        if not self._resolved.is_set():
            self._error = error
            self._resolved.set()

    async def wait(self, user: str | None = None) -> None:
        """Wait for the commit; raises `EngineUnavailable` if it failed.

        With *user*, also if only the update of this user failed.
        """
        await self._resolved.wait()
        error = self._error or (self._rejected.get(user) if user else None)
        if error is not None:
            raise type(error)(*error.args)


@final
class CommitQueue:
    """The batches that wait to be committed, oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[CommitBatch] = deque()
        self._wakeup = Wakeup()

    def current_batch(self) -> CommitBatch:
        """Return the batch that a new operation joins."""
        if not self._waiting or self._waiting[-1].is_full:
            self._waiting.append(CommitBatch())
            self._wakeup.notify()
        return self._waiting[-1]

    async def next(self) -> CommitBatch:
        """Wait for a batch, and remove it from the queue."""
        while not self._waiting:
            await self._wakeup.wait()
        return self._waiting.popleft()

    def fail_all(self, error: EngineUnavailable) -> None:
        """Resolve all waiting batches with *error*."""
        while self._waiting:
            self._waiting.popleft().resolve(error)

    def __iter__(self) -> Iterator[CommitBatch]:
        """Iterate over the waiting batches."""
        return iter(self._waiting)
