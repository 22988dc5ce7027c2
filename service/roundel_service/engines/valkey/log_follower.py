"""Follows the logs of all shards, to learn about the writes of other nodes.

Each committed write is an entry in the log of its shard. The ids of a log are
contiguous, so the follower detects what it has missed:

- A gap before the next id: entries were trimmed before they were read.
- A last id below the position of the follower, or an emptied log: the log went back.
  A new log begins at the store's time in microseconds, so a lost log shows as a gap.
- Another timeline: the primary may have lost writes.

In each case the records of all watched users of the shard are loaded again. After the
last two, the follower continues at the end of the log.

The timelines are checked once a second, and at once when a transaction finds a record
of an earlier timeline. At a single server one `XREAD` blocks for all logs, so a write
arrives within milliseconds. In a cluster an `XREAD` covers one hash slot, and blocking
reads would need a connection for each, so every log is polled each 50 ms.

Entries contain the text of items. Each node trims every log once a minute to what it
had read a minute before, so that the text of a retracted item is gone after two
minutes. A slower node finds a gap.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, final

import attrs
import structlog
import trio

from ..base import EngineUnavailable
from .client import Command
from .keys import Keys
from .mailboxes import MailboxStore
from .metadata import StoreMetadata
from .scripts import LOG_END
from .store import Store

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

BLOCK_TIME: Final = 1.0
"""Maximum time that a read blocks in the store, in seconds."""

_CHECK_INTERVAL: Final = 1.0
"""Time between two checks of the timelines, in seconds."""

TRIM_INTERVAL: Final = 60.0
"""Time between two trims of the logs in seconds, and the minimum age of the entries."""

_MAX_ENTRIES: Final = 500
_POLL_INTERVAL: Final = 0.05
_COLLECT_TIME: Final = 0.01
_RETRY_DELAY: Final = 0.2


@final
@attrs.define(eq=False)
class LogFollower:
    """Follows the logs, and reports their entries to *mailboxes*.

    *reader* is the store for reads; its connection blocks. *watched* returns the
    watched users of some shards.
    """

    _store: Store
    _reader: Store
    _keys: Keys
    _mailboxes: MailboxStore
    _metadata: StoreMetadata
    _watched: Callable[[Collection[int]], Iterable[str]]
    _timelines: dict[int, bytes] = attrs.field(factory=dict, init=False)
    _last_ids: dict[int, int] = attrs.field(factory=dict, init=False)
    _shards: dict[bytes, int] = attrs.field(init=False)

    @_shards.default
    def _index_shards(self) -> dict[bytes, int]:
        return {self._keys.log(n).encode(): n for n in range(self._keys.shards)}

    async def run(self) -> None:
        """Follow the logs until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_checking)
            nursery.start_soon(self._keep_trimming)
            followed = 0
            while True:
                for primary in range(followed, self._reader.slots.count):
                    nursery.start_soon(self._keep_reading, primary)
                    followed += 1
                await trio.sleep(_CHECK_INTERVAL)

    async def _keep_reading(self, primary: int) -> None:
        while True:
            try:
                await self._read(primary)
            except EngineUnavailable:
                await trio.sleep(_RETRY_DELAY)

    async def _keep_checking(self) -> None:
        while True:
            with trio.move_on_after(_CHECK_INTERVAL):
                await self._mailboxes.timeline_changed.wait()
            try:
                await self.check_timelines()
            except EngineUnavailable:
                await trio.sleep(_RETRY_DELAY)

    async def _keep_trimming(self) -> None:
        while True:
            read_before = dict(self._last_ids)
            await trio.sleep(TRIM_INTERVAL)
            commands: list[Command] = [
                ["XTRIM", self._keys.log(shard), "MINID", f"0-{last + 1}"]
                for shard, last in read_before.items()
                # A log that went back is not the one that was read.
                if last <= self._last_ids[shard]
            ]
            # What fails is trimmed a minute later.
            await self._store.run(commands)

    async def check_timelines(self) -> None:
        """Compare timelines and last ids of all logs; raises `EngineUnavailable`."""
        await self._metadata.ensure_verified()
        positions, keys = dict(self._last_ids), self._keys
        new_data_id = [secrets.token_urlsafe(9)]
        commands = [
            LOG_END.call([keys.data_id(shard), keys.log(shard)], new_data_id)
            for shard in range(keys.shards)
        ]
        replies = await self._store.run(commands)
        restarted: list[int] = []
        failure = None
        for shard, reply in enumerate(replies):
            match reply:
                case [bytes(timeline), bytes(last), *state]:
                    end = _number(last)
                    if state == [b"replaced"]:
                        log.warning("log replaced", name=keys.log(shard))
                    has_changed = timeline != self._timelines.get(shard)
                    is_unread = bool(state) and end != self._last_ids.get(shard)
                    if has_changed or is_unread or end < positions[shard]:
                        self._restart(shard, timeline, end)
                        restarted.append(shard)
                case EngineUnavailable():
                    failure = reply
        self._refresh_watched(restarted)
        if failure is not None:
            raise failure

    def _restart(self, shard: int, timeline: bytes, end: int) -> None:
        # With the timeline the store may have lost its metadata, too.
        if self._timelines.get(shard, timeline) != timeline:
            self._metadata.is_verified = False
        self._timelines[shard], self._last_ids[shard] = timeline, end

    def _refresh_watched(self, shards: Collection[int]) -> None:
        if shards:
            self._mailboxes.refresh(list(self._watched(shards)))

    async def _read(self, primary: int) -> None:
        """Read new entries of one primary's logs once."""
        slots, keys = self._reader.slots, self._keys
        shards = [s for s in self._last_ids if slots.primary(keys.log(s)) == primary]
        if not shards:
            await trio.sleep(_POLL_INTERVAL)
            return
        is_cluster = self._reader.url.is_cluster
        if is_cluster:
            commands = [self._read_command([shard]) for shard in shards]
        else:
            block = f"{BLOCK_TIME * 1_000:.0f}"
            commands = [self._read_command(shards, "BLOCK", block)]
        failure, has_entries = None, False
        for reply in await self._reader.run(commands):
            match reply:
                case EngineUnavailable():
                    failure = reply
                case dict():
                    has_entries = True
                    self._on_entries(reply)
        if failure is not None:
            raise failure
        if is_cluster:
            await trio.sleep(_POLL_INTERVAL)
        elif has_entries:
            # Under load one read of many entries costs less than many reads.
            await trio.sleep(_COLLECT_TIME)

    def _read_command(self, shards: list[int], *block: str) -> Command:
        logs = [self._keys.log(shard) for shard in shards]
        ids = [f"0-{self._last_ids[shard]}" for shard in shards]
        return ["XREAD", "COUNT", f"{_MAX_ENTRIES}", *block, "STREAMS", *logs, *ids]

    def _on_entries(self, reply: dict[bytes, dict[bytes, Any]]) -> None:
        gaps: list[int] = []
        for log_key, entries in reply.items():
            shard, skipped = self._shards[log_key], 0
            for entry_id, fields in entries.items():
                number, last = _number(entry_id), self._last_ids[shard]
                if number <= last:
                    continue
                if number > last + 1:
                    gaps.append(shard)
                self._last_ids[shard] = number
                skipped += not self._on_entry(fields)
            if skipped:
                # One line for many entries, since a flood of them is possible.
                name = log_key.decode()
                log.warning("log entries skipped", name=name, entries=skipped)
        self._refresh_watched(gaps)

    def _on_entry(self, fields: Iterable[tuple[bytes, bytes]]) -> bool:
        """Report an entry; return whether a node wrote it."""
        try:
            entry = dict(fields)
            user, previous_id = entry[b"u"].decode(), entry[b"p"]
            write_id, entries = entry[b"w"], int(entry[b"n"])
        except (KeyError, TypeError, ValueError):
            # Not written by a node: a mailbox has not changed.
            return False
        row = entry.get(b"e")
        self._mailboxes.on_log_entry(user, previous_id, write_id, row, entries)
        return True


def _number(entry_id: bytes) -> int:
    return int(entry_id.rpartition(b"-")[2])
