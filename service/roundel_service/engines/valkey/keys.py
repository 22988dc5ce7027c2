"""The names of the keys. All keys of a shard share one hash slot."""

from __future__ import annotations

from typing import final
from zlib import crc32

import attrs

SHARDS = 64
"""Number of shards. A store keeps the number with which it was created."""


@final
@attrs.frozen
class Keys:
    """The keys under a *prefix*, spread over a number of *shards*."""

    prefix: str
    shards: int = SHARDS

    @property
    def metadata(self) -> str:
        """The key of the store's layout and number of shards, a hash."""
        return f"{self.prefix}:meta"

    def shard(self, name: str) -> int:
        """Return the shard of a user or of a claim."""
        return crc32(name.encode()) % self.shards

    def data_id(self, shard: int) -> str:
        """Return the key of a shard's data id, which is a part of its timeline."""
        return self._key(shard, "line")

    def unused(self, shard: int) -> str:
        """Return a key of a shard that never exists."""
        return self._key(shard, "nothing")

    def log(self, shard: int) -> str:
        """Return the key of a shard's log of writes, a stream."""
        return self._key(shard, "log")

    def users(self, shard: int) -> str:
        """Return the key of a shard's users with a mailbox, a sorted set."""
        return self._key(shard, "users")

    def user(self, name: str) -> str:
        """Return the key of a user's mailbox, a hash."""
        return self._key(self.shard(name), f"u:{name}")

    def tag(self, shard: int, tag: str) -> str:
        """Return the key of a shard's users who hold an item with *tag*, a set."""
        return self._key(shard, f"t:{tag}")

    def claim(self, key: str) -> str:
        """Return the key of a claim, a string."""
        return self._key(self.shard(key), f"c:{key}")

    def presence(self, name: str) -> str:
        """Return the key of the nodes that serve a user's streams, a hash."""
        return self._key(self.shard(name), f"a:{name}")

    def _key(self, shard: int, rest: str) -> str:
        return f"{self.prefix}:{{s{shard}}}:{rest}"
