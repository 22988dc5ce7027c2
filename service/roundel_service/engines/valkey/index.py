"""Lookups by keys other than a user's: tags, the list of all users, and claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import attrs
import structlog
import trio

from ..base import EngineUnavailable
from .client import Command
from .connection import StoreRefused
from .keys import Keys
from .metadata import StoreMetadata
from .scripts import FILTER_USERS
from .store import RETRY_TIMEOUT, Store

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

_USERS_PER_PAGE: Final = 1_000
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
        """Return the users who hold an item with this *tag*, and possibly others.

        A store that evicts keys may have lost tags, so all users are returned.
        """
        shards = range(self._keys.shards)
        replies = await self.run(
            [["SMEMBERS", self._keys.tag(shard, tag)] for shard in shards],
            accepts="WRONGTYPE",
        )
        is_lossy = await self._metadata.eviction_policy() is not None
        if is_lossy or any(isinstance(names, StoreRefused) for names in replies):
            return await self._all_users()
        found = (_decode_name(name) for names in replies for name in names)
        return sorted(name for name in found if name is not None)

    async def _all_users(self) -> list[str]:
        found: list[str] = []
        while page := await self.users(found[-1] if found else None, _USERS_PER_PAGE):
            found += page
        return found

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

    async def _page(self, shards: range, start: str | bytes, limit: int) -> list[str]:
        """Return users of *shards*, of the first one after *start*.

        Users of a shard are left out only if *limit* users of it are returned.
        """
        found: dict[int, list[str]] = {shard: [] for shard in shards}
        starts: dict[int, str | bytes] = dict.fromkeys(shards, "-")
        starts[shards[0]] = start
        while starts:
            names = await self._names(starts, limit)
            present = await self._filter(names)
            for shard, kept in present.items():
                found[shard] += kept
            # The filter left out the names of expired mailboxes. If they filled a
            # page, more users may follow them.
            starts = {
                shard: b"(" + names[shard][-1]
                for shard in starts
                if len(names[shard]) == limit and len(found[shard]) < limit
            }
        return [name for shard in shards for name in found[shard]]

    async def _names(
        self, starts: Mapping[int, str | bytes], limit: int
    ) -> dict[int, list[bytes]]:
        """Return up to *limit* members of each shard's index, after its start."""
        replies = await self._lists(
            [
                [
                    "ZRANGEBYLEX",
                    self._keys.users(n),
                    start,
                    "+",
                    "LIMIT",
                    "0",
                    f"{limit}",
                ]
                for n, start in starts.items()
            ]
        )
        return dict(zip(starts, replies, strict=True))

    async def _filter(
        self, names: Mapping[int, Sequence[bytes]]
    ) -> dict[int, list[str]]:
        """Return the users with a mailbox; the others are removed from the index."""
        commands = []
        for shard, members in names.items():
            users = map(_decode_name, members)
            unused = self._keys.unused(shard)
            keys = [unused if user is None else self._keys.user(user) for user in users]
            commands.append(
                FILTER_USERS.call([self._keys.users(shard), *keys], members)
            )
        replies = await self.run(commands)
        return {
            shard: [name.decode() for name in reply]
            for shard, reply in zip(names, replies, strict=True)
        }

    async def claim(self, key: str, value: str, *, ttl: float) -> str:
        """Store *value* for *ttl* seconds unless the key exists; return the value."""
        milliseconds = f"{max(1, round(ttl * 1_000))}"
        name = self._keys.claim(key)
        (stored,) = await self.run(
            [["SET", name, value, "NX", "GET", "PX", milliseconds]]
        )
        return value if stored is None else _claim_value(stored)

    async def claimed(self, key: str) -> str | None:
        """Return the value of a claim, or `None`."""
        (stored,) = await self.run([["GET", self._keys.claim(key)]])
        return None if stored is None else _claim_value(stored)

    async def _lists(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands that return lists; a key of another type is an empty list."""
        return [
            [] if isinstance(reply, StoreRefused) else reply
            for reply in await self.run(commands, accepts="WRONGTYPE")
        ]

    async def run(
        self, commands: Sequence[Command], *, accepts: str | None = None
    ) -> list[Any]:
        """Run idempotent commands; retry until all have a reply or time is up.

        A reply may be an error with the code *accepts*.
        """
        error = EngineUnavailable(f"the store: no reply in {RETRY_TIMEOUT:g} s")
        with trio.move_on_after(RETRY_TIMEOUT):
            while not self._store.is_closed:
                try:
                    await self._metadata.ensure_verified()
                    return await self._run_once(commands, accepts)
                except EngineUnavailable as failure:
                    error = failure
                    if isinstance(failure, StoreRefused):
                        break
                await trio.sleep(_RETRY_DELAY)
        raise error

    async def _run_once(
        self, commands: Sequence[Command], accepts: str | None
    ) -> list[Any]:
        replies = await self._store.run(commands)
        for command, reply in zip(commands, replies, strict=True):
            _check_reply(command, reply, accepts)
        return replies


def _decode_name(member: bytes) -> str | None:
    """Return a user name of the index, or `None` if it is none."""
    try:
        return member.decode()
    except UnicodeDecodeError:
        return None


def _check_reply(command: Command, reply: object, accepts: str | None) -> None:
    if not isinstance(reply, EngineUnavailable):
        return
    if not isinstance(reply, StoreRefused) or reply.code != accepts:
        raise reply
    log.error("index damaged", name=command[1], reason=accepts)


def _claim_value(stored: bytes) -> str:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        raise EngineUnavailable("the store: a claim is unreadable") from None
