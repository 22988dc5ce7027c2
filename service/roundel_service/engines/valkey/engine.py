"""The Valkey engine: stores mailboxes in Valkey or Redis, shared by several nodes.

The node that receives an operation runs the reducer. A script in the store writes the
result if the mailbox is unchanged; otherwise the node runs the reducer again on the
current record. The nodes follow a log of all writes to notify their streams.

The store may lose acknowledged writes, for example in a failover. The engine detects
that this is possible by the store's *timeline*. Then each mailbox continues in a new
epoch, and its clients get the whole state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any, cast, final

import structlog
import trio

from roundel_adapters import requires_extra

from ...domain.operations import Retract
from ...domain.record import Record, RecordLimits
from ..base import (
    USER_TTL,
    ApplyResult,
    ChangeListener,
    EngineUnavailable,
    MailboxDamaged,
    UserOperation,
)
from ..cache import CACHE_BYTES
from ..codec.tags import retract_tag

with requires_extra("valkey"):
    from .commands import load_command
    from .index import Index
    from .keys import Keys
    from .log_follower import BLOCK_TIME, LogFollower
    from .mailboxes import MailboxStore
    from .metadata import IncompatibleLayout, StoreMetadata
    from .pending import MailboxTransaction
    from .planner import WritePlanner
    from .presence import PresenceStore
    from .secret import StoreSecret
    from .store import RETRY_TIMEOUT, Store
    from .url import parse_url

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

__all__ = ["IncompatibleLayout", "ValkeyEngine"]


@final
class ValkeyEngine:
    """Stores mailboxes in the store at *url*.

    *clock* returns seconds since 1970. A mailbox expires *user_ttl* seconds and a day
    after its last write. Up to *cache_bytes* of records are cached, so that most writes
    need not load the record first.

    Raises `ValueError` if *url* is invalid.
    """

    is_shared = True

    def __init__(
        self,
        url: str,
        limits: RecordLimits | None = None,
        *,
        clock: Callable[[], float] = time.time,
        user_ttl: float = USER_TTL,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        parsed = parse_url(url)
        self._listeners: list[tuple[ChangeListener, Collection[str]]] = []
        self._keys = Keys(parsed.prefix)
        self._store = Store(parsed)
        # A blocking read needs a connection of its own. In a cluster no read blocks.
        self._reader = self._store
        if not parsed.is_cluster:
            self._reader = Store(parsed, timeout=BLOCK_TIME + 1.0)
        self._metadata = StoreMetadata(self._store, self._keys)
        self._index = Index(self._store, self._keys, self._metadata)
        # Methods of `Engine` that a part implements as a whole.
        self.users = self._index.users
        self.claim = self._index.claim
        self.claimed = self._index.claimed
        self.secret = StoreSecret(self._index, self._keys).secret
        limits = limits or RecordLimits()
        self._planner = WritePlanner(
            keys=self._keys, limits=limits, clock=clock, user_ttl=user_ttl
        )
        self._mailboxes = MailboxStore(
            self._store,
            self._planner,
            on_change=self._notify,
            is_watched=self._is_watched,
            cache_bytes=cache_bytes,
        )
        presence = PresenceStore(
            self._store, self._keys, self._metadata, self._mailboxes.compare_revision
        )
        self.report_presence = presence.report_presence
        self._log_follower = LogFollower(
            self._store,
            self._reader,
            self._keys,
            self._mailboxes,
            self._metadata,
            self._watched,
        )

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        """Call *listener* for changes of *users*, which is a live collection."""
        self._listeners.append((listener, users))

    def _notify(self, user: str, record: Record) -> None:
        for listener, users in self._listeners:
            if user not in users:
                continue
            try:
                listener(user, record)
            except Exception:  # one user's record must not end the engine
                log.exception("listener failed", user=user)

    def _is_watched(self, user: str) -> bool:
        return any(user in users for _, users in self._listeners)

    def _watched(self, shards: Collection[int]) -> Iterator[str]:
        for _, users in self._listeners:
            yield from (user for user in users if self._keys.shard(user) in shards)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run transactions and follow the log until cancelled.

        Starts also if the store is unavailable. Raises `IncompatibleLayout`.
        """
        try:
            await self._connect()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._store.watch_topology)
                nursery.start_soon(self._mailboxes.run)
                nursery.start_soon(self._log_follower.run)
                nursery.start_soon(self._metadata.warn_of_eviction)
                task_status.started()
        finally:
            await self._store.close()
            await self._reader.close()

    async def _connect(self) -> None:
        # `check()` reports a store that is unavailable.
        with suppress(EngineUnavailable), trio.move_on_after(RETRY_TIMEOUT):
            await self._store.refresh_topology()
            await self._metadata.verify()
            await self._log_follower.check_timelines()

    async def check(self) -> None:
        """Raise `EngineUnavailable` with the reason if a write made now would fail.

        In a cluster it raises only if every primary refuses writes.
        """
        await self._metadata.check_writable()

    async def read(self, user: str) -> Record:
        """Return the user's record as of now."""
        await self._metadata.ensure_verified()
        (result,) = await self._mailboxes.submit([(user, None)])
        if isinstance(result, EngineUnavailable):
            raise result
        return cast(Record, result)

    async def peek(self, name: str) -> Record:
        """Return the stored record of a user or topic, without a change."""
        transaction = MailboxTransaction(
            user=name, operations=[], is_complete=True, cached=None
        )
        reply: Any
        (reply,) = await self._index.run([load_command(self._keys, transaction)])
        timeline, flat, *kind = reply
        stored = self._planner.decode(transaction, timeline, flat, kind)
        if stored.damage is not None:
            raise MailboxDamaged(*stored.damage.args)
        return (
            stored.record if stored.revision else self._planner.unstored(name, stored)
        )

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        """Apply operations, in order for each user; return the result of each.

        The store's primary has acknowledged all applied operations on return.
        """
        try:
            await self._metadata.ensure_verified()
        except EngineUnavailable as error:
            return [EngineUnavailable(*error.args) for _ in work]
        return cast(list[ApplyResult], await self._mailboxes.submit(work))

    async def holders(self, retract: Retract) -> list[str]:
        """Return the users with an item that *retract* selects, and possibly others."""
        tag = retract_tag(retract)
        return [] if tag is None else await self._index.holders(tag)
