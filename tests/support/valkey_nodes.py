"""Nodes that share a store, the clients of each node, and a recorded write load."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import final

import attrs
import trio

from roundel_service.domain.content import encode_content
from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.operations import Notify
from roundel_service.domain.record import Record, RecordLimits
from roundel_service.engines.base import Engine, EngineUnavailable
from roundel_service.engines.valkey.engine import ValkeyEngine
from support.valkey_server import Server

NO_EVICTION = RecordLimits(mailbox=MailboxLimits(items=10_000, bytes=1 << 26))
"""Limits without evictions, so that every missing item was lost."""

TIMEOUT = 20.0
"""Timeout for a condition to become true, in seconds."""

MAX_LATENCY = 7.0
"""Maximum latency of a call in seconds: the time in the queue and the transaction."""

USERS = [f"user-{number}" for number in range(12)]


def cluster_url(servers: Sequence[Server]) -> str:
    """Return the URL of a cluster."""
    return "valkey+cluster://" + ",".join(server.address for server in servers)


def allow_failover(servers: Sequence[Server], *, allowed: bool) -> None:
    """Allow or forbid that the replicas of a cluster are promoted."""
    for replica in servers[len(servers) // 2 :]:
        forbidden = "no" if allowed else "yes"
        replica.execute("CONFIG", "SET", "cluster-replica-no-failover", forbidden)


def notification(name: str) -> Notify:
    """Return a notification that is idempotent: retries add one item."""
    return Notify(id=name, category="c", content=encode_content(name), op_id=name)


@final
class RecordingClients:
    """Holds the records that the streams of all users at one node would show.

    *resets* holds the users whose record changed to another epoch.
    """

    def __init__(self, engine: Engine) -> None:
        self.records: dict[str, Record] = {}
        self.resets: set[str] = set()
        self._engine = engine
        self._users = set(USERS)
        engine.listen(self._on_change, self._users)

    async def open(self) -> None:
        """Read all records, as a new stream does."""
        for user in self._users:
            self._on_change(user, await self._engine.read(user))

    def _on_change(self, user: str, record: Record) -> None:
        current = self.records.get(user)
        if current is None or current.mailbox.epoch != record.mailbox.epoch:
            if current is not None:
                self.resets.add(user)
            self.records[user] = record
        elif record.mailbox.v > current.mailbox.v:
            self.records[user] = record


@final
@attrs.define
class Node:
    """A running engine and its clients."""

    engine: ValkeyEngine
    clients: RecordingClients


@asynccontextmanager
async def run_node(
    url: str, *, limits: RecordLimits = NO_EVICTION
) -> AsyncIterator[Node]:
    """Run a node inside the block."""
    engine = ValkeyEngine(url, limits)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        clients = RecordingClients(engine)
        await clients.open()
        yield Node(engine, clients)
        nursery.cancel_scope.cancel()


@final
@attrs.define
class Load:
    """Concurrent writers that send notifications to all users.

    *acknowledged* maps each acknowledged notification to its user and epoch.
    """

    engines: Sequence[Engine]
    acknowledged: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    refused: int = 0
    max_latency: float = 0.0
    is_stopped: bool = False

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Write until stopped; retry refused writes at another node."""
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(self._write, number)
            await eventually(self._has_started, "the load has started")
            task_status.started()

    async def _has_started(self) -> bool:
        return len(self.acknowledged) >= len(USERS)

    async def _write(self, writer: int) -> None:
        number = 0
        while not self.is_stopped:
            name = f"{writer}-{number}"
            user = USERS[(writer + number) % len(USERS)]
            for attempt in range(100):
                engine = self.engines[(writer + attempt) % len(self.engines)]
                if await self._notify(engine, user, name):
                    break
                await trio.sleep(0.05)
            number += 1
            await trio.sleep(0.005)

    async def _notify(self, engine: Engine, user: str, name: str) -> bool:
        start = time.monotonic()
        (result,) = await engine.apply([(user, notification(name))])
        self.max_latency = max(self.max_latency, time.monotonic() - start)
        if isinstance(result, EngineUnavailable):
            self.refused += 1
            return False
        assert not isinstance(result, Exception)
        self.acknowledged[name] = (user, result.badge.epoch)
        return True


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Poll *condition* until it is true; fail with *what* after `TIMEOUT`."""
    with trio.move_on_after(TIMEOUT):
        while not await condition():  # noqa: ASYNC110, there is no event to wait for
            await trio.sleep(0.02)
        return
    raise AssertionError(f"not within {TIMEOUT} s: {what}")


async def accepts_writes(engine: Engine) -> bool:
    """Return whether a write succeeds."""
    (result,) = await engine.apply([("alice", notification("1"))])
    return not isinstance(result, EngineUnavailable)


async def wait_for_writes(load: Load, user: str | None = None) -> None:
    """Wait until more writes are acknowledged, of all users or of one *user*."""

    def acknowledged() -> int:
        return sum(user in (None, name) for name, _ in load.acknowledged.values())

    before, more = acknowledged(), 1 if user else 2 * len(USERS)

    async def has_more() -> bool:
        return acknowledged() > before + more

    await eventually(has_more, "writes are acknowledged again")


async def wait_until_consistent(url: str, nodes: Sequence[Node]) -> dict[str, Record]:
    """Wait until all clients have the records that a new node reads; return them."""
    stored: dict[str, Record] = {}

    async def is_consistent() -> bool:
        try:
            for user in USERS:
                stored[user] = await fresh.engine.read(user)
        except EngineUnavailable:
            return False
        return all(node.clients.records == stored for node in nodes)

    async with run_node(url) as fresh:
        await eventually(is_consistent, "all clients have the stored records")
    return stored


def lost_writes(load: Load, stored: dict[str, Record], *, same_epoch: bool) -> set[str]:
    """Return the acknowledged notifications that are missing from *stored*.

    With *same_epoch*, ignore notifications of an earlier epoch.
    """
    return {
        name
        for name, (user, epoch) in load.acknowledged.items()
        if name not in stored[user].mailbox.items
        and (not same_epoch or epoch == stored[user].mailbox.epoch)
    }
