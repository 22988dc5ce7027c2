"""The mailboxes of the store, with a cache, and notifications about their changes.

A record reaches the cache in two ways: from this node's transactions, and from other
nodes' writes in the log. A write in the log is applied to the cached record if it
directly follows the cached revision. Otherwise a watched user's record is loaded
again, and another user's is dropped from the cache. A user is watched while streams of
the user are open at this node.

A record whose timeline has changed is not delivered to listeners, because a write that
a client saw may be missing. The log follower loads it again, and the transaction puts
it into a new epoch. Listeners are notified before the caller gets its result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, final

import structlog
import trio

from roundel_adapters.wakeup import Wakeup

from ...domain.names import is_topic_mailbox
from ...domain.record import Record
from ...lru_map import LruMap
from ..base import EngineUnavailable
from ..cache import CACHE_BYTES, record_weight
from .mailbox_hash import apply_logged
from .pending import MailboxTransaction, PendingOperation, StoredRecord
from .planner import WritePlanner
from .scheduler import OperationScheduler
from .store import Store
from .topics import TopicReader
from .transactions import OptimisticTransactions

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

_MAX_OWN_WRITES: Final = 20_000
"""Number of write ids by which this node recognizes its own writes in the log."""

_RETRY_DELAY: Final = 0.5
"""Delay before a record is loaded again after a failure, in seconds."""


@final
class MailboxStore:
    """Reads and writes mailboxes, and calls *on_change* for watched users.

    *is_watched* returns whether a user is watched. `timeline_changed` is notified when
    a record of an earlier timeline is found.
    """

    def __init__(
        self,
        store: Store,
        planner: WritePlanner,
        *,
        on_change: Callable[[str, Record], None],
        is_watched: Callable[[str], bool],
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.timeline_changed: Wakeup = Wakeup()
        self._store = store
        self._planner = planner
        self._on_change = on_change
        self._is_watched = is_watched
        self._cache: LruMap[str, StoredRecord] = LruMap(cache_bytes)
        self._own_writes: LruMap[bytes, None] = LruMap(_MAX_OWN_WRITES)
        self._scheduler = OperationScheduler(self._queue, self._begin, self._run_batch)
        self.submit = self._scheduler.submit
        self._transactions = OptimisticTransactions(
            store,
            planner,
            self._on_stored,
            self._on_unstored,
            self._own_writes,
            TopicReader(self.submit, self._cache, planner.clock),
        )
        self._stale: set[str] = set()
        self._stale_added = Wakeup()

    def _queue(self, user: str) -> tuple[int, bool]:
        # A batch of users waits for batches of topics, which wait for no other batch.
        slots, is_topic = self._store.slots, is_topic_mailbox(user)
        if slots.count == 1:
            return 0, is_topic
        return slots.primary(self._planner.keys.user(user)), is_topic

    async def run(self) -> None:
        """Run transactions and refresh stale records until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._scheduler.run)
            nursery.start_soon(self._refresh_stale)

    def refresh(self, users: Collection[str]) -> None:
        """Load the records of watched *users* again, in the background."""
        self._stale.update(users)
        self._stale_added.notify()

    def compare_revision(self, user: str, revision: bytes) -> None:
        """Load the record of *user* if *revision*, the stored one, differs.

        The log may be behind. Or the store lost the mailbox, which is in no log.
        """
        cached = self._cache.get(user)
        is_other = cached is not None and cached.revision != revision
        if is_other and self._is_watched(user) and not self._scheduler.is_busy(user):
            self.refresh([user])

    def on_log_entry(
        self,
        user: str,
        previous_id: bytes,
        write_id: bytes,
        row: bytes | None,
        entries: int,
    ) -> None:
        """Apply a write from the log to the cache.

        *row* is the write, or `None` if it was too large for the log. After it the
        mailbox has a number of *entries* after its snapshot.
        """
        cached = self._cache.get(user)
        if write_id in self._own_writes or (cached and cached.write_id == write_id):
            return
        if not self._is_watched(user):
            self._cache.discard(user)
        elif (
            cached is None
            or not cached.is_complete
            or cached.write_id != previous_id
            or self._scheduler.is_busy(user)
            or row is None
        ):
            self.refresh([user])
        else:
            self._apply_write(user, cached, write_id, row, entries)

    def _apply_write(
        self, user: str, cached: StoredRecord, write_id: bytes, row: bytes, entries: int
    ) -> None:
        size = self._planner.limits.change_log_size
        try:
            record = apply_logged(cached.record, row, change_log_size=size)
        except Exception:  # an entry of the log must not end the process
            log.warning("log entry unreadable", user=user, exc_info=True)
            self.refresh([user])
        else:
            self._on_stored(user, cached.after(record, write_id, entries=entries))

    def _begin(
        self, user: str, operations: list[PendingOperation]
    ) -> MailboxTransaction:
        cached = self._cache.get(user)
        has_reads = any(pending.operation is None for pending in operations)
        # The changes of a topic say why its items went.
        is_complete = has_reads or is_topic_mailbox(user) or self._is_watched(user)
        if cached is not None and not is_complete:
            # Most mailboxes are written more often than read, and a write does not
            # need the changes: without them more records fit into the cache.
            cached = cached.without_changes()
        transaction = MailboxTransaction(
            user=user, operations=operations, is_complete=is_complete, cached=cached
        )
        # A read compares nothing with the store, so it must load the record.
        if transaction.is_cached and not has_reads:
            transaction.stored = cached
        return transaction

    async def _run_batch(self, batch: Sequence[MailboxTransaction]) -> None:
        try:
            await self._transactions.run(batch)
        finally:
            # The write of a failed transaction may still be applied.
            failed = [each.user for each in batch if each.has_failed]
            for user in failed:
                self._cache.discard(user)
            self.refresh([user for user in failed if self._is_watched(user)])

    def _on_stored(self, user: str, stored: StoredRecord) -> None:
        self._scheduler.record_progress(user)
        if stored.damage is not None:
            self._cache.discard(user)
            return
        cached = self._cache.get(user)
        if cached is stored:
            return
        self._cache.put(user, stored, record_weight(stored.record))
        if stored.needs_new_epoch:
            self.timeline_changed.notify()
        elif cached is not None and cached.record is stored.record:
            return
        elif stored.is_complete:
            self._on_change(user, stored.record)
        elif self._is_watched(user):
            self.refresh([user])

    def _on_unstored(self, user: str, record: Record) -> None:
        if self._is_watched(user):
            self._on_change(user, record)

    async def _refresh_stale(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                if self._stale:
                    users, self._stale = self._stale, set()
                    nursery.start_soon(self._load, users)
                await self._stale_added.wait()

    async def _load(self, users: Collection[str]) -> None:
        watched = [user for user in users if self._is_watched(user)]
        results = await self.submit([(user, None) for user in watched])
        pairs = zip(watched, results, strict=True)
        # A damaged record stays so until a write replaces it, which the log contains.
        failed = [user for user, each in pairs if type(each) is EngineUnavailable]
        if failed:
            await trio.sleep(_RETRY_DELAY)
            self.refresh(failed)
