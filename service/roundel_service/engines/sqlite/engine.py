"""The SQLite engine: records in one file, and the recently used ones in a cache.

An operation is applied in three steps. `_load()` reads the records of its users, and of
the topics that they follow, into the cache, if they are not there (see `loader`).
`PendingRecords` computes the next record and hands it to the writer; this step does not
wait, so operations on a user are computed one after the other. Then the call waits
until the writer has committed the batch (see `writer`).

The cache holds committed records only, and listeners are called after the commit. They
are pinned in the cache between load and use, so a small cache cannot evict them.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, final

import attrs
import structlog
import trio

from ...domain.names import ALL_MAILBOX
from ...domain.operations import Operation, Refresh, Retract
from ...domain.record import Record, RecordLimits
from ...lru_map import LruMap
from ..base import (
    USER_TTL,
    ApplyResult,
    ChangeListener,
    EngineUnavailable,
    MailboxDamaged,
    UserOperation,
)
from ..cache import CACHE_BYTES, record_weight
from ..codec.tags import retract_tag
from ..damage import DamageLog
from ..memory import MAX_CLAIMS
from .connection import Durability
from .database import Database
from .group_commit import COMMIT_TIMEOUT, CommitBatch, StoredRecord
from .loader import DamagedMailbox, RecordLoader
from .next_record import unstored_record
from .pending_records import (
    DamagedMailboxes,
    PendingRecords,
    PendingResult,
    topics_of,
)
from .retention import IdleMailboxes
from .rows import decode_claim, encode_text
from .writer import Writer

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

YIELD_AFTER: Final = 64
"""Number of operations between two checkpoints."""

T = TypeVar("T")


@final
@attrs.frozen
class _Running:
    """What an engine has while it runs."""

    database: Database
    writer: Writer
    records: PendingRecords


@final
class SqliteEngine:
    """Stores records in the file at *path*, which one process can open at a time.

    *clock* returns seconds since 1970. With *durability* `full`, acknowledged writes
    survive a power failure; otherwise they survive the end of the process. The cache
    takes about *cache_bytes* of memory. Beyond *max_claims* the oldest claims are
    removed early. A mailbox without a write for *user_ttl* seconds is removed.
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
        user_ttl: float = USER_TTL,
    ) -> None:
        self._limits = limits or RecordLimits()
        self._clock = clock
        self._open = partial(
            Database, Path(path), durability, max_claims, _check_cancelled
        )
        self._running: _Running | None = None
        self._user_ttl = user_ttl
        self._listeners: list[ChangeListener] = []
        self._watched: list[Collection[str]] = []
        # Committed records; the writer has the uncommitted ones.
        self._cache: LruMap[str, StoredRecord] = LruMap(cache_bytes)
        self._read_limiter = trio.CapacityLimiter(1)
        self._damage = DamageLog()

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        """Call *listener* after each change of any user."""
        self._listeners.append(listener)
        self._watched.append(users)

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
            records = PendingRecords(
                writer, self._cache, self._clock, self._limits, self._damage
            )
            self._running = _Running(database, writer, records)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._idle_mailboxes().run)
                task_status.started()
                await writer.run()
        finally:
            self._running = None
            # The limiter also waits for an abandoned read.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(
                    database.close, limiter=self._read_limiter
                )

    def _idle_mailboxes(self) -> IdleMailboxes:
        return IdleMailboxes(
            database=self._database,
            writer=self._writer,
            cache=self._cache,
            load=self._load,
            query=self._query,
            clock=self._clock,
            user_ttl=self._user_ttl,
            watched=self._is_watched,
        )

    def _is_watched(self, name: str) -> bool:
        return any(name in users for users in self._watched)

    def _on_committed(self, user: str, stored: StoredRecord) -> None:
        if stored.id is None:
            self._cache.discard(user)
        if stored.id is None or stored.is_salvaged:
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
        return self._require_running().writer

    @property
    def _database(self) -> Database:
        return self._require_running().database

    def _require_running(self) -> _Running:
        if self._running is None:
            raise EngineUnavailable("the engine is not running")
        return self._running

    async def read(self, user: str) -> Record:
        """Return the user's record as of now."""
        names = {user, ALL_MAILBOX}
        with self._cache.pinned(names):
            damaged = await self._load(names)
            stored = self._loaded(user, damaged)
            topics = topics_of(user, stored.record, Refresh())
            with self._cache.pinned(topics):
                await self._load(topics)
                records = self._require_running().records
                if records.is_due(stored) or records.is_behind(user, stored):
                    # A change is committed before it is visible.
                    (result,) = await self.apply([(user, Refresh())])
                    if isinstance(result, MailboxDamaged):
                        raise result
                    if isinstance(result, EngineUnavailable):
                        return self._unstored(user, stored)
                    stored = self._loaded(user, {})
            return stored.record

    async def peek(self, name: str) -> Record:
        """Return the stored record, without a change."""
        with self._cache.pinned((name,)):
            return self._loaded(name, await self._load((name,))).record

    def _loaded(self, name: str, damaged: DamagedMailboxes) -> StoredRecord:
        if name in damaged:
            raise damaged[name].error
        stored = self._cache.get(name)
        assert stored is not None, "loaded and pinned"
        return stored

    def _unstored(self, user: str, stored: StoredRecord) -> Record:
        running = self._require_running()
        return unstored_record(
            stored,
            user,
            key=running.database.generation.encode(),
            now=self._clock(),
            limits=self._limits.of(user),
            topics=running.records.current_topics(user, stored.record),
        )

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
            records = self._require_running().records
            if all(self._is_at_hand(records, *each) for each in work):
                return [records.apply(*each, {}) for each in work]
            names = {ALL_MAILBOX, *(name for name, _ in work)}
            with self._cache.pinned(names):
                damaged = await self._load(names)
                topics = _topics_of(work, records, damaged)
                with self._cache.pinned(topics):
                    damaged = {**damaged, **await self._load(topics)}
                    return [records.apply(*each, damaged) for each in work]
        except EngineUnavailable as error:
            return [(error, None) for _ in work]

    def _is_at_hand(
        self, records: PendingRecords, name: str, operation: Operation
    ) -> bool:
        """Return whether the mailbox *name* and its topics are in memory."""
        stored = records.get(name, {})
        if stored is None or ALL_MAILBOX not in self._cache:
            return False
        topics = topics_of(name, stored.record, operation)
        return all(topic in self._cache for topic in topics)

    async def _load(self, users: Collection[str]) -> Mapping[str, DamagedMailbox]:
        """Load the records of *users*, which are pinned; return the damaged ones."""
        missing = {user for user in users if user not in self._cache}
        if not missing:
            return {}
        loader = RecordLoader(
            self._database, self._query, self._cache, self._limits, self._damage
        )
        return await loader.load(missing)

    async def _query(self, function: Callable[..., T], *arguments: object) -> T:
        writer = self._writer
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
        find = self._database.holders
        tag = retract_tag(retract)
        return [] if tag is None else await self._query(find, encode_text(tag))

    async def users(self, after: str | None, limit: int) -> list[str]:
        """Return up to *limit* users after *after*, in the order of creation."""
        return await self._query(self._database.users, after, limit)

    async def claim(self, key: str, value: str, *, ttl: float) -> str:
        """Set *key* to *value* if it has no value; return its value."""
        return await self._writer.claim(key, value, self._clock() + ttl)

    async def claimed(self, key: str) -> str | None:
        """Return the value of *key*, or `None`."""
        find = self._database.claimed
        value = await self._query(find, encode_text(key), self._clock())
        return None if value is None else decode_claim(key, value)

    async def secret(self) -> bytes:
        """Return the secret of the file; a backup does not contain it."""
        return self._database.secret

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


def _topics_of(
    work: Sequence[UserOperation],
    records: PendingRecords,
    damaged: DamagedMailboxes | None = None,
) -> set[str]:
    """Return the topic mailboxes from which the mailboxes of *work* pull."""
    topics = {ALL_MAILBOX}
    for name, operation in work:
        stored = records.get(name, damaged or {})
        if stored is not None:
            topics.update(topics_of(name, stored.record, operation))
    return topics


async def _committed_result(
    user: str, result: ApplyResult, batch: CommitBatch | None
) -> ApplyResult:
    try:
        if batch is not None:
            await batch.wait(user)
    except EngineUnavailable as error:
        return error
    return result
