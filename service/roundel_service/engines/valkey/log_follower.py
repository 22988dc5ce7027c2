"""How a node hears of what others write: by the logs of all shards.

The ids of a log are without a gap. So whoever reads on finds out by the first id
what was trimmed away meanwhile, and by the last one that a log went back; and by the
line that a primary may have lost something. After each of those all users who are
watched here are looked up, and the log is followed from where it ends then.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, final

import trio

from ..base import EngineUnavailable
from .keys import Keys
from .mailboxes import MailboxStore
from .metadata import StoreMetadata
from .scripts import ENDS
from .store import Store, call

POLL_INTERVAL: Final = 1.0
"""How often it is looked whether a line is still the same, in seconds."""

BLOCK: Final = 1.0
"""For how many seconds a read waits in the store."""

_PAGE: Final = 500
_POLL: Final = 0.05
_GATHER: Final = 0.01
_RETRY_DELAY: Final = 0.2


@final
class LogFollower:
    """Follows the logs for *mailboxes*, by a *reader*, of its own where reads block.

    *watched* returns whoever is watched in some shards.
    """

    def __init__(
        self,
        store: Store,
        reader: Store,
        keys: Keys,
        mailboxes: MailboxStore,
        meta: StoreMetadata,
        watched: Callable[[Collection[int]], Iterable[str]],
    ) -> None:
        self._store = store
        self._reader = reader
        self._keys = keys
        self._mailboxes = mailboxes
        self._meta = meta
        self._watched = watched
        self._lines: dict[int, bytes] = {}
        self._at: dict[int, int] = {}
        self._shards = {keys.log(shard).encode(): shard for shard in range(keys.shards)}

    async def run(self) -> None:
        """Follow the logs until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_looking)
            followed = 0
            while True:
                for home in range(followed, self._reader.slots.count):
                    nursery.start_soon(self._keep_reading, home)
                    followed += 1
                await trio.sleep(POLL_INTERVAL)

    async def _keep_reading(self, home: int) -> None:
        while True:
            try:
                await self._read(home)
            except EngineUnavailable:
                await trio.sleep(_RETRY_DELAY)

    async def _keep_looking(self) -> None:
        while True:
            with trio.move_on_after(POLL_INTERVAL):
                await self._mailboxes.line_changed.wait()
            try:
                await self.look()
            except EngineUnavailable:
                await trio.sleep(_RETRY_DELAY)

    async def look(self) -> None:
        """See whether all lines are as they were; raises `EngineUnavailable`."""
        await self._meta.ensure()
        before, keys = dict(self._at), self._keys
        offered = [secrets.token_urlsafe(9)]
        commands = [
            call(ENDS, [keys.line(shard), keys.log(shard)], offered)
            for shard in range(keys.shards)
        ]
        answers = await self._store.run(commands)
        broken: list[int] = []
        failure = None
        for shard, answer in enumerate(answers):
            match answer:
                case [bytes(line), bytes(last), *empty]:
                    end = _number(last)
                    is_unread = bool(empty) and end != self._at.get(shard)
                    if is_unread or self._is_broken(shard, line, end, before):
                        self._begin(shard, line, end)
                        broken.append(shard)
                case EngineUnavailable():
                    failure = answer
        self._reconcile(broken)
        if failure is not None:
            raise failure

    def _is_broken(
        self, shard: int, line: bytes, end: int, before: dict[int, int]
    ) -> bool:
        """Tell whether a line is another one, or its log went back."""
        return line != self._lines.get(shard) or end < before[shard]

    def _begin(self, shard: int, line: bytes, end: int) -> None:
        # Whatever took a line may have taken more.
        self._meta.is_sure &= self._lines.get(shard, line) == line
        self._lines[shard], self._at[shard] = line, end

    def _reconcile(self, shards: Collection[int]) -> None:
        if shards:
            self._mailboxes.refresh(list(self._watched(shards)))

    async def _read(self, home: int) -> None:
        """Read once what is new at a home; whatever is, is heard."""
        homes, keys = self._reader.slots, self._keys
        shards = [shard for shard in self._at if homes.primary(keys.log(shard)) == home]
        if not shards:
            await trio.sleep(_POLL)
            return
        if self._reader.url.is_cluster:
            # What shares no slot is not read at once, and so many reads that wait
            # would take as many connections.
            commands = [self._reading([shard]) for shard in shards]
            pause = _POLL
        else:
            commands = [self._reading(shards, "BLOCK", f"{BLOCK * 1_000:.0f}")]
            pause = _GATHER
        failure, is_news = None, False
        for answer in await self._reader.run(commands):
            match answer:
                case EngineUnavailable():
                    failure = answer
                case dict():
                    is_news = True
                    self._hear_all(answer)
        if failure is not None:
            raise failure
        if is_news or self._reader.url.is_cluster:
            # Under load it costs less to hear of much at once.
            await trio.sleep(pause)

    def _reading(self, shards: list[int], *block: str) -> list[str | bytes]:
        ids = [f"0-{self._at[shard]}" for shard in shards]
        logs = self._keys.logs(shards)
        return ["XREAD", "COUNT", f"{_PAGE}", *block, "STREAMS", *logs, *ids]

    def _hear_all(self, news: dict[bytes, dict[bytes, Any]]) -> None:
        gaps: list[int] = []
        for log, entries in news.items():
            shard = self._shards[log]
            for entry, fields in entries.items():
                number, at = _number(entry), self._at[shard]
                if number <= at:
                    continue
                if number > at + 1:
                    gaps.append(shard)
                self._at[shard] = number
                self._hear(dict(fields))
        self._reconcile(gaps)

    def _hear(self, entry: dict[bytes, bytes]) -> None:
        user, packed = entry[b"u"].decode(), entry.get(b"e")
        self._mailboxes.on_log_entries(user, entry[b"p"], entry[b"w"], packed)


def _number(entry: bytes) -> int:
    return int(entry.rpartition(b"-")[2])
