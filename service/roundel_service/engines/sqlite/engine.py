"""The engine that keeps mailboxes in a file, and those in use at hand."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from secrets import token_urlsafe
from typing import TypeAlias, TypeVar, final

import trio

from ...domain.mailbox import Mailbox
from ...domain.mailbox_builder import TooManyCategories
from ...domain.operations import DeleteUser, Expire, Operation, Retract, StartNewEpoch
from ...domain.record import Record, RecordLimits
from ...lru_map import LruMap
from ..base import ApplyResult, ChangeListener, EngineUnavailable, UserOperation
from ..cache import CACHE_BYTES, record_weight
from ..epochs import first_epoch
from ..memory import MAX_CLAIMS
from .database import DECODE_ERRORS, Database, Durability
from .group_commit import COMMIT_TIMEOUT, CommitBatch, StoredRecord
from .rows import (
    category_key,
    decode_mailbox,
    decode_text,
    encode_text,
    split_mailboxes,
)
from .writer import Writer

YIELD_AFTER = 64
"""How many pieces of work are done before others may run."""

T = TypeVar("T")

Staged: TypeAlias = tuple[ApplyResult, CommitBatch | None]
"""What is to be answered, and what has to be in the file before."""


@final
class SqliteEngine:
    """Mailboxes in the file at *path*; one process at a time.

    *clock* returns seconds since 1970. With the *durability* `full` what was
    acknowledged survives a loss of power, else just the end of the process. About
    *cache_bytes* of records are at hand. Beyond *max_claims* claimed keys the oldest
    goes early.
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
        self._open = partial(Database, Path(path), durability, max_claims)
        self._files: tuple[Database, Writer] | None = None
        self._listeners: list[ChangeListener] = []
        # What is in the file; what is on its way there is the writer's.
        self._cache: LruMap[str, StoredRecord] = LruMap(cache_bytes)
        self._reading = trio.CapacityLimiter(1)

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        """Tell *listener* of every change from now on, whoever's it is."""
        self._listeners.append(listener)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Write what there is to write, until cancelled.

        Raises `OSError` if the file cannot be used, and says why and what to do.
        """
        file = await trio.to_thread.run_sync(self._open)
        try:
            writer = Writer(
                file,
                ring=self._limits.change_log_size,
                clock=self._clock,
                committed=self._committed,
            )
            self._files = file, writer
            task_status.started()
            await writer.run()
        finally:
            self._files = None
            # Who was reading and is no longer waited for has to be over, too.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(file.close, limiter=self._reading)

    def _committed(self, user: str, held: StoredRecord) -> None:
        self._cache.put(user, held, record_weight(held.record))
        for listener in self._listeners:
            listener(user, held.record)

    async def check(self) -> None:
        """Raise `EngineUnavailable` if writes fail; after a failure it tries one."""
        await self._writer.check()

    @property
    def _writer(self) -> Writer:
        return self._require_running()[1]

    def _require_running(self) -> tuple[Database, Writer]:
        if self._files is None:
            raise EngineUnavailable("the engine does not run")
        return self._files

    async def read(self, user: str) -> Record:
        """Return the user's record as of now: what is over is expired first."""
        with self._cache.pinned((user,)):
            held = await self._stored(user)
            if held.is_old or held.record.mailbox.expires_at <= self._clock():
                # Nobody is shown what a failure could still take back.
                (result,) = await self.apply([(user, Expire())])
                if isinstance(result, EngineUnavailable):
                    raise result
                held = await self._stored(user)
            return held.record

    async def _stored(self, user: str) -> StoredRecord:
        await self._load((user,))
        held = self._cache.get(user)
        assert held is not None, "it is loaded and pinned"
        return held

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        """Do all of *work*, each after what is over was expired.

        When this returns, what was applied is in the file.
        """
        staged: list[Staged] = []
        for start in range(0, len(work), YIELD_AFTER):
            if start:
                await trio.lowlevel.checkpoint()
            staged += await self._apply_batch(work[start : start + YIELD_AFTER])
        # The first are on their way into the file while the last are made.
        return [await _outcome(*piece) for piece in staged]

    async def _apply_batch(self, work: Sequence[UserOperation]) -> list[Staged]:
        try:
            if all(user in self._cache for user, _ in work):
                return [self._enqueue(*piece) for piece in work]
            users = {user for user, _ in work}
            with self._cache.pinned(users):
                await self._load(users)
                return [self._enqueue(*piece) for piece in work]
        except EngineUnavailable as error:
            return [(error, None) for _ in work]

    def _enqueue(self, user: str, operation: Operation) -> Staged:
        """Do it to what came of all before, and return what it has to wait for."""
        before, group = self._writer.pending(user)
        before = before or self._cache.get(user)
        assert before is not None, "it is loaded and pinned"
        now, rules = self._clock(), self._limits
        record, anew = before.record, before.is_old
        if anew:
            renew = StartNewEpoch(token_urlsafe(9))
            record, _ = record.apply(renew, now=now, limits=rules)
        record = record.expire(now=now, limits=rules)
        result: ApplyResult
        try:
            record, result = record.apply(operation, now=now, limits=rules)
            anew |= isinstance(operation, (DeleteUser, StartNewEpoch))
        except TooManyCategories as error:
            result = error
        if record is not before.record:
            group = self._writer.enqueue(user, before, record, replace=anew)
        return result, group

    async def _load(self, users: Collection[str]) -> None:
        """Have *users*, who are pinned, at hand."""
        file, _ = self._require_running()
        missing = [user for user in users if user not in self._cache]
        if not missing:
            return
        told = await self._query(file.load, missing)
        for row in split_mailboxes(told):
            self._keep(*self._held(row))
            await trio.lowlevel.checkpoint()
        for user in missing:
            epoch = first_epoch(f"{file.key}{file.generation}".encode(), user)
            self._keep(user, StoredRecord(None, Record(Mailbox(epoch=epoch))))

    def _held(self, row: str) -> tuple[str, StoredRecord]:
        file, writer = self._require_running()
        try:
            return decode_mailbox(row, file.generation, self._limits.change_log_size)
        except DECODE_ERRORS as error:
            raise writer.record_failure(error) from None

    def _keep(self, user: str, held: StoredRecord) -> None:
        # What others have loaded, and perhaps changed since, is newer.
        if user not in self._cache:
            self._cache.put(user, held, record_weight(held.record))

    async def _query(self, question: Callable[..., T], *arguments: object) -> T:
        _, writer = self._require_running()
        with trio.move_on_after(COMMIT_TIMEOUT):
            try:
                return await trio.to_thread.run_sync(
                    question,
                    *arguments,
                    abandon_on_cancel=True,
                    limiter=self._reading,
                )
            except sqlite3.Error as error:
                raise writer.record_failure(error) from None
        raise EngineUnavailable(f"nothing was read within {COMMIT_TIMEOUT:g} s")

    async def holders(self, retract: Retract) -> list[str]:
        """Return the users who hold an item that *retract* selects."""
        file, _ = self._require_running()
        if retract.source is not None:
            return await self._query(
                file.holders, "source", encode_text(retract.source)
            )
        if retract.key is None:
            return []
        tag = category_key(retract.category, retract.key)
        return await self._query(file.holders, "place", tag)

    async def users(self, after: str | None, limit: int) -> list[str]:
        """Return the next users behind *after*, in the order of their first change."""
        file, _ = self._require_running()
        return await self._query(file.users, after, limit)

    async def claim(self, key: str, value: str, *, ttl: float) -> str:
        """Keep *value* under *key* for *ttl* seconds, unless there is one already."""
        return await self._writer.claim(key, value, self._clock() + ttl)

    async def claimed(self, key: str) -> str | None:
        """Return what is kept under *key*, if anything is."""
        file, _ = self._require_running()
        kept = await self._query(file.claimed, encode_text(key), self._clock())
        return None if kept is None else decode_text(kept)

    async def report_presence(
        self, streams: Mapping[str, int], *, ttl: float
    ) -> list[int | EngineUnavailable]:
        """Return that there are no streams elsewhere: there is one process."""
        return [0] * len(streams)


async def _outcome(result: ApplyResult, group: CommitBatch | None) -> ApplyResult:
    try:
        if group is not None:
            await group.wait()
    except EngineUnavailable as error:
        return error
    return result
