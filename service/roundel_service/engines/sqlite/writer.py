"""The writer: one task commits all changes of the file, in order.

State: the queue of batches (see `group_commit`), and `_pending`: for each mailbox with
an uncommitted update, its latest state and the last batch that contains it.

An operation is computed on the pending state, not on the committed one, so it does not
wait for the commit before. Readers see only committed states: `on_committed` publishes
a record after its commit.

When a commit fails, the writer also fails all waiting batches and forgets the pending
states, because they were computed from states that are not in the file. The next
operation starts from the committed state. A damaged file stays unusable until the
engine is started again; after any other error the next successful commit ends the
fault.

A commit runs in a thread, which can hang with the disk. A second task therefore
resolves batches after `COMMIT_TIMEOUT`: their callers learn that the result is unknown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from secrets import token_urlsafe
from typing import Final, NoReturn, final

import structlog
import trio

from ...domain.mailbox import Mailbox
from ...domain.record import Record
from ..base import EngineUnavailable
from ..codec.errors import describe
from .connection import describe_error, is_damage
from .database import Database
from .group_commit import (
    COMMIT_TIMEOUT,
    CommitBatch,
    CommitQueue,
    MailboxUpdate,
    StoredRecord,
)
from .rows import BatchRows, decode_claim
from .writer_thread import WriterThread

# Callers see these texts; only the operator sees the path and SQLite's message.
DAMAGED: Final = "the database is damaged"
FAILED: Final = "the database is unavailable"
STOPPED: Final = "the engine has stopped"

NOT_STORED: Final = "the mailbox cannot be stored"

CHECK_TIMEOUT: Final = 1.0
"""Timeout in seconds of the test write after a failure."""

POLL_INTERVAL: Final = 1.0
"""Interval in seconds between two checks for batches that take too long."""

LOG_INTERVAL: Final = 60.0
"""Seconds for which the write-ahead log keeps the text of an item that is gone."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@final
class Writer:
    """Commits updates and claims to *database* while `run()` runs.

    *on_committed* is called with each user and record after its commit.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float],
        on_committed: Callable[[str, StoredRecord], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._on_committed = on_committed
        self._queue = CommitQueue()
        self._current = CommitBatch()
        self._current.resolve()
        self._pending: dict[str, tuple[MailboxUpdate, CommitBatch]] = {}
        self._new_ids = count(database.last_id + 1)
        self._last_entry = database.last_entry
        self._thread = WriterThread()
        self._fault: str | None = None
        self._is_damaged = False
        self._has_stopped = False
        # A log of an earlier process has text, too.
        self._has_written = True
        if database.refusal is not None:
            self.record_failure(database.refusal)

    def pending(self, user: str) -> tuple[StoredRecord | None, CommitBatch | None]:
        """Return the user's uncommitted state and the batch that commits it."""
        update, batch = self._pending.get(user, (None, None))
        return update and update.after, batch

    def enqueue(self, user: str, before: StoredRecord, record: Record) -> CommitBatch:
        """Add an update from the pending state *before* to *record*.

        Raises `EngineUnavailable`.
        """
        batch = self._current_batch()
        number = before.id or next(self._new_ids)
        # A new epoch replaces all that is damaged.
        is_same_epoch = record.mailbox.epoch == before.record.mailbox.epoch
        is_salvaged = before.is_salvaged and is_same_epoch
        after = StoredRecord(number, record, is_salvaged=is_salvaged)
        previous, _ = self._pending.get(user, (None, None))
        update = batch.updates.get(user)
        if update is None:
            update = MailboxUpdate(before, after, previous)
            batch.add(user, update)
        else:
            update.after = after
        self._pending[user] = update, batch
        return batch

    def forget(self, user: str, stored: StoredRecord) -> CommitBatch:
        """Remove the mailbox of *user*, which has no pending update.

        Raises `EngineUnavailable`.
        """
        batch = self._current_batch()
        unwritten = Record(Mailbox(epoch=token_urlsafe(9)))
        update = MailboxUpdate(stored, StoredRecord(None, unwritten))
        batch.add(user, update)
        self._pending[user] = update, batch
        return batch

    def touch(self, number: int, active_at: float) -> CommitBatch:
        """Write that a mailbox was active at *active_at*.

        Raises `EngineUnavailable`.
        """
        batch = self._current_batch()
        batch.touched[number] = active_at
        return batch

    async def claim(self, key: str, value: str, expires_at: float) -> str:
        """Set *key* to *value* if it has no value; return its value."""
        batch = self._current_batch()
        batch.claims.setdefault(key, (value, expires_at))
        await batch.wait()
        return decode_claim(key, batch.claim_values.get(key))

    def _current_batch(self) -> CommitBatch:
        if self._has_stopped:
            raise EngineUnavailable(STOPPED)
        if self._is_damaged:
            raise EngineUnavailable(DAMAGED)
        return self._queue.current_batch()

    async def check(self) -> None:
        """Raise `EngineUnavailable` if writes fail; after a failure try one."""
        try:
            self._database.check_path()
        except OSError as error:
            self.record_failure(error)
        if self._fault is not None:
            # An empty batch makes a test write, and its success ends the fault.
            with trio.move_on_after(CHECK_TIMEOUT), suppress(EngineUnavailable):
                await self._current_batch().wait()
        if self._fault is not None:
            raise EngineUnavailable(self._fault)

    async def run(self) -> NoReturn:
        """Commit batches until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._time_out_batches)
                nursery.start_soon(self._keep_emptying_log)
                while True:
                    self._current = await self._queue.next()
                    await self._commit(self._current)
        finally:
            # Nothing resolves an operation that comes later.
            self._has_stopped = True
            self._fail_pending(EngineUnavailable(STOPPED))
            self._thread.stop()

    async def _time_out_batches(self) -> NoReturn:
        while True:
            await trio.sleep(POLL_INTERVAL)
            oldest = trio.current_time() - COMMIT_TIMEOUT
            for batch in (self._current, *self._queue):
                if batch.created_at < oldest and not batch.is_resolved:
                    # The thread may still commit it: the result is unknown.
                    error = TimeoutError(f"no commit within {COMMIT_TIMEOUT:g} s")
                    batch.resolve(self.record_failure(error))

    async def _keep_emptying_log(self) -> NoReturn:
        while True:
            await trio.sleep(LOG_INTERVAL)
            if self._has_written:
                await self._thread.run(self._empty_log)
            while await self._thread.run(self._give_space_back):
                # Each step waits for the batches before it.
                self._has_written = True

    def _empty_log(self) -> None:
        """Empty the log; runs in a thread, between two writes."""
        # What fails is tried again a minute later, and the next commit reports it.
        with suppress(sqlite3.Error):
            self._has_written = not self._database.empty_log()

    def _give_space_back(self) -> bool:
        """Return some free pages to the disk; return whether there are more."""
        with suppress(sqlite3.Error):
            return self._database.shrink()
        return False

    async def _commit(self, batch: CommitBatch) -> None:
        try:
            rows = self._rows(batch)
            self._database.check_path()
            await self._thread.run(self._write, batch, rows)
        except (sqlite3.Error, OSError) as error:
            failure = self.record_failure(error)
            batch.resolve(failure)
            self._fail_pending(failure)
        else:
            self._finish(batch)
        finally:
            batch.resolve(EngineUnavailable(STOPPED))

    def _rows(self, batch: CommitBatch) -> BatchRows:
        rows = BatchRows(
            generation=self._database.generation,
            now=self._clock(),
            last_entry=self._last_entry,
        )
        for user, update in list(batch.updates.items()):
            try:
                rows.add(user, update)
            except Exception as error:
                # One mailbox must not fail the others, and not end the writer. A
                # mailbox that pulled from a rejected topic has the same item.
                self._reject(batch, user, error)
        rows.add_others(batch)
        self._last_entry = rows.last_entry
        return rows

    def _reject(self, batch: CommitBatch, user: str, error: Exception) -> None:
        """Fail the pending operations of *user*, whose mailbox cannot be encoded."""
        log.error("mailbox not stored", user=user, reason=describe(error))
        self._pending.pop(user, None)
        # Later operations were computed on the state that is not stored.
        for each in (batch, *self._queue):
            if user in each.updates:
                each.reject(user, EngineUnavailable(NOT_STORED))

    def _write(self, batch: CommitBatch, rows: BatchRows) -> None:
        """Write the batch; runs in a thread."""
        self._has_written = True
        if batch.updates or batch.claims or batch.touched:
            self._database.write(rows)
        else:
            self._database.check_writable()
        if batch.claims:
            try:
                batch.claim_values = self._database.claim_values(list(batch.claims))
            except sqlite3.Error as error:
                # The updates are committed, so only the claims fail.
                self.record_failure(error)

    def _finish(self, batch: CommitBatch) -> None:
        if self._fault is not None and not self._is_damaged:
            log.info("engine recovered", path=str(self._database.path))
            self._fault = None
        for user, update in batch.updates.items():
            pending, _ = self._pending.get(user, (None, None))
            if pending is update:
                del self._pending[user]
            self._on_committed(user, update.after)
        batch.resolve()

    def _fail_pending(self, error: EngineUnavailable) -> None:
        self._pending.clear()
        self._queue.fail_all(error)

    def record_failure(self, error: Exception) -> EngineUnavailable:
        """Log a failure of the database once; return the error for callers."""
        is_new = self._fault is None or (is_damage(error) and not self._is_damaged)
        self._fault = describe_error(self._database.path, error)
        self._is_damaged |= is_damage(error)
        if is_new:
            log.error("engine unavailable", reason=self._fault)
        return EngineUnavailable(DAMAGED if self._is_damaged else FAILED)
