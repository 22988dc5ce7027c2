"""The store: sends commands to its primaries, over one connection for each.

While one server does not answer, the client library delays commands to the others
too. So in a cluster each primary gets a connection of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, final

import trio

from ..base import EngineUnavailable
from .client import Command
from .cluster import SlotMap, parse_slots
from .connection import ValkeyConnection
from .url import StoreUrl

COMMAND_TIMEOUT: Final = 1.0
"""Timeout of a command in seconds."""

RETRY_TIMEOUT: Final = 3.0
"""Time for which a failed operation is retried, in seconds."""

_TOPOLOGY_INTERVAL: Final = 1.0
"""Time between two reads of the cluster's topology, in seconds."""


@final
class Store:
    """The store at *url*. A slow primary delays only its own commands.

    Commands time out after *timeout* seconds. `watch_topology()` keeps *slots* current.
    """

    def __init__(self, url: StoreUrl, *, timeout: float = COMMAND_TIMEOUT) -> None:
        self.url = url
        self.slots: SlotMap = SlotMap()
        self.is_closed: bool = False
        self._timeout = timeout
        self._connections = [self._connection()]
        self._topology_connection = self._connection()

    def _connection(self) -> ValkeyConnection:
        return ValkeyConnection(self.url, timeout=self._timeout)

    async def run(self, commands: Sequence[Command]) -> list[object]:
        """Return the reply to each command, or an `EngineUnavailable` in its place.

        A command without a reply may have been executed.
        """
        if not commands:
            return []
        groups = self.slots.split(commands)
        if len(groups) == 1:
            (primary,) = groups
            return await self._connections[primary].run(commands)
        replies: list[object] = [None] * len(commands)

        async def run_at(primary: int, indexes: Sequence[int]) -> None:
            batch = [commands[index] for index in indexes]
            results = await self._connections[primary].run(batch)
            for index, reply in zip(indexes, results, strict=True):
                replies[index] = reply

        async with trio.open_nursery() as nursery:
            for primary, indexes in groups.items():
                nursery.start_soon(run_at, primary, indexes)
        return replies

    async def run_or_raise(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies; raise the first `EngineUnavailable` among them."""
        replies = await self.run(commands)
        for reply in replies:
            if isinstance(reply, EngineUnavailable):
                raise reply
        return replies

    async def watch_topology(self) -> None:
        """Refresh the topology once a second until cancelled."""
        while True:
            await self.refresh_topology()
            await trio.sleep(_TOPOLOGY_INTERVAL)

    async def refresh_topology(self) -> None:
        """Update the slot map of a cluster; keep the old one if no server answers."""
        if not self.url.is_cluster:
            return
        # Any server may answer, so this must not wait for a particular primary.
        (reply,) = await self._topology_connection.run([["CLUSTER", "SLOTS"]])
        slots = parse_slots(reply) or self.slots
        while len(self._connections) < slots.count:
            self._connections.append(self._connection())
        self.slots = slots

    async def close(self) -> None:
        """Close all connections."""
        self.is_closed = True
        for connection in (*self._connections, self._topology_connection):
            await connection.close()


def failure_of(reply: object) -> EngineUnavailable:
    """Return *reply*, which is not a valid one, as an error."""
    if isinstance(reply, EngineUnavailable):
        return reply
    return EngineUnavailable(f"the store: unexpected reply {reply!r:.100}")
