"""Lookups by keys other than a user's: tags, the list of all users, and claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, final

import attrs
import trio

from ..base import EngineUnavailable
from .client import Command
from .keys import Keys
from .metadata import StoreMetadata
from .scripts import FILTER_USERS
from .store import RETRY_TIMEOUT, Store

_SHARDS_PER_PAGE: Final = 8
_RETRY_DELAY: Final = 0.05


@final
@attrs.frozen
class Index:
    """Finds users by tag or by name, and keeps claims.

    All commands are idempotent. They are retried for `RETRY_TIMEOUT` seconds.
    """

    _store: Store
    _keys: Keys
    _metadata: StoreMetadata

    async def holders(self, tag: str) -> list[str]:
        """Return the users who hold an item with this *tag*, and possibly others."""
        shards = range(self._keys.shards)
        replies = await self._run(
            [["SMEMBERS", self._keys.tag(shard, tag)] for shard in shards]
        )
        return sorted(name.decode() for names in replies for name in names)

    async def users(self, after: str | None, limit: int) -> list[str]:
        """Return up to *limit* users after *after*, ordered by shard and name."""
        page: list[str] = []
        shard = 0 if after is None else self._keys.shard(after)
        start = "-" if after is None else f"({after}"
        while len(page) < limit and shard < self._keys.shards:
            shards = range(shard, min(shard + _SHARDS_PER_PAGE, self._keys.shards))
            page += await self._page(shards, start, limit)
            shard, start = shards.stop, "-"
        return page[:limit]

    async def _page(self, shards: range, start: str, limit: int) -> list[str]:
        first, *others = (self._keys.users(shard) for shard in shards)
        rest = ["+", "LIMIT", "0", f"{limit}"]
        commands: list[Command] = [["ZRANGEBYLEX", first, start, *rest]]
        commands += [["ZRANGEBYLEX", key, "-", *rest] for key in others]
        while True:
            found = await self._run(commands)
            present = await self._filter(shards, found)
            # The filter removed the names of expired mailboxes from the index. If
            # they filled a shard's page, read again: more users may follow them.
            if all(
                len(kept) == len(names) or len(names) < limit
                for kept, names in zip(present, found, strict=True)
            ):
                return [name.decode() for names in present for name in names]

    async def _filter(
        self, shards: range, found: Sequence[Sequence[bytes]]
    ) -> list[list[bytes]]:
        commands = []
        for shard, names in zip(shards, found, strict=True):
            mailboxes = [self._keys.user(name.decode()) for name in names]
            keys = [self._keys.users(shard), *mailboxes]
            commands.append(FILTER_USERS.call(keys, names))
        return await self._run(commands)

    async def claim(self, key: str, value: str, *, ttl: float) -> str:
        """Store *value* for *ttl* seconds unless the key exists; return the value."""
        milliseconds = f"{max(1, round(ttl * 1_000))}"
        name = self._keys.claim(key)
        (stored,) = await self._run(
            [["SET", name, value, "NX", "GET", "PX", milliseconds]]
        )
        return value if stored is None else stored.decode()

    async def claimed(self, key: str) -> str | None:
        """Return the value of a claim, or `None`."""
        (stored,) = await self._run([["GET", self._keys.claim(key)]])
        return None if stored is None else stored.decode()

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        """Run idempotent commands; retry until all have a reply or time is up."""
        error = EngineUnavailable(f"the store: no reply in {RETRY_TIMEOUT:g} s")
        with trio.move_on_after(RETRY_TIMEOUT):
            while not self._store.is_closed:
                try:
                    await self._metadata.ensure_verified()
                    return await self._store.run_or_raise(commands)
                except EngineUnavailable as failure:
                    error = failure
                await trio.sleep(_RETRY_DELAY)
        raise error
