"""All that is asked of mailboxes: who waits, whose turn it is, and what is known.

A user's turns are taken one after the other, those of many users of a home together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Final, final

import trio

from roundel_adapters.wakeup import Wakeup

from ...domain.operations import Operation
from ...domain.record import Record
from ..base import EngineUnavailable
from ..cache import CACHE_BYTES, Cache, weight
from . import rows
from .pending import (
    Batch,
    MailboxTransaction,
    OperationResult,
    OwnWriteIds,
    PendingOperation,
    StoredRecord,
)
from .planner import WritePlanner
from .queue import PendingQueue
from .scripts import ID_SIZE
from .store import Store
from .transactions import TRANSACTION_TIMEOUT, OptimisticTransactions

_RETRY_DELAY: Final = 0.5

OnChange = Callable[[str, Record], None]


@final
class MailboxStore:
    """Reads and writes mailboxes; *told* hears of those of watched users.

    *users* tells who is watched.
    """

    def __init__(
        self,
        store: Store,
        planner: WritePlanner,
        *,
        on_change: OnChange,
        is_watched: Callable[[str], bool],
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.line_changed = Wakeup()
        self._store = store
        self._planner = planner
        self._on_change = on_change
        self._is_watched = is_watched
        self._cache: Cache[StoredRecord] = Cache(cache_bytes)
        self._writes = OwnWriteIds()
        self._transactions = OptimisticTransactions(
            store, planner, self._keep, self._writes
        )
        self._queues: defaultdict[int, PendingQueue] = defaultdict(PendingQueue)
        self._busy: set[str] = set()
        self._wakeup = Wakeup()
        self._stale: set[str] = set()
        self._is_stale = Wakeup()
        self._is_over = False

    async def submit(
        self, work: Sequence[tuple[str, Operation | None]]
    ) -> Sequence[OperationResult]:
        """Do all of *work*, in its order for each user; no operation is to read."""
        if self._is_over:
            return [EngineUnavailable("the engine has ended") for _ in work]
        call, now = Batch(len(work)), trio.current_time()
        pieces = [
            PendingOperation(user, operation, call, now) for user, operation in work
        ]
        for piece in pieces:
            self._queue(piece.user).add(piece)
        self._wakeup.notify()
        await call.wait()
        return [piece.result for piece in pieces if piece.result is not None]

    def _queue(self, user: str) -> PendingQueue:
        return self._queues[self._store.slots.primary(self._planner.keys.user(user))]

    def refresh(self, users: Collection[str]) -> None:
        """Look up soon what *users*, who are watched, have."""
        self._stale.update(users)
        self._is_stale.notify()

    def on_log_entries(
        self, user: str, before: bytes, write: bytes, packed: bytes | None
    ) -> None:
        """Take note that the log has the *write* of somebody, after the one *before*.

        *packed* is what was written, if that was not too much to be logged.
        """
        held = self._cache.get(user)
        if write in self._writes or (held and held.at[:ID_SIZE] == write):
            return
        if not self._is_watched(user):
            self._cache.drop(user)
        elif (
            held is None
            or not held.is_whole
            or held.at[:ID_SIZE] != before
            or user in self._busy
            or packed is None
        ):
            self.refresh([user])
        else:
            ring = self._planner.limits.change_log_size
            record = rows.advanced(held.record, packed, ring=ring)
            self._keep(user, held.after(record, write))

    async def run(self) -> None:
        """Take turns until cancelled; then nobody waits any more."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._give_up)
                nursery.start_soon(self._look_up)
                while True:
                    for lane in list(self._queues.values()):
                        while turns := self._next(lane):
                            nursery.start_soon(self._run_batch, lane, turns)
                    await self._wakeup.wait()
        finally:
            self._is_over = True
            for lane in self._queues.values():
                lane.fail_before(trio.current_time(), "the engine has ended")

    def _next(self, lane: PendingQueue) -> list[MailboxTransaction]:
        turns = [self._next_batch(*whose) for whose in lane.next(self._busy).items()]
        self._busy.update(turn.user for turn in turns)
        lane.running += bool(turns)
        return turns

    def _next_batch(
        self, user: str, pieces: list[PendingOperation]
    ) -> MailboxTransaction:
        known = self._cache.get(user)
        reads = any(piece.operation is None for piece in pieces)
        is_whole = reads or self._is_watched(user)
        if known is not None and not is_whole:
            # Most mailboxes are written to more often than they are looked at.
            known = known.without_changes()
        elif known is not None and not known.is_whole:
            known = None
        return MailboxTransaction(
            user, pieces, is_whole, known, stored=None if reads else known
        )

    async def _run_batch(
        self, lane: PendingQueue, turns: Sequence[MailboxTransaction]
    ) -> None:
        try:
            await self._transactions.run(turns)
        finally:
            self._busy.difference_update(turn.user for turn in turns)
            lane.running -= 1
            self._wakeup.notify()
            self._forget([turn.user for turn in turns if turn.has_failed])

    def _forget(self, users: Collection[str]) -> None:
        # What was sent may still be done, and then who watches has to be told.
        for user in users:
            self._cache.drop(user)
        self.refresh([user for user in users if self._is_watched(user)])

    def _keep(self, user: str, held: StoredRecord) -> None:
        self._queue(user).progress = trio.current_time()
        known = self._cache.get(user)
        if known is held:
            return
        self._cache.put(user, held, weight(held.record))
        if held.is_lost:
            # Nobody is shown it: it goes on in another epoch first.
            self.line_changed.notify()
        elif known is not None and known.record is held.record:
            return
        elif held.is_whole:
            self._on_change(user, held.record)
        elif self._is_watched(user):
            self.refresh([user])

    async def _give_up(self) -> None:
        """Let nobody wait for long while nothing goes on."""
        while True:
            await trio.sleep(TRANSACTION_TIMEOUT / 10)
            since = trio.current_time() - TRANSACTION_TIMEOUT
            for lane in self._queues.values():
                if lane.progress < since:
                    lane.fail_before(since, "the store: others are waiting for it")

    async def _look_up(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                if self._stale:
                    users, self._stale = self._stale, set()
                    nursery.start_soon(self._look_up_all, users)
                await self._is_stale.wait()

    async def _look_up_all(self, users: Collection[str]) -> None:
        watched = [user for user in users if self._is_watched(user)]
        outcomes = await self.submit([(user, None) for user in watched])
        failed = [
            user
            for user, outcome in zip(watched, outcomes, strict=True)
            if isinstance(outcome, EngineUnavailable)
        ]
        if failed:
            await trio.sleep(_RETRY_DELAY)
            self.refresh(failed)
