"""Removes mailboxes that were idle for long, and gives their space back.

The column `active_at` is the time of the last snapshot, so an index finds the few
mailboxes that may be idle. Such a mailbox is loaded: it stays if an entry is newer, or
if an item appears or expires later. Then `active_at` says how long it stays at least.

A mailbox with an open stream is not idle. Its user begins in a new epoch otherwise, as
if the mailbox had never been written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final, Protocol, final

import attrs
import trio

from ...lru_map import LruMap
from ..base import EngineUnavailable
from .database import Database
from .group_commit import CommitBatch, StoredRecord
from .loader import Query
from .rows import MICROSECONDS
from .writer import Writer

DAY: Final = 86_400.0
"""Seconds for which a mailbox stays after its last item has appeared or expired."""

SWEEP_INTERVAL: Final = 600.0
"""Interval in seconds between two searches for idle mailboxes."""

PAGE: Final = 100
"""Maximum number of mailboxes that are loaded and removed together."""


class Load(Protocol):
    """Loads the records of mailboxes into the cache."""

    def __call__(self, names: Collection[str], /) -> Awaitable[Collection[str]]:
        """Return the names of damaged mailboxes; raises `EngineUnavailable`."""
        ...


@final
@attrs.frozen(kw_only=True)
class IdleMailboxes:
    """Removes the mailboxes without a write for *user_ttl* seconds.

    *watched* returns whether a mailbox has an open stream.
    """

    database: Database
    writer: Writer
    cache: LruMap[str, StoredRecord]
    load: Load
    query: Query
    clock: Callable[[], float]
    user_ttl: float
    watched: Callable[[str], bool]

    async def run(self) -> None:
        """Remove idle mailboxes until cancelled."""
        while True:
            await trio.sleep(SWEEP_INTERVAL)
            # The next sweep tries again what failed.
            try:
                await self.sweep()
            except EngineUnavailable:
                continue

    async def sweep(self) -> None:
        """Remove the mailboxes that are idle now; raises `EngineUnavailable`."""
        after, before = (0.0, 0), self.clock() - self.user_ttl
        while True:
            page = await self.query(self.database.idle, before, after, PAGE)
            if not page:
                return
            after = page[-1].active_at, page[-1].id
            names = [idle.name for idle in page]
            with self.cache.pinned(names):
                damaged = await self.load(names)
                batches = {
                    self._examine(idle.name, idle.last_entry)
                    for idle in page
                    if idle.name not in damaged
                }
            for batch in batches - {None}:
                assert batch is not None
                await batch.wait()

    def _examine(self, name: str, last_entry: int) -> CommitBatch | None:
        """Remove the mailbox *name* if it is idle; return the batch that writes it."""
        stored = self.cache.get(name)
        is_pending = self.writer.pending(name)[0] is not None
        if stored is None or stored.id is None or is_pending or self.watched(name):
            return None
        due_at = stored.record.mailbox.due_at
        # The mailbox may have been written since the query.
        until = max(last_entry / MICROSECONDS, stored.written_at) + self.user_ttl
        if due_at < float("inf"):
            until = max(until, due_at + DAY)
        if until <= self.clock():
            return self.writer.forget(name, stored)
        return self.writer.touch(stored.id, until - self.user_ttl)
