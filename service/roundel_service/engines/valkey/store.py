"""The store as this engine asks it: of each home by a connection of its own.

The client library holds up what is asked of others, for moments, while a server does
not answer. So in a cluster there are as many connections as there are primaries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import trio

from .client import Command
from .cluster import SlotMap, parse_slots
from .connection import ValkeyConnection
from .scripts import Script
from .url import StoreUrl

__all__ = ["TIMEOUT", "Command", "Store", "call"]

TIMEOUT: Final = 1.0
"""For how many seconds an answer is waited for."""

_POLL_INTERVAL: Final = 1.0


def call(
    script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]
) -> Command:
    """Return the command that runs *script*."""
    return ["EVALSHA", script.sha, str(len(keys)), *keys, *arguments]


@final
class Store:
    """The store at *url*, of which no home holds up another.

    An answer is waited for *timeout* seconds. Where there are several homes, they are
    known as long as `keep()` runs.
    """

    def __init__(self, url: StoreUrl, *, timeout: float = TIMEOUT) -> None:
        self.url = url
        self.slots = SlotMap()
        self.is_over = False
        self._timeout = timeout
        self._connections = [self._connection()]
        self._scout = self._connection()

    def _connection(self) -> ValkeyConnection:
        return ValkeyConnection(self.url, timeout=self._timeout)

    async def run(self, commands: Sequence[Command]) -> list[object]:
        """Return the answer to each command, or an `EngineUnavailable` in its place.

        What became of one that has no answer is not known.
        """
        if not commands:
            return []
        answers: list[object] = [None] * len(commands)

        async def ask(home: int, places: Sequence[int]) -> None:
            asked = [commands[place] for place in places]
            some = await self._connections[home].run(asked)
            for place, answer in zip(places, some, strict=True):
                answers[place] = answer

        (first, *others) = self.slots.split(commands).items()
        if not others:
            await ask(*first)
            return answers
        async with trio.open_nursery() as nursery:
            for group in (first, *others):
                nursery.start_soon(ask, *group)
        return answers

    async def watch_topology(self) -> None:
        """Keep up with where the homes are, until cancelled."""
        while True:
            await self.refresh_topology()
            await trio.sleep(_POLL_INTERVAL)

    async def refresh_topology(self) -> None:
        """See where the homes are, if there may be several and that is told."""
        if not self.url.is_cluster:
            return
        # By a connection of its own, as any server may be asked.
        (told,) = await self._scout.run([["CLUSTER", "SLOTS"]])
        found = parse_slots(told) or self.slots
        while len(self._connections) < found.count:
            self._connections.append(self._connection())
        self.slots = found

    async def close(self) -> None:
        """Close all connections for good."""
        self.is_over = True
        for connection in (*self._connections, self._scout):
            await connection.close()
