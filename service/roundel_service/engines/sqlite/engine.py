"""The SQLite engine: records in one file, and the recently used ones in a cache.

An operation is applied in three steps. `_load()` reads the records of its users into
the cache, if they are not there (see `loader`). `_enqueue()` computes the next record
and hands it to the writer; this step does not wait, so operations on a user are
computed one after the other. Then the call waits until the writer has committed the
batch (see `writer`).

The cache holds committed records only, and listeners are called after the commit. Users
are pinned in the cache between load and use, so a small cache cannot evict them.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, TypeVar, final

import structlog
import trio

from ...domain.operations import (
    Operation,
    Refresh,
    Retract,
)
from ...domain.record import Record, RecordLimits
from ...lru_map import LruMap
from ..base import (
    ApplyResult,
    ChangeListener,
    EngineUnavailable,
    MailboxDamaged,
    UserOperation,
)
from ..cache import CACHE_BYTES, record_weight
from ..damage import DAMAGED, DamageLog, needs_no_content
from ..memory import MAX_CLAIMS
from ..serialization import retract_tag
from .connection import Durability
from .database import Database
from .group_commit import COMMIT_TIMEOUT, CommitBatch, StoredRecord
from .loader import DamagedMailbox, RecordLoader
from .next_record import next_record, unstored_record
from .rows import decode_claim, encode_text
from .writer import Writer

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

YIELD_AFTER: Final = 64
"""Number of operations between two checkpoints."""

T = TypeVar("T")


PendingResult: TypeAlias = tuple[ApplyResult, CommitBatch | None]
"""A result, and the batch that must be committed before it is returned."""


@final
class SqliteEngine:
    """Stores records in the file at *path*, which one process can open at a time.

    *clock* returns seconds since 1970. With *durability* `full`, acknowledged writes
    survive a power failure; otherwise they survive the end of the process. The cache
    takes about *cache_bytes* of memory. Beyond *max_claims* the oldest claims are
    removed early.
    """

    is_shared = False

    def __init__(
        self,
        path: str | Path,
        limits: RecordLimits | None = None,
        *,
        clock: Callable[[], float] = time.time,
        durability: Durability = "full",
        cache_bytes: int = CACHE_BYTES,
        max_claims: int = MAX_CLAIMS,
    ) -> None:
        self._limits = limits or RecordLimits()
        self._clock = clock
        self._open = partial(
            Database, Path(path), durability, max_claims, _check_cancelled
        )
        self._running: tuple[Database, Writer] | None = None
        self._listeners: list[ChangeListener] = []
        # Committed records; the writer has the uncommitted ones.
        self._cache: LruMap[str, StoredRecord] = LruMap(cache_bytes)
        self._read_limiter = trio.CapacityLimiter(1)
        self._damage = DamageLog()

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        """Call *listener* after each change of any user."""
        self._listeners.append(listener)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Open the file and run the writer until cancelled.

        Raises `OSError` if the file is not usable; the message says what to do.
        """
        database = await trio.to_thread.run_sync(self._open)
        try:
            writer = Writer(
                database,
                clock=self._clock,
                on_committed=self._on_committed,
            )
            self._running = database, writer
            task_status.started()
            await writer.run()
        finally:
            self._running = None
            # The limiter also waits for an abandoned read.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(
                    database.close, limiter=self._read_limiter
                )

    def _on_committed(self, user: str, stored: StoredRecord) -> None:
        if stored.is_salvaged:
            return
        self._damage.forget(user)
        self._cache.put(user, stored, record_weight(stored.record))
        for listener in self._listeners:
            try:
                listener(user, stored.record)
            except Exception:
                # The writer serves all users, so it must not end for one of them.
                log.exception("listener failed", user=user)

    async def check(self) -> None:
        """Raise `EngineUnavailable` if writes fail; after a failure try one."""
        await self._writer.check()

    @property
    def _writer(self) -> Writer:
        return self._require_running()[1]

    def _require_running(self) -> tuple[Database, Writer]:
        if self._running is None:
            raise EngineUnavailable("the engine is not running")
        return self._running

    async def read(self, user: str) -> Record:
        """Return the user's record as of now."""
        with self._cache.pinned((user,)):
            stored = await self._stored(user)
            if stored.is_old or stored.record.mailbox.due_at <= self._clock():
                # Expiry is a change: commit it before it is visible.
                (result,) = await self.apply([(user, Refresh())])
                if isinstance(result, MailboxDamaged):
                    raise result
                if isinstance(result, EngineUnavailable):
                    return self._unstored(user, stored)
                stored = await self._stored(user)
            return stored.record

    async def peek(self, name: str) -> Record:
        """Return the stored record, without a change."""
        with self._cache.pinned((name,)):
            return (await self._stored(name)).record

    def _unstored(self, user: str, stored: StoredRecord) -> Record:
        database, _ = self._require_running()
        return unstored_record(
            stored,
            user,
            key=database.generation.encode(),
            now=self._clock(),
            limits=self._limits,
        )

    async def _stored(self, user: str) -> StoredRecord:
        damaged = await self._load((user,))
        if user in damaged:
            raise damaged[user].error
        stored = self._cache.get(user)
        assert stored is not None, "loaded and pinned"
        return stored

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        """Apply operations, in order for each user; return the result of each.

        Applied operations are committed when this returns.
        """
        pending: list[PendingResult] = []
        for start in range(0, len(work), YIELD_AFTER):
            if start:
                await trio.lowlevel.checkpoint()
            pending += await self._apply_batch(work[start : start + YIELD_AFTER])
        # The first batch is committed while the last one is computed.
        return [
            await _committed_result(user, *each)
            for (user, _), each in zip(work, pending, strict=True)
        ]

    async def _apply_batch(self, work: Sequence[UserOperation]) -> list[PendingResult]:
        try:
            if all(user in self._cache for user, _ in work):
                return [self._enqueue(*each) for each in work]
            users = {user for user, _ in work}
            with self._cache.pinned(users):
                damaged = await self._load(users)
                return [self._enqueue(*each, damaged.get(each[0])) for each in work]
        except EngineUnavailable as error:
            return [(error, None) for _ in work]

    def _enqueue(
        self, user: str, operation: Operation, damaged: DamagedMailbox | None = None
    ) -> PendingResult:
        """Apply *operation* to the user's pending state."""
        before, batch = self._writer.pending(user)
        before = before or self._cache.get(user)
        if before is None:
            assert damaged is not None, "loaded and pinned"
            before = damaged.salvaged
        mailbox = before.record.mailbox
        if before.is_salvaged and not needs_no_content(operation, mailbox):
            return damaged.error if damaged else MailboxDamaged(DAMAGED), None
        try:
            record, result = next_record(
                before, operation, now=self._clock(), limits=self._limits
            )
        except Exception as error:
            # The reducer fails only on a record that no operations can have made.
            return self._damage.record(user, error), None
        if record is not before.record:
            batch = self._writer.enqueue(user, before, record)
        return result, batch

    async def _load(self, users: Collection[str]) -> Mapping[str, DamagedMailbox]:
        """Load the records of *users*, which are pinned; return the damaged ones."""
        missing = {user for user in users if user not in self._cache}
        if not missing:
            return {}
        database, _ = self._require_running()
        loader = RecordLoader(
            database, self._query, self._cache, self._limits, self._damage
        )
        return await loader.load(missing)

    async def _query(self, function: Callable[..., T], *arguments: object) -> T:
        _, writer = self._require_running()
        with trio.move_on_after(COMMIT_TIMEOUT):
            try:
                return await trio.to_thread.run_sync(
                    function,
                    *arguments,
                    abandon_on_cancel=True,
                    limiter=self._read_limiter,
                )
            except sqlite3.Error as error:
                raise writer.record_failure(error) from None
        raise EngineUnavailable(f"no read within {COMMIT_TIMEOUT:g} s")

    async def holders(self, retract: Retract) -> list[str]:
        """Return the users with an item that *retract* selects."""
        database, _ = self._require_running()
        tag = retract_tag(retract)
        return (
            [] if tag is None else await self._query(database.holders, encode_text(tag))
        )

    async def users(self, after: str | None, limit: int) -> list[str]:
        """Return up to *limit* users after *after*, in the order of creation."""
        database, _ = self._require_running()
        return await self._query(database.users, after, limit)

    async def claim(self, key: str, value: str, *, ttl: float) -> str:
        """Set *key* to *value* if it has no value; return its value."""
        return await self._writer.claim(key, value, self._clock() + ttl)

    async def claimed(self, key: str) -> str | None:
        """Return the value of *key*, or `None`."""
        database, _ = self._require_running()
        value = await self._query(database.claimed, encode_text(key), self._clock())
        return None if value is None else decode_claim(key, value)

    async def secret(self) -> bytes:
        """Return the secret of the file; a backup does not contain it."""
        database, _ = self._require_running()
        return database.secret

    async def report_presence(
        self, streams: Mapping[str, int], *, ttl: float
    ) -> list[int | EngineUnavailable]:
        """Return zeros: the engine has no other nodes."""
        return [0] * len(streams)


def _check_cancelled() -> None:
    """End a conversion of the file, which runs in a thread, if `run()` is cancelled."""
    # The writer's own thread is not one of trio.
    with suppress(RuntimeError):
        trio.from_thread.check_cancelled()


async def _committed_result(
    user: str, result: ApplyResult, batch: CommitBatch | None
) -> ApplyResult:
    try:
        if batch is not None:
            await batch.wait(user)
    except EngineUnavailable as error:
        return error
    return result
