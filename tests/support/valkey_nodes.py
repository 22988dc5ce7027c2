"""Nodes at one store, the clients they have, and a load of which all is noted."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import final

import attrs
import trio

from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.operations import Notify
from roundel_service.domain.record import Record, RecordLimits
from roundel_service.engines.base import Engine, EngineUnavailable
from roundel_service.engines.valkey.engine import ValkeyEngine
from support.valkey_server import Server

ROOMY = RecordLimits(mailbox=MailboxLimits(items=10_000, bytes=1 << 26))
"""Rules under which nothing is evicted, so that what is missing was lost."""

PATIENCE = 20.0
"""How many seconds may pass until all is as it has to be."""

BOUND = 7.0
"""After how many seconds a call has come out: its wait for a turn, and the turn."""

USERS = [f"user-{number}" for number in range(12)]


def cluster_url(servers: Sequence[Server]) -> str:
    """Return the URL of a cluster."""
    return "valkey+cluster://" + ",".join(server.address for server in servers)


def let_promote(servers: Sequence[Server], *, allowed: bool) -> None:
    """Say whether the replicas of a cluster may take over."""
    for replica in servers[len(servers) // 2 :]:
        is_kept = "no" if allowed else "yes"
        replica.ask("CONFIG", "SET", "cluster-replica-no-failover", is_kept)


def note(name: str) -> Notify:
    """Make a notification that is put in once, however often it is tried."""
    return Notify(id=name, category="c", title=name, op_id=name)


@final
class Clients:
    """What the streams of all users hold at one node, as their channels take it."""

    def __init__(self, engine: Engine, users: Sequence[str] = USERS) -> None:
        self.records: dict[str, Record] = {}
        self.resets: set[str] = set()
        self._engine = engine
        self._users = set(users)
        engine.listen(self._hear, self._users)

    async def open(self) -> None:
        """Look first, as whoever opens a stream does."""
        for user in self._users:
            self._hear(user, await self._engine.read(user))

    def _hear(self, user: str, record: Record) -> None:
        known = self.records.get(user)
        if known is None or known.mailbox.epoch != record.mailbox.epoch:
            if known is not None:
                self.resets.add(user)
            self.records[user] = record
        elif record.mailbox.v > known.mailbox.v:
            self.records[user] = record


@final
@attrs.define
class Node:
    """An engine that runs, and its clients."""

    engine: ValkeyEngine
    clients: Clients


@asynccontextmanager
async def node(url: str, *, rules: RecordLimits = ROOMY) -> AsyncIterator[Node]:
    """Run an engine for the length of the block."""
    engine = ValkeyEngine(url, rules)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        clients = Clients(engine)
        await clients.open()
        yield Node(engine, clients)
        nursery.cancel_scope.cancel()


@final
@attrs.define
class Load:
    """Notifications, one after the other to all users, by several who write.

    *acknowledged* has the user and the epoch of each.
    """

    engines: Sequence[Engine]
    acknowledged: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    refused: int = 0
    longest: float = 0.0
    is_over: bool = False

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Write until it is over; what is refused is tried again, at another node."""
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(self._write, number)
            await eventually(self._has_begun, "the load has begun")
            task_status.started()

    async def _has_begun(self) -> bool:
        return len(self.acknowledged) >= len(USERS)

    async def _write(self, writer: int) -> None:
        number = 0
        while not self.is_over:
            name = f"{writer}-{number}"
            user = USERS[(writer + number) % len(USERS)]
            for attempt in range(100):
                engine = self.engines[(writer + attempt) % len(self.engines)]
                if await self._put(engine, user, name):
                    break
                await trio.sleep(0.05)
            number += 1
            await trio.sleep(0.005)

    async def _put(self, engine: Engine, user: str, name: str) -> bool:
        began = time.monotonic()
        (result,) = await engine.apply([(user, note(name))])
        self.longest = max(self.longest, time.monotonic() - began)
        if isinstance(result, EngineUnavailable):
            self.refused += 1
            return False
        assert not isinstance(result, Exception)
        self.acknowledged[name] = (user, result.badge.epoch)
        return True


async def eventually(is_so: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask again until it is so."""
    with trio.move_on_after(PATIENCE):
        while not await is_so():  # noqa: ASYNC110, nobody is told of it
            await trio.sleep(0.02)
        return
    raise AssertionError(f"not within {PATIENCE} s: {what}")


async def goes_on(load: Load, user: str | None = None) -> None:
    """Wait until the load, or what is for one *user*, is taken again."""

    def taken() -> int:
        return sum(user in (None, whose) for whose, _ in load.acknowledged.values())

    before, more = taken(), 1 if user else 2 * len(USERS)

    async def has_more() -> bool:
        return taken() > before + more

    await eventually(has_more, "what is written is taken again")


async def all_hold_the_truth(url: str, nodes: Sequence[Node]) -> dict[str, Record]:
    """Wait until all clients have what somebody reads who knows nothing before."""
    truth: dict[str, Record] = {}

    async def do_hold() -> bool:
        try:
            for user in USERS:
                truth[user] = await fresh.engine.read(user)
        except EngineUnavailable:
            return False
        return all(one.clients.records == truth for one in nodes)

    async with node(url) as fresh:
        await eventually(do_hold, "all clients hold the true badge")
    return truth


def missing(load: Load, truth: dict[str, Record], *, in_epoch: bool) -> set[str]:
    """Return what was acknowledged and is not there, or *in_epoch* should be."""
    return {
        name
        for name, (user, epoch) in load.acknowledged.items()
        if name not in truth[user].mailbox.items
        and (not in_epoch or epoch == truth[user].mailbox.epoch)
    }
