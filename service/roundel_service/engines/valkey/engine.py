"""The engine that several nodes share: mailboxes in Valkey, or in Redis.

What a mailbox becomes is reduced here, by the node that is asked; a script in the
store compares and writes it, so that of two nodes one is first and the other reduces
again. What the store forgot, as after the loss of a primary, nobody can bring back:
but then each mailbox goes on in another epoch, and all who watch it are told so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import cast, final

import trio

from ...domain.operations import Retract
from ...domain.record import Record, RecordLimits
from .. import serialization as stored
from ..base import USER_TTL, ChangeListener, EngineUnavailable, Result, UserOperation

try:
    from .store import Store
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"the engine valkey needs {error.name}: pip install 'roundel[valkey]'",
        name=error.name,
    ) from error
from ..cache import CACHE_BYTES
from .index import Index
from .keys import Keys
from .log_follower import BLOCK, LogFollower
from .mailboxes import MailboxStore
from .metadata import IncompatibleLayout, StoreMetadata
from .planner import WritePlanner
from .presence import PresenceStore
from .transactions import TRANSACTION_TIMEOUT
from .url import parse_url

__all__ = ["IncompatibleLayout", "ValkeyEngine"]


@final
class ValkeyEngine:
    """Mailboxes in the store at *url*, which other nodes use at the same time.

    *clock* returns seconds since 1970. A mailbox is gone *user_ttl* seconds, and a
    day, after the last write to it. Records of *cache_bytes* are at hand, so that a
    write need not look up what it changes.

    Raises `ValueError` for a *url* that is none.
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
        place = parse_url(url)
        self._listeners: list[tuple[ChangeListener, Collection[str]]] = []
        self._keys = Keys(place.prefix)
        self._store = Store(place)
        # In a cluster no read blocks.
        self._reader = (
            self._store if place.is_cluster else Store(place, timeout=BLOCK + 1.0)
        )
        self._metadata = StoreMetadata(self._store, self._keys)
        self._index = Index(self._store, self._keys, self._metadata)
        self._presence = PresenceStore(self._store, self._keys, self._metadata)
        planner = WritePlanner(
            keys=self._keys,
            limits=limits or RecordLimits(),
            clock=clock,
            user_ttl=user_ttl,
        )
        self._mailboxes = MailboxStore(
            self._store,
            planner,
            on_change=self._tell,
            is_watched=self._is_watched,
            cache_bytes=cache_bytes,
        )
        self._log_follower = LogFollower(
            self._store,
            self._reader,
            self._keys,
            self._mailboxes,
            self._metadata,
            self._watched,
        )

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        """Tell *listener* of the changes of *users*, a live collection, from now on."""
        self._listeners.append((listener, users))

    def _tell(self, user: str, record: Record) -> None:
        for listener, users in self._listeners:
            if user in users:
                listener(user, record)

    def _is_watched(self, user: str) -> bool:
        return any(user in users for _, users in self._listeners)

    def _watched(self, shards: Collection[int]) -> Iterator[str]:
        for _, users in self._listeners:
            yield from (user for user in users if self._keys.shard(user) in shards)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Follow what others write, and take turns, until cancelled.

        A store that is away is waited for, but not before it is said that this runs.
        Raises `IncompatibleLayout`.
        """
        try:
            await self._begin()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._store.watch_topology)
                nursery.start_soon(self._mailboxes.run)
                nursery.start_soon(self._log_follower.run)
                task_status.started()
        finally:
            await self._store.close()
            await self._reader.close()

    async def _begin(self) -> None:
        try:
            with trio.move_on_after(TRANSACTION_TIMEOUT):
                await self._store.refresh_topology()
                await self._metadata.check()
                await self._log_follower.look()
        except EngineUnavailable:
            # From now on `check()` says why, and all that is asked is refused.
            return

    async def check(self) -> None:
        """Raise `EngineUnavailable`, and why, if what is asked now would not be done.

        In a cluster, if nothing would be that is asked of anybody.
        """
        await self._metadata.see_writes()

    async def read(self, user: str) -> Record:
        """Return the user's record as of now: what is over is expired first."""
        await self._metadata.ensure()
        (outcome,) = await self._mailboxes.submit([(user, None)])
        if isinstance(outcome, EngineUnavailable):
            raise outcome
        return cast(Record, outcome)

    async def apply(self, work: Sequence[UserOperation]) -> list[Result]:
        """Do all of *work*, in its order for each user; return what became of each.

        When this returns, the store's primary has all that was applied.
        """
        try:
            await self._metadata.ensure()
        except EngineUnavailable as error:
            return [EngineUnavailable(*error.args) for _ in work]
        return cast(list[Result], await self._mailboxes.submit(work))

    async def holders(self, retract: Retract) -> list[str]:
        """Return the users who hold an item that *retract* selects; maybe others."""
        tag = stored.tag(retract)
        return [] if tag is None else await self._index.holders(tag)

    async def users(self, after: str | None, limit: int) -> list[str]:
        """Return the next users behind *after*, by shard and by name."""
        return await self._index.users(after, limit)

    async def claim(self, key: str, value: str, *, ttl: float) -> str:
        """Keep *value* under *key* for *ttl* seconds, unless there is one already."""
        return await self._index.claim(key, value, ttl=ttl)

    async def claimed(self, key: str) -> str | None:
        """Return what is kept under *key*, if anything is."""
        return await self._index.claimed(key)

    async def report_presence(
        self, streams: Mapping[str, int], *, ttl: float
    ) -> list[int | EngineUnavailable]:
        """Say how many *streams* of each user this node serves, for *ttl* seconds."""
        return await self._presence.report_presence(streams, ttl=ttl)
