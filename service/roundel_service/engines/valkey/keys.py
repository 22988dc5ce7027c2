"""The names of everything in the store; those of a shard share one slot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final
from zlib import crc32

import attrs

SHARDS = 64
"""How many shards there are; a deployment keeps the number that it began with."""


@final
@attrs.frozen
class Keys:
    """The keys under a *prefix*, in so many *shards*."""

    prefix: str
    shards: int = SHARDS

    @property
    def meta(self) -> str:
        """The key of what the deployment was begun with."""
        return f"{self.prefix}:meta"

    def shard(self, name: str) -> int:
        """Return in which shard *name* is."""
        return crc32(name.encode()) % self.shards

    def line(self, shard: int) -> str:
        """Return the key of what makes the line of a shard another after a loss."""
        return self._key(shard, "line")

    def nothing(self, shard: int) -> str:
        """Return a key of a shard that nothing is ever kept under."""
        return self._key(shard, "nothing")

    def log(self, shard: int) -> str:
        """Return the key of the log of a shard."""
        return self._key(shard, "log")

    def logs(self, shards: Iterable[int]) -> list[str]:
        """Return the keys of the logs of *shards*."""
        return [self.log(shard) for shard in shards]

    def users(self, shard: int) -> str:
        """Return the key of the names that have a mailbox in a shard."""
        return self._key(shard, "users")

    def user(self, name: str) -> str:
        """Return the key of a mailbox."""
        return self._key(self.shard(name), f"u:{name}")

    def tag(self, shard: int, tag: str) -> str:
        """Return the key of those in a shard who hold what a retraction names."""
        return self._key(shard, f"t:{tag}")

    def claim(self, key: str) -> str:
        """Return the key of what was claimed."""
        return self._key(self.shard(key), f"c:{key}")

    def presence(self, name: str) -> str:
        """Return the key of how many streams of a user each node serves."""
        return self._key(self.shard(name), f"a:{name}")

    def _key(self, shard: int, rest: str) -> str:
        return f"{self.prefix}:{{s{shard}}}:{rest}"
