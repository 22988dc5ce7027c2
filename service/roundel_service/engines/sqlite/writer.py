"""The one task that writes: it takes what waits, commits it, and tells of it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import NoReturn, final

import structlog
import trio

from ...domain.record import Record
from ..base import EngineUnavailable
from .database import Database, describe_error, is_damage
from .group_commit import COMMIT_TIMEOUT, CommitBatch, CommitQueue, StoredRecord
from .rows import BatchRows, Parameters

DAMAGED = "what is stored is damaged"
FAILED = "the mailboxes' file cannot be used now"

RETRY_DELAY = 1.0
"""For how many seconds it is seen whether a file can be used again."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@final
class Writer:
    """Writes into *file* what is staged; `run()` has to run beside it.

    *committed* is told each user and what is in the file from now on. *ring* changes
    of each user have a place there.
    """

    def __init__(
        self,
        file: Database,
        *,
        ring: int,
        clock: Callable[[], float],
        committed: Callable[[str, StoredRecord], None],
    ) -> None:
        self._file = file
        self._ring = ring
        self._clock = clock
        self._committed = committed
        self._queue = CommitQueue()
        self._current = CommitBatch()
        self._current.resolve()
        # What each mailbox is to become, and the last group that has to do with it.
        self._pending: dict[str, tuple[StoredRecord, CommitBatch]] = {}
        self._last_id = file.last_id
        # Where answers were given at one time, these say which came first.
        self._numbers = count(time.time_ns())
        self._limiter = trio.CapacityLimiter(1)
        # Why nothing can be written, as an operator is told.
        self._fault: str | None = None
        self._is_damaged = False

    def pending(self, user: str) -> tuple[StoredRecord | None, CommitBatch | None]:
        """Return what the user's mailbox is to become, and when that is in the file."""
        return self._pending.get(user, (None, None))

    def enqueue(
        self, user: str, before: StoredRecord, record: Record, *, replace: bool
    ) -> CommitBatch:
        """Have *record* written, which was made of what was staged so far.

        With *anew* it is of another line of versions. Raises `EngineUnavailable`.
        """
        group = self._open()
        after = StoredRecord(before.id or self._new_id(), record)
        group.add(user, before, after, replace=replace)
        self._pending[user] = after, group
        return group

    def _new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    async def claim(self, key: str, value: str, until: float) -> str:
        """Keep *value* under *key* unless there is one; return what is kept."""
        group = self._open()
        group.claims.setdefault(key, (value, until))
        await group.wait()
        if key not in group.claim_values:
            raise EngineUnavailable(f"what is kept under {key!r} could not be read")
        return group.claim_values[key]

    def _open(self) -> CommitBatch:
        if self._is_damaged:
            raise EngineUnavailable(DAMAGED)
        return self._queue.current_batch()

    async def check(self) -> None:
        """Raise `EngineUnavailable` if writes fail; after a failure it tries one."""
        try:
            self._file.check_path()
        except OSError as error:
            self.record_failure(error)
        if self._fault is not None:
            # A group of nothing tries it; how that ends is seen by the fault.
            with trio.move_on_after(RETRY_DELAY), suppress(EngineUnavailable):
                await self._open().wait()
        if self._fault is not None:
            raise EngineUnavailable(self._fault)

    async def run(self) -> NoReturn:
        """Commit one group after the other, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                while True:
                    self._current = await self._queue.next()
                    await self._commit(self._current)
        finally:
            self._fail_pending(EngineUnavailable("the engine has ended"))

    async def _watch(self) -> NoReturn:
        """Let nobody wait for longer than there is patience, whatever hangs."""
        while True:
            await trio.sleep(1.0)
            late = trio.current_time() - COMMIT_TIMEOUT
            for group in (self._current, *self._queue):
                if group.created_at < late and not group.is_resolved:
                    # It may still come about; for those who wait that is not known.
                    hangs = TimeoutError(f"nothing was written in {COMMIT_TIMEOUT:g} s")
                    group.resolve(self.record_failure(hangs))

    async def _commit(self, group: CommitBatch) -> None:
        parameters = self._parameters(group)
        try:
            self._file.check_path()
            await trio.to_thread.run_sync(
                self._write, group, parameters, limiter=self._limiter
            )
        except (sqlite3.Error, OSError) as error:
            fault = self.record_failure(error)
            group.resolve(fault)
            self._fail_pending(fault)
        else:
            self._on_committed(group)
        finally:
            group.resolve(EngineUnavailable("the engine has ended"))

    def _parameters(self, group: CommitBatch) -> Parameters:
        rows = BatchRows(self._file.generation, self._ring, self._numbers)
        for user, step in group.updates.items():
            rows.add(user, step)
        return rows.parameters(group, self._clock())

    def _write(self, group: CommitBatch, parameters: Parameters) -> None:
        """Do it; in the thread that writes."""
        if group.updates or group.claims:
            self._file.write(parameters)
        else:
            self._file.check_writable()
        if group.claims:
            try:
                group.claim_values = self._file.insert_claims(list(group.claims))
            except sqlite3.Error as error:
                # The mailboxes are written: nothing of that may be given up.
                self.record_failure(error)

    def _on_committed(self, group: CommitBatch) -> None:
        if self._fault is not None and not self._is_damaged:
            log.info("engine recovered", path=str(self._file.path))
            self._fault = None
        for user, step in group.updates.items():
            if self._pending[user][0] is step.after:
                del self._pending[user]
            self._committed(user, step.after)
        group.resolve()

    def _fail_pending(self, error: EngineUnavailable) -> None:
        # What was staged stands on what did not come about.
        self._pending.clear()
        self._queue.fail_all(error)

    def record_failure(self, error: Exception) -> EngineUnavailable:
        """Take notice that the file cannot be used; return what callers are told."""
        is_news = self._fault is None or (is_damage(error) and not self._is_damaged)
        self._fault = describe_error(self._file.path, error)
        self._is_damaged |= is_damage(error)
        if is_news:
            log.error("engine unavailable", reason=self._fault)
        return EngineUnavailable(DAMAGED if self._is_damaged else FAILED)
