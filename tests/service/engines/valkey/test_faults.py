"""Faults of the store and of its network, under load."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.streams.hub import Hub
from roundel_service.streams.subscribe import SubscribeRequest
from roundel_service.streams.view_history import View
from support import valkey_server
from support.relay import Relay
from support.valkey_nodes import (
    MAX_LATENCY,
    USERS,
    Load,
    Node,
    accepts_writes,
    eventually,
    lost_writes,
    notification,
    run_node,
    wait_for_writes,
    wait_until_consistent,
)
from support.valkey_server import Server, mainly

pytestmark = pytest.mark.slow

PERSISTENT = ("--appendonly", "yes")

# A diskless replication starts after 5 seconds.
FAST_SYNC = ("--repl-diskless-sync", "no")


@pytest.fixture(params=mainly("valkey"))
def kind(request) -> str:
    return request.param


@pytest.fixture
def store(kind):
    with valkey_server.server(kind, *PERSISTENT) as server:
        yield server


async def start_load(nursery: trio.Nursery, *nodes: Node) -> Load:
    load = Load([one.engine for one in nodes])
    await nursery.start(load.run)
    return load


async def test_killed_store_keeps_acknowledged_writes(store):
    """After kill -9 and a restart each acknowledged write is stored once."""
    async with run_node(store.url) as one, run_node(store.url) as other:
        async with trio.open_nursery() as nursery:
            load = await start_load(nursery, one, other)
            store.kill9()
            await trio.sleep(0.3)
            store.start()
            await wait_for_writes(load)
            load.is_stopped = True
        stored = await wait_until_consistent(store.url, [one, other])

    assert set() == lost_writes(load, stored, same_epoch=False)
    # A restarted store may have lost writes, so every mailbox gets a new epoch.
    assert set(USERS) == one.clients.resets == other.clients.resets
    assert load.max_latency < MAX_LATENCY
    for record in stored.values():
        # The new epoch of a mailbox that was written before takes one version.
        assert record.mailbox.v - len(record.mailbox.items) in (0, 1)


@pytest.mark.parametrize(
    "seconds", [4.0, pytest.param(10.0, marks=pytest.mark.nightly)]
)
async def test_paused_store(seconds, store):
    """Calls fail in bounded time; after the pause all epochs continue."""
    async with run_node(store.url) as one, run_node(store.url) as other:
        async with trio.open_nursery() as nursery:
            load = await start_load(nursery, one, other)
            store.pause()
            await trio.sleep(seconds)
            store.resume()
            await wait_for_writes(load)
            load.is_stopped = True
        stored = await wait_until_consistent(store.url, [one, other])

    assert load.refused > 0
    assert load.max_latency < MAX_LATENCY
    assert set() == lost_writes(load, stored, same_epoch=False)
    assert set() == one.clients.resets | other.clients.resets
    for record in stored.values():
        assert len(record.mailbox.items) == record.mailbox.v


async def test_streams_survive_an_outage(store, nursery):
    """While the store is down publishing fails; open streams stay, and catch up."""
    async with run_node(store.url) as one, run_node(store.url) as other:
        hub = Hub(one.engine)
        await nursery.start(hub.run)
        channel = await hub.channel("alice")
        await hub.apply("alice", notification("1"))
        subscriber = hub.subscribe(channel, View("badge"), SubscribeRequest())
        with hub.lease(subscriber):
            store.pause()
            with trio.fail_after(MAX_LATENCY), pytest.raises(EngineUnavailable):
                await hub.apply("alice", notification("2"))
            assert (None, 1) == (subscriber.close_reason, channel.badge.unread)

            store.resume()
            await other.engine.apply(
                [("alice", notification("3")), ("alice", notification("2"))]
            )

            async def has_caught_up() -> bool:
                return channel.badge.unread == 3

            await eventually(has_caught_up, "the stream has caught up")
            assert subscriber.close_reason is None


@pytest.mark.parametrize("kind", mainly("redis"))
async def test_failover_to_a_lagging_replica(kind, nursery):
    """Writes that a failover lost are in no epoch that clients still show."""
    with (
        valkey_server.server(kind, *FAST_SYNC) as primary,
        valkey_server.server(kind) as replica,
    ):
        relay = await replicate(primary, replica, nursery)
        url = f"{primary.url},{replica.address}"
        async with run_node(url) as one, run_node(url) as other:
            async with trio.open_nursery() as writing:
                load = await start_load(writing, one, other)
                relay.hold()
                await wait_for_writes(load)
                primary.kill9()
                relay.cut()
                replica.execute("REPLICAOF", "NO", "ONE")
                await wait_for_writes(load)
                load.is_stopped = True
            stored = await wait_until_consistent(url, [one, other])

    assert set() != lost_writes(load, stored, same_epoch=False), (
        "the failover lost no write"
    )
    assert set() == lost_writes(load, stored, same_epoch=True)
    assert set(USERS) == one.clients.resets == other.clients.resets


async def replicate(primary: Server, replica: Server, nursery: trio.Nursery) -> Relay:
    """Make a server a replica of the other, through a relay."""
    relay = Relay(primary.host, primary.port)
    await nursery.start(relay.run)
    replica.execute("REPLICAOF", "127.0.0.1", f"{relay.port}")

    async def is_in_sync() -> bool:
        return replica.info("replication", "master_link_status") == "up"

    await eventually(is_in_sync, "the replica is in sync")
    return relay


async def test_store_that_lost_everything(store):
    """After the loss of all data no mailbox returns with its earlier epoch."""
    async with run_node(store.url) as one, run_node(store.url) as other:
        for user in USERS[:6]:
            await one.engine.apply(
                [(user, notification("1")), (user, notification("2"))]
            )
        before = await wait_until_consistent(store.url, [one, other])
        store.execute("FLUSHALL")
        await one.engine.apply([(USERS[0], notification("3"))])
        stored = await wait_until_consistent(store.url, [one, other])

    assert ["3"] == list(stored[USERS[0]].mailbox.items)
    for user in USERS:
        assert stored[user].mailbox.epoch != before[user].mailbox.epoch


@pytest.mark.parametrize("remaining", [0, 1])
async def test_log_trimmed_before_a_slow_node_read_it(remaining, store, nursery):
    """A node that missed log entries loads all watched mailboxes."""
    relay = Relay(store.host, store.port)
    await nursery.start(relay.run)
    async with run_node(store.url) as one, run_node(relay.url) as slow:
        relay.hold()
        for number in range(3):
            for user in USERS:
                await one.engine.apply([(user, notification(f"{number}"))])
        for log in store.execute("KEYS", "*:log"):
            store.execute("XTRIM", log, "MAXLEN", f"{remaining}")
        relay.release()
        stored = await wait_until_consistent(store.url, [one, slow])

    assert [3] * len(USERS) == [record.badge.unread for record in stored.values()]
    assert set() == slow.clients.resets


async def test_partitioned_node(store, nursery):
    """Calls of a partitioned node fail in bounded time; later it catches up."""
    relay = Relay(store.host, store.port)
    await nursery.start(relay.run)
    async with run_node(store.url) as one, run_node(relay.url) as lone:
        relay.cut()
        before = lone.clients.records[USERS[0]]
        with trio.fail_after(MAX_LATENCY):
            (result,) = await lone.engine.apply([(USERS[0], notification("lone"))])
        await one.engine.apply([(user, notification("1")) for user in USERS])
        with pytest.raises(EngineUnavailable, match=f"127.0.0.1:{relay.port}"):
            await lone.engine.check()

        assert isinstance(result, EngineUnavailable)
        assert before is lone.clients.records[USERS[0]]

        relay.restore()
        stored = await wait_until_consistent(store.url, [one, lone])
        await lone.engine.check()

    assert [1] * len(USERS) == [record.badge.unread for record in stored.values()]


async def test_lost_replies(store, nursery):
    """A write whose reply was lost is applied once, also if other writes followed."""
    relay = Relay(store.host, store.port)
    await nursery.start(relay.run)
    async with run_node(store.url) as one, run_node(relay.url) as other:
        # Loads the scripts into the store, so that the next commit is applied.
        await one.engine.apply([("carol", notification("0"))])
        relay.hold("answers")
        async with trio.open_nursery() as writing:
            results = []

            async def write(user: str) -> None:
                results.append(await other.engine.apply([(user, notification("1"))]))

            for user in USERS:
                writing.start_soon(write, user)

            async def are_stored() -> bool:
                records = [await one.engine.read(user) for user in USERS]
                return all(record.mailbox.v == 1 for record in records)

            await eventually(are_stored, "the store has the writes")
            for user in USERS[:6]:
                await one.engine.apply([(user, notification("2"))])
            relay.release()
            relay.cut()
            relay.restore()
        stored = await wait_until_consistent(store.url, [one, other])

    assert [False] * len(USERS) == [
        isinstance(r, EngineUnavailable) for (r,) in results
    ]
    assert {1} == {result.badge.v for (result,) in results}
    assert [2] * 6 + [1] * 6 == [stored[user].mailbox.v for user in USERS]


@pytest.mark.parametrize("is_logged", [True, False])
async def test_lost_requests(is_logged, store, nursery):
    """A lost write is sent again if the log shows that it was not applied.

    Without the log it fails.
    """
    relay = Relay(store.host, store.port)
    await nursery.start(relay.run)
    async with run_node(store.url) as one, run_node(relay.url) as other:
        relay.hold("requests")
        async with trio.open_nursery() as writing:
            results = []

            async def write() -> None:
                results.extend(
                    await other.engine.apply([(USERS[0], notification("1"))])
                )

            writing.start_soon(write)
            await one.engine.apply([(USERS[0], notification("2"))])
            if not is_logged:
                for log in store.execute("KEYS", "*:log"):
                    store.execute("XTRIM", log, "MAXLEN", "0")
            relay.cut()
            relay.release()
            relay.restore()
        stored = await wait_until_consistent(store.url, [one, other])

    items = list(stored[USERS[0]].mailbox.items)
    assert [not is_logged] == [
        isinstance(result, EngineUnavailable) for result in results
    ]
    assert (["2", "1"] if is_logged else ["2"]) == items


async def test_write_that_arrives_after_its_call_failed(store, nursery):
    """A delayed write is applied once, and the clients get it."""
    relay = Relay(store.host, store.port)
    await nursery.start(relay.run)
    async with run_node(store.url) as one, run_node(relay.url) as other:
        relay.hold("requests")
        with trio.fail_after(MAX_LATENCY):
            (result,) = await other.engine.apply([(USERS[0], notification("1"))])

        assert isinstance(result, EngineUnavailable)

        relay.release()
        (retried,) = await one.engine.apply([(USERS[0], notification("1"))])
        stored = await wait_until_consistent(store.url, [one, other])

    assert ["1"] == list(stored[USERS[0]].mailbox.items)
    assert (1, 1) == (retried.badge.v, stored[USERS[0]].mailbox.v)


async def test_node_started_before_its_store(kind):
    """A node starts without its store, reports that, and works once it is there."""
    store = Server(kind)
    try:
        engine = ValkeyEngine(store.url)
        async with trio.open_nursery() as running:
            await running.start(engine.run)
            with (
                pytest.raises(EngineUnavailable, match=store.address),
                trio.fail_after(MAX_LATENCY),
            ):
                await engine.check()
            with pytest.raises(EngineUnavailable), trio.fail_after(MAX_LATENCY):
                await engine.read("alice")
            store.start()

            await eventually(partial(accepts_writes, engine), "writes are accepted")
            await engine.check()
            running.cancel_scope.cancel()
    finally:
        store.remove()
