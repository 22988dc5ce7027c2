"""The cap of a user's streams over nodes at a real store, which may fail them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import final

import attrs
import pytest
import trio

from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.streams import presence as attendance
from roundel_service.streams.channel import UserChannel
from roundel_service.streams.hub import Hub
from roundel_service.streams.registry import StreamLimits
from roundel_service.streams.subscribe import SubscribeRequest
from roundel_service.streams.subscriber import Subscriber
from roundel_service.streams.view_history import View
from support import valkey_server
from support.valkey_nodes import BOUND, USERS, cluster_url, eventually, let_promote

pytestmark = pytest.mark.slow

CAP = 3


@pytest.fixture(params=valkey_server.KINDS)
def store(request):
    with valkey_server.server(request.param) as server:
        yield server


@final
@attrs.define
class Node:
    """A hub at the store, and its streams."""

    engine: ValkeyEngine
    hub: Hub
    open: list[trio.CancelScope] = attrs.field(factory=list)

    async def come(
        self,
        user: str = "alice",
        *,
        task_status: trio.TaskStatus[bool] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Open a stream, say whether it was let in, and stay until it is ended."""
        assert self.hub.presence is not None
        channel = await self.hub.channel(user)
        seat = await self.hub.presence.reserve(user)
        reader = self._reader(channel, refused=not seat.granted)
        with self.hub.lease(reader, seat):
            del seat
            if reader.close_reason is not None:
                assert "shed" == reader.close_reason
                task_status.started(False)
                return
            with trio.CancelScope() as scope:
                self.open.append(scope)
                task_status.started(True)
                await trio.sleep_forever()

    def _reader(self, channel: UserChannel, *, refused: bool) -> Subscriber:
        return self.hub.subscribe(
            channel, View("badge"), SubscribeRequest(refused=refused)
        )


@asynccontextmanager
async def node(url: str) -> AsyncIterator[Node]:
    """Run a node for the length of the block; then it is gone without a word."""
    engine = ValkeyEngine(url)
    hub = Hub(engine, limits=StreamLimits(per_user=CAP))
    async with trio.open_nursery() as running:
        await running.start(engine.run)
        await running.start(hub.run)
        yield Node(engine, hub)
        running.cancel_scope.cancel()


async def comes(one: Node, nursery: trio.Nursery, user: str = "alice") -> bool:
    return await nursery.start(one.come, user)


async def is_soon_let_in(one: Node, nursery: trio.Nursery, user: str) -> None:
    async def is_let_in() -> bool:
        return await comes(one, nursery, user)

    with trio.fail_after(1.0):
        await eventually(is_let_in, "a place that was given back")


async def test_cap_holds_over_two_nodes(store, nursery):
    """Whoever comes where, there are no more; and one that goes makes room for one."""
    async with node(store.url) as one, node(store.url) as other:
        let_in = [await comes(each, nursery) for each in (one, other) * 3]
        assert await comes(other, nursery, "bob")
        assert [True] * CAP + [False] * 3 == let_in

        one.open.pop().cancel()
        await is_soon_let_in(other, nursery, "alice")
        assert not await comes(one, nursery)


async def test_two_that_come_at_once(store, nursery):
    """Of two at two nodes not both are let in, and no place is lost by it."""
    came: list[bool] = []

    async def come(at: Node, user: str) -> None:
        came.append(await comes(at, nursery, user))

    async with node(store.url) as one, node(store.url) as other:
        for number in range(25):
            user = f"user-{number}"
            for each in (one, other)[: CAP - 1]:
                assert await comes(each, nursery, user)
            came.clear()
            async with trio.open_nursery() as coming:
                coming.start_soon(come, one, user)
                coming.start_soon(come, other, user)
            assert sum(came) <= 1
            if not any(came):
                await is_soon_let_in(one, nursery, user)
            assert not await comes(other, nursery, user)


async def test_places_of_a_killed_node(store, nursery, monkeypatch):
    """They come back in their time; those of a node that lives do not."""
    monkeypatch.setattr(attendance, "TTL", 1.5)
    monkeypatch.setattr(attendance, "RENEW_INTERVAL", 0.5)
    async with node(store.url) as one:
        async with node(store.url) as other:
            for each in (one, other, other):
                assert await comes(each, nursery)
        assert not await comes(one, nursery)

        async def is_let_in() -> bool:
            return await comes(one, nursery)

        await eventually(is_let_in, "a place of the node that is gone")
        async with node(store.url) as third:
            await eventually(is_let_in, "the other place")
            await trio.sleep(2.0)
            assert not await comes(third, nursery)


async def test_store_that_is_away_for_a_while(store, nursery, monkeypatch):
    """Nobody begins in the meantime, nobody ends, and the count comes back."""
    monkeypatch.setattr(attendance, "RENEW_INTERVAL", 0.5)
    async with node(store.url) as one, node(store.url) as other:
        for _ in range(CAP - 1):
            assert await comes(one, nursery)
        assert one.hub.presence is not None
        store.kill9()
        with trio.fail_after(BOUND), pytest.raises(EngineUnavailable):
            await one.hub.presence.reserve("alice")
        # It comes back empty, without its scripts.
        store.start()

        async def is_known() -> bool:
            (heard,) = await other.engine.report_presence({"alice": 0}, ttl=1.0)
            return heard == CAP - 1

        await eventually(is_known, "it is said again")
        assert CAP - 1 == len(one.hub._channels["alice"].subscribers)
        assert await comes(other, nursery)
        assert not await comes(other, nursery)


async def test_primary_of_a_cluster_that_is_lost(nursery):
    """Users of the others are let in meanwhile, and its own when one is promoted."""
    with valkey_server.cluster("valkey") as servers:
        url = cluster_url(servers)
        async with node(url) as one, node(url) as other:
            for user in USERS:
                assert await comes(one, nursery, user)

            async def heard() -> list[int | EngineUnavailable]:
                return await other.engine.report_presence(
                    dict.fromkeys(USERS, 0), ttl=1.0
                )

            assert [1] * len(USERS) == await heard()

            let_promote(servers, allowed=False)
            servers[0].kill9()

            async def are_others_heard() -> bool:
                counts = await heard()
                lost = [each for each in counts if isinstance(each, EngineUnavailable)]
                return 0 < len(lost) < len(USERS) and {1} == {*counts} - {*lost}

            await eventually(are_others_heard, "only its own users are not heard of")
            let_promote(servers, allowed=True)

            async def are_all_heard() -> bool:
                return [1] * len(USERS) == await heard()

            await eventually(are_all_heard, "the replica is promoted")
