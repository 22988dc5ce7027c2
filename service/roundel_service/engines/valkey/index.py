"""What is found by other names than a user's: holders, all users, and claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, final

import trio

from ..base import EngineUnavailable
from .keys import Keys
from .metadata import StoreMetadata
from .scripts import PRESENT
from .store import Command, Store, call
from .transactions import TRANSACTION_TIMEOUT

_SHARDS_AT_ONCE: Final = 8
_PAUSE: Final = 0.05


@final
class Index:
    """Finds what is in the store; all that it asks can be asked again."""

    def __init__(self, store: Store, keys: Keys, meta: StoreMetadata) -> None:
        self._store = store
        self._keys = keys
        self._meta = meta

    async def holders(self, tag: str) -> list[str]:
        """Return the users who hold an item with this *tag*; maybe others."""
        shards = range(self._keys.shards)
        found = await self._run(
            [["SMEMBERS", self._keys.tag(shard, tag)] for shard in shards]
        )
        return sorted(name.decode() for names in found for name in names)

    async def users(self, after: str | None, limit: int) -> list[str]:
        """Return the next users behind *after*, by shard and by name."""
        page: list[str] = []
        shard = 0 if after is None else self._keys.shard(after)
        start = "-" if after is None else f"({after}"
        while len(page) < limit and shard < self._keys.shards:
            shards = range(shard, min(shard + _SHARDS_AT_ONCE, self._keys.shards))
            page += await self._page(shards, start, limit)
            shard, start = shards.stop, "-"
        return page[:limit]

    async def _page(self, shards: range, start: str, limit: int) -> list[str]:
        while True:
            first = [start] + ["-"] * (len(shards) - 1)
            found = await self._run(
                [
                    [
                        *("ZRANGEBYLEX", self._keys.users(shard), after, "+"),
                        *("LIMIT", "0", f"{limit}"),
                    ]
                    for shard, after in zip(shards, first, strict=True)
                ]
            )
            present = await self._present(shards, found)
            # Of idle mailboxes the names were left, and now are not. Where they took
            # the room of others on the page, those come before the next shard's.
            if all(
                len(there) == len(names) or len(names) < limit
                for there, names in zip(present, found, strict=True)
            ):
                return [name.decode() for names in present for name in names]

    async def _present(
        self, shards: range, found: Sequence[Sequence[bytes]]
    ) -> list[list[bytes]]:
        return await self._run(
            [
                call(PRESENT, [self._keys.users(shard), *self._mailboxes(names)], names)
                for shard, names in zip(shards, found, strict=True)
            ]
        )

    def _mailboxes(self, names: Sequence[bytes]) -> list[str]:
        return [self._keys.user(name.decode()) for name in names]

    async def claim(self, key: str, value: str, *, ttl: float) -> str:
        """Keep *value* under *key* for *ttl* seconds, unless there is one already."""
        milliseconds = f"{max(1, round(ttl * 1_000))}"
        name = self._keys.claim(key)
        (kept,) = await self._run(
            [["SET", name, value, "NX", "GET", "PX", milliseconds]]
        )
        return value if kept is None else kept.decode()

    async def claimed(self, key: str) -> str | None:
        """Return what is kept under *key*, if anything is."""
        (kept,) = await self._run([["GET", self._keys.claim(key)]])
        return None if kept is None else kept.decode()

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        """Do what does no harm when it is done twice, and again if it fails."""
        why = EngineUnavailable(f"the store: no answer in {TRANSACTION_TIMEOUT:g} s")
        with trio.move_on_after(TRANSACTION_TIMEOUT):
            while not self._store.is_over:
                try:
                    await self._meta.ensure()
                    return _without_failures(await self._store.run(commands))
                except EngineUnavailable as error:
                    why = error
                await trio.sleep(_PAUSE)
        raise why


def _without_failures(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, EngineUnavailable):
            raise answer
    return answers
