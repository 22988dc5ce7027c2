"""The store's secret, which all nodes share.

It is read before it is created, so that a store that refuses writes still has it. Each
node reads it again once a minute. After a store was emptied, or after a failover lost
the write, the nodes thus have different secrets for a minute at most.
"""

from __future__ import annotations

from math import inf
from secrets import token_urlsafe
from typing import Final, final

import attrs
import trio

from ..base import EngineUnavailable
from .client import Command
from .index import Index
from .keys import Keys

SECRET_TTL: Final = 60.0
"""Time for which a node uses the secret without reading it again, in seconds."""

_FIELD: Final = "secret"


@final
@attrs.define(eq=False, repr=False)
class StoreSecret:
    """Reads the secret, and creates that of a new store."""

    _index: Index
    _keys: Keys
    _secret: bytes | None = attrs.field(default=None, init=False)
    _read_at: float = attrs.field(default=-inf, init=False)

    async def secret(self) -> bytes:
        """Return the secret; a known one also while the store is unavailable."""
        if (
            self._secret is not None
            and trio.current_time() < self._read_at + SECRET_TTL
        ):
            return self._secret
        self._read_at = trio.current_time()
        try:
            self._secret = await self._read() or await self._create()
        except EngineUnavailable:
            if self._secret is None:
                raise
        return self._secret

    async def _read(self) -> bytes | None:
        (found,) = await self._index.run([["HGET", self._keys.metadata, _FIELD]])
        return found or None

    async def _create(self) -> bytes:
        # Of several nodes that create it, one succeeds, and all read its secret.
        key = self._keys.metadata
        commands: list[Command] = [
            ["HSETNX", key, _FIELD, token_urlsafe(32)],
            ["HGET", key, _FIELD],
        ]
        _, found = await self._index.run(commands)
        return bytes(found)
