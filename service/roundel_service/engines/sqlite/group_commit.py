"""Group commit: what many ask for is made durable together, and each waits for that."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import final

import attrs
import trio

from roundel_adapters.wakeup import Wakeup

from ...domain.record import Record
from ..base import EngineUnavailable

MAX_BATCH = 128
"""How many users' mailboxes are committed together at the most.

While one group is being committed the next is made, so that more than one of them
keeps both the disk and the processor at work.
"""

COMMIT_TIMEOUT = 10.0
"""For how many seconds a commit is waited for."""


@final
@attrs.frozen
class StoredRecord:
    """A *record*, and its *id* in the store, where it may still have to be written.

    One that *is_old* was written before the store was restored from a backup.
    """

    id: int | None
    record: Record
    is_old: bool = False


@final
@attrs.define
class MailboxUpdate:
    """What a group makes of one mailbox: *after*, where *before* is stored.

    With *anew*, a line of versions ended in between.
    """

    before: StoredRecord
    after: StoredRecord
    replace: bool


@final
class CommitBatch:
    """What is committed together, or not at all."""

    def __init__(self) -> None:
        self.updates: dict[str, MailboxUpdate] = {}
        self.claims: dict[str, tuple[str, float]] = {}
        self.claim_values: dict[str, str] = {}
        self.created_at = trio.current_time()
        self._over = trio.Event()
        self._error: EngineUnavailable | None = None

    @property
    def is_resolved(self) -> bool:
        """Whether those who wait were told how it ended."""
        return self._over.is_set()

    @property
    def is_full(self) -> bool:
        """Whether what comes now belongs into the next group."""
        return len(self.updates) >= MAX_BATCH or len(self.claims) >= MAX_BATCH

    def add(
        self, user: str, before: StoredRecord, after: StoredRecord, *, replace: bool
    ) -> None:
        """Take *after* as what the user's mailbox is to become."""
        step = self.updates.get(user)
        if step is None:
            self.updates[user] = MailboxUpdate(before, after, replace)
        else:
            step.after = after
            step.replace |= replace

    def resolve(self, error: EngineUnavailable | None = None) -> None:
        """Tell all who wait that it is committed, or why it is not; once."""
        if not self._over.is_set():
            self._error = error
            self._over.set()

    async def wait(self) -> None:
        """Wait until it is committed; raises `EngineUnavailable`."""
        await self._over.wait()
        if self._error is not None:
            raise EngineUnavailable(*self._error.args)


@final
class CommitQueue:
    """The groups that wait to be committed, the oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[CommitBatch] = deque()
        self._bell = Wakeup()

    def current_batch(self) -> CommitBatch:
        """Return the group for what comes now."""
        if not self._waiting or self._waiting[-1].is_full:
            self._waiting.append(CommitBatch())
            self._bell.notify()
        return self._waiting[-1]

    async def next(self) -> CommitBatch:
        """Wait for a group, and close it."""
        while not self._waiting:
            await self._bell.wait()
        return self._waiting.popleft()

    def fail_all(self, error: EngineUnavailable) -> None:
        """Give up all groups that wait."""
        waiting, self._waiting = self._waiting, deque()
        for group in waiting:
            group.resolve(error)

    def __iter__(self) -> Iterator[CommitBatch]:
        """Return the groups that wait."""
        return iter(self._waiting)
