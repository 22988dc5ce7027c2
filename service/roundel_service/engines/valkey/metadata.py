"""The store's layout and number of shards, on which all nodes must agree."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, final

import attrs
import structlog
import trio

from ..base import EngineUnavailable
from ..codec.rows import FORMAT_VERSION
from .client import Command
from .connection import StoreRefused
from .keys import Keys
from .scripts import CHECK_WRITABLE, EVICTION, MISSING_PERMISSIONS
from .store import Store

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

_RETRY_DELAY: Final = 5.0
"""Delay before the store is asked again for its policy, in seconds."""

LAYOUT: Final = f"1.{FORMAT_VERSION}"
"""Version of the keys, then of the rows. Another layout is refused."""

UPGRADED_LAYOUTS: Final = (b"1.1", b"1.2")
"""The layouts before, which this version reads and then replaces."""


@final
class IncompatibleLayout(OSError):  # noqa: N818, it names the state of the store
    """The store has another layout or another number of shards than this node."""


def missing_permissions(keys: Keys) -> Command:
    """Return the command that lists the access rules that the store's user lacks."""
    return MISSING_PERMISSIONS.call([], [keys.unused(0), f"~{keys.prefix}:*"])


@final
@attrs.define(eq=False)
class StoreMetadata:
    """Creates the store's metadata, and verifies that they match this node."""

    _store: Store
    _keys: Keys
    is_verified: bool = attrs.field(default=False, init=False)

    async def verify(self) -> None:
        """Create the metadata of a new store, or compare those of an existing one.

        Raises `IncompatibleLayout`, and `EngineUnavailable`, also if the user of the
        connection lacks permissions. A store without metadata that refuses writes can
        be read; it is verified when it accepts them.
        """
        key, shards = self._keys.metadata, f"{self._keys.shards}"
        expected = [LAYOUT.encode(), shards.encode()]
        read: Command = ["HMGET", key, "layout", "shards"]
        permissions = missing_permissions(self._keys)
        found, missing = await self._read([read, permissions])
        if missing:
            # A script that may not run one of its commands has half of its effect.
            rules = b" ".join(missing).decode()
            raise EngineUnavailable(
                f"the store at {self._store.url}: its user lacks {rules}"
            )
        is_upgrade = found[0] in UPGRADED_LAYOUTS
        if is_upgrade:
            found = [None, found[1]]
        if None in found and not _disagrees(found, expected):
            commands: list[Command] = [
                ["HSET" if is_upgrade else "HSETNX", key, "layout", LAYOUT],
                ["HSETNX", key, "shards", shards],
                read,
            ]
            try:
                *_, found = await self._store.run_or_raise(commands)
            except StoreRefused as error:
                if error.is_lasting:
                    return
                raise
        if _disagrees(found, expected):
            layout, number = [
                "unknown" if value is None else value.decode(errors="backslashreplace")
                for value in found
            ]
            raise IncompatibleLayout(
                f"the store at {self._store.url}: expected layout {LAYOUT} in "
                f"{shards} shards, got layout {layout} in {number} shards"
            )
        self.is_verified = True

    async def _read(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return await self._store.run_or_raise(commands)
        except StoreRefused as error:
            if error.code != "WRONGTYPE":
                raise
            url, key = self._store.url, self._keys.metadata
            message = f"the store at {url}: the key {key} is no hash"
            raise IncompatibleLayout(message) from None

    async def warn_of_eviction(self) -> None:
        """Log a warning if the store evicts keys, as soon as all primaries answer."""
        while True:
            try:
                policy = await self.eviction_policy()
            except EngineUnavailable:
                await trio.sleep(_RETRY_DELAY)
            else:
                break
        if policy is not None:
            log.warning(
                "store evicts mailboxes",
                policy=policy,
                advice="set maxmemory-policy noeviction",
            )

    async def eviction_policy(self) -> str | None:
        """Return the policy of a primary that evicts keys, or `None` if none does.

        Raises `EngineUnavailable`.
        """
        data_ids = map(self._keys.data_id, self._shard_of_each_primary())
        commands = [EVICTION.call([data_id], []) for data_id in data_ids]
        for policy, evicts in await self._store.run_or_raise(commands):
            if evicts:
                return str(policy.decode())
        return None

    def _shard_of_each_primary(self) -> Collection[int]:
        slots, keys = self._store.slots, self._keys
        return {slots.primary(keys.data_id(n)): n for n in range(keys.shards)}.values()

    async def ensure_verified(self) -> None:
        """Verify unless verified before; raises only `EngineUnavailable`."""
        if self.is_verified:
            return
        try:
            await self.verify()
        except IncompatibleLayout as error:
            raise EngineUnavailable(*error.args) from None

    async def check_writable(self) -> None:
        """Raise `EngineUnavailable` unless at least one primary accepts writes."""
        await self.ensure_verified()
        keys, store = self._keys, self._store
        shards = self._shard_of_each_primary()
        failures: list[EngineUnavailable] = []

        async def check(shard: int) -> None:
            names = [keys.data_id(shard), keys.unused(shard)]
            try:
                await store.run_or_raise([CHECK_WRITABLE.call(names, [])])
            except EngineUnavailable as failure:
                failures.append(failure)
            else:
                nursery.cancel_scope.cancel()

        # The first success ends the wait for primaries that do not answer.
        async with trio.open_nursery() as nursery:
            for shard in shards:
                nursery.start_soon(check, shard)
        if len(failures) == len(shards):
            raise failures[0]


def _disagrees(found: Sequence[bytes | None], expected: Sequence[bytes]) -> bool:
    """Return whether a field that was *found* is not the expected one."""
    pairs = zip(found, expected, strict=True)
    return any(value not in (None, wanted) for value, wanted in pairs)
