"""The limit of streams per user across nodes, at a real store with faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import final

import attrs
import pytest
import trio

from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.streams import presence
from roundel_service.streams.hub import Hub
from roundel_service.streams.registry import StreamLimits
from roundel_service.streams.subscribe import SubscribeRequest
from roundel_service.streams.view_history import View
from support import valkey_server
from support.valkey_nodes import (
    MAX_LATENCY,
    USERS,
    allow_failover,
    cluster_url,
    eventually,
)

pytestmark = pytest.mark.slow

MAX_STREAMS = 3


@pytest.fixture(params=valkey_server.mainly("redis"))
def store(request):
    with valkey_server.server(request.param) as server:
        yield server


@final
@attrs.define
class HubNode:
    """A hub at the store, and its open streams."""

    engine: ValkeyEngine
    hub: Hub
    streams: list[trio.CancelScope] = attrs.field(factory=list)

    async def open_stream(
        self,
        user: str = "alice",
        *,
        task_status: trio.TaskStatus[bool] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Open a stream, report whether it was admitted, and keep it open."""
        assert self.hub.presence is not None
        channel = await self.hub.channel(user)
        slot = await self.hub.presence.reserve(user)
        request = SubscribeRequest(refused=not slot.granted)
        subscriber = self.hub.subscribe(channel, View("badge"), request)
        with self.hub.lease(subscriber, slot):
            del slot
            if subscriber.close_reason is not None:
                assert "shed" == subscriber.close_reason
                task_status.started(False)
                return
            with trio.CancelScope() as scope:
                self.streams.append(scope)
                task_status.started(True)
                await trio.sleep_forever()


@asynccontextmanager
async def run_node(url: str) -> AsyncIterator[HubNode]:
    """Run a node inside the block; it ends without a report, as if killed."""
    engine = ValkeyEngine(url)
    hub = Hub(engine, limits=StreamLimits(per_user=MAX_STREAMS))
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        await nursery.start(hub.run)
        yield HubNode(engine, hub)
        nursery.cancel_scope.cancel()


async def admits(node: HubNode, nursery: trio.Nursery, user: str = "alice") -> bool:
    return await nursery.start(node.open_stream, user)


async def admits_soon(node: HubNode, nursery: trio.Nursery, user: str) -> None:
    async def is_admitted() -> bool:
        return await admits(node, nursery, user)

    with trio.fail_after(1.0):
        await eventually(is_admitted, "the released slot is free")


async def test_limit_across_two_nodes(store, nursery):
    """Two nodes together admit no more streams; one that ends admits another."""
    async with run_node(store.url) as one, run_node(store.url) as other:
        admitted = [await admits(each, nursery) for each in (one, other) * 3]
        assert await admits(other, nursery, "bob")
        assert [True] * MAX_STREAMS + [False] * 3 == admitted

        one.streams.pop().cancel()
        await admits_soon(other, nursery, "alice")
        assert not await admits(one, nursery)


async def test_concurrent_streams_at_two_nodes(store, nursery):
    """Two nodes do not both admit a stream to the last slot, and no slot leaks."""
    admitted: list[bool] = []

    async def try_open(node: HubNode, user: str) -> None:
        admitted.append(await admits(node, nursery, user))

    async with run_node(store.url) as one, run_node(store.url) as other:
        for number in range(25):
            user = f"user-{number}"
            for each in (one, other)[: MAX_STREAMS - 1]:
                assert await admits(each, nursery, user)
            admitted.clear()
            async with trio.open_nursery() as opening:
                opening.start_soon(try_open, one, user)
                opening.start_soon(try_open, other, user)
            assert sum(admitted) <= 1
            if not any(admitted):
                await admits_soon(one, nursery, user)
            assert not await admits(other, nursery, user)


async def test_slots_of_a_killed_node(store, nursery, monkeypatch):
    """The slots of a killed node expire; those of a running node do not."""
    monkeypatch.setattr(presence, "TTL", 0.9)
    monkeypatch.setattr(presence, "RENEW_INTERVAL", 0.3)
    async with run_node(store.url) as one:
        async with run_node(store.url) as other:
            for each in (one, other, other):
                assert await admits(each, nursery)
        assert not await admits(one, nursery)

        async def is_admitted() -> bool:
            return await admits(one, nursery)

        await eventually(is_admitted, "a slot of the killed node expires")
        async with run_node(store.url) as third:
            await eventually(is_admitted, "its other slot expires")
            await trio.sleep(1.2)
            assert not await admits(third, nursery)


async def test_store_outage(store, nursery, monkeypatch):
    """During an outage no stream is admitted or ended; later counts are restored."""
    monkeypatch.setattr(presence, "RENEW_INTERVAL", 0.5)
    async with run_node(store.url) as one, run_node(store.url) as other:
        for _ in range(MAX_STREAMS - 1):
            assert await admits(one, nursery)
        assert one.hub.presence is not None
        store.kill9()
        with trio.fail_after(MAX_LATENCY), pytest.raises(EngineUnavailable):
            await one.hub.presence.reserve("alice")
        # It starts without data and scripts.
        store.start()

        async def is_restored() -> bool:
            (others,) = await other.engine.report_presence({"alice": 0}, ttl=1.0)
            return others == MAX_STREAMS - 1

        await eventually(is_restored, "the node reports again")
        assert MAX_STREAMS - 1 == len(one.hub._channels["alice"].subscribers)
        assert await admits(other, nursery)
        assert not await admits(other, nursery)


async def test_lost_primary_of_a_cluster(nursery):
    """The other primaries' counts stay available, and all are after the failover."""
    with valkey_server.cluster("valkey") as servers:
        url = cluster_url(servers)
        async with run_node(url) as one, run_node(url) as other:
            for user in USERS:
                assert await admits(one, nursery, user)

            async def counts() -> list[int | EngineUnavailable]:
                return await other.engine.report_presence(
                    dict.fromkeys(USERS, 0), ttl=1.0
                )

            assert [1] * len(USERS) == await counts()

            allow_failover(servers, allowed=False)
            servers[0].kill9()

            async def are_others_available() -> bool:
                found = await counts()
                lost = [each for each in found if isinstance(each, EngineUnavailable)]
                return 0 < len(lost) < len(USERS) and {1} == {*found} - {*lost}

            await eventually(are_others_available, "only its own users fail")
            allow_failover(servers, allowed=True)

            async def are_all_available() -> bool:
                return [1] * len(USERS) == await counts()

            await eventually(are_all_available, "the replica is promoted")
