"""What a deployment was begun with, and all nodes have to agree on."""

from __future__ import annotations

from typing import Final, final

import trio

from .. import serialization as stored
from ..base import EngineUnavailable
from .keys import Keys
from .scripts import TAKES
from .store import Command, Store, call

LAYOUT: Final = f"1.{stored.VERSION}"
"""Of the keys and of the rows; another one is converted or refused."""


@final
class IncompatibleLayout(Exception):  # noqa: N818, it names the state of the store
    """The store holds what this version cannot read, or a node counts otherwise."""


@final
class StoreMetadata:
    """Makes sure that the store is laid out as this node expects."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self.is_sure = False

    async def check(self) -> None:
        """Begin a deployment, or see whether there is one like this.

        It writes, so it fails on a read-only store. Raises `IncompatibleLayout` and
        `EngineUnavailable`.
        """
        key, shards = self._keys.meta, f"{self._keys.shards}"
        commands: list[Command] = [
            ["HSETNX", key, "layout", LAYOUT],
            ["HSETNX", key, "shards", shards],
            ["HMGET", key, "layout", "shards"],
        ]
        answers = await self._store.run(commands)
        for answer in answers:
            if isinstance(answer, EngineUnavailable):
                raise answer
        if answers[2] != [LAYOUT.encode(), shards.encode()]:
            raise IncompatibleLayout(
                f"the store at {self._store.url}: expected layout {LAYOUT} in "
                f"{shards} shards, got {answers[2]!r}"
            )
        self.is_sure = True

    async def ensure(self) -> None:
        """Check once; raises `EngineUnavailable` for whatever is the matter."""
        if self.is_sure:
            return
        try:
            await self.check()
        except IncompatibleLayout as error:
            raise EngineUnavailable(*error.args) from None

    async def see_writes(self) -> None:
        """Raise `EngineUnavailable` unless at least one primary takes writes."""
        await self.ensure()
        keys, store = self._keys, self._store
        shards = {store.slots.primary(keys.line(n)): n for n in range(keys.shards)}
        failures: list[EngineUnavailable] = []

        async def ask(shard: int) -> None:
            names = [keys.line(shard), keys.nothing(shard)]
            (answer,) = await store.run([call(TAKES, names, [])])
            if isinstance(answer, EngineUnavailable):
                failures.append(answer)
            else:
                nursery.cancel_scope.cancel()

        # One that does not answer is not waited for where another one does.
        async with trio.open_nursery() as nursery:
            for shard in shards.values():
                nursery.start_soon(ask, shard)
        if len(failures) == len(shards):
            raise failures[0]
