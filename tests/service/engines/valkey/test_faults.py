"""What goes wrong with a store, and that nobody is told what is not so."""

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
    BOUND,
    USERS,
    Load,
    Node,
    all_hold_the_truth,
    eventually,
    goes_on,
    missing,
    node,
    note,
)
from support.valkey_server import KINDS, Server

pytestmark = pytest.mark.slow

KEEPS = ("--appendonly", "yes")


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def store(kind):
    with valkey_server.server(kind, *KEEPS) as made:
        yield made


async def loaded(nursery: trio.Nursery, *nodes: Node) -> Load:
    load = Load([one.engine for one in nodes])
    await nursery.start(load.run)
    return load


async def test_store_that_is_killed_loses_nothing_that_it_wrote(store):
    """What was acknowledged is there after kill -9 and a restart, once each."""
    async with node(store.url) as one, node(store.url) as other:
        async with trio.open_nursery() as nursery:
            load = await loaded(nursery, one, other)
            store.kill9()
            await trio.sleep(0.3)
            store.start()
            await goes_on(load)
            load.is_over = True
        truth = await all_hold_the_truth(store.url, [one, other])

    assert set() == missing(load, truth, in_epoch=False)
    # Whoever restarts may have lost something, and only the store could know.
    assert set(USERS) == one.clients.resets == other.clients.resets
    assert load.longest < BOUND
    for record in truth.values():
        # One version more where there was something to go on with, in another epoch.
        assert record.mailbox.v - len(record.mailbox.items) in (0, 1)


@pytest.mark.parametrize(
    "seconds", [4.0, pytest.param(10.0, marks=pytest.mark.nightly)]
)
async def test_store_that_stands_still(seconds, store):
    """Calls are refused in bounded time; then all goes on, in the same epoch."""
    async with node(store.url) as one, node(store.url) as other:
        async with trio.open_nursery() as nursery:
            load = await loaded(nursery, one, other)
            store.pause()
            await trio.sleep(seconds)
            store.resume()
            await goes_on(load)
            load.is_over = True
        truth = await all_hold_the_truth(store.url, [one, other])

    assert load.refused > 0
    assert load.longest < BOUND
    assert set() == missing(load, truth, in_epoch=False)
    assert set() == one.clients.resets | other.clients.resets
    for record in truth.values():
        assert len(record.mailbox.items) == record.mailbox.v


async def test_streams_outlast_a_store_that_is_away(store, nursery):
    """Who publishes is told to come again; who reads stays, and is told the rest."""
    async with node(store.url) as one, node(store.url) as other:
        hub = Hub(one.engine)
        await nursery.start(hub.run)
        channel = await hub.channel("alice")
        await hub.apply("alice", note("1"))
        reader = hub.subscribe(channel, View("badge"), SubscribeRequest())
        with hub.lease(reader):
            store.pause()
            with trio.fail_after(BOUND), pytest.raises(EngineUnavailable):
                await hub.apply("alice", note("2"))
            assert (None, 1) == (reader.close_reason, channel.badge.unread)

            store.resume()
            await other.engine.apply([("alice", note("3")), ("alice", note("2"))])

            async def is_told() -> bool:
                return channel.badge.unread == 3

            await eventually(is_told, "the stream has caught up")
            assert reader.close_reason is None


async def test_replica_that_has_not_all_is_promoted(kind, nursery):
    """What its primary took with it is in no epoch that anybody is told."""
    with valkey_server.server(kind) as primary, valkey_server.server(kind) as replica:
        relay = await replicating(primary, replica, nursery)
        url = f"{primary.url},{replica.address}"
        async with node(url) as one, node(url) as other:
            async with trio.open_nursery() as writing:
                load = await loaded(writing, one, other)
                relay.hold()
                await goes_on(load)
                primary.kill9()
                relay.cut()
                replica.ask("REPLICAOF", "NO", "ONE")
                await goes_on(load)
                load.is_over = True
            truth = await all_hold_the_truth(url, [one, other])

    assert set() != missing(load, truth, in_epoch=False), "nothing was put to the test"
    assert set() == missing(load, truth, in_epoch=True)
    assert set(USERS) == one.clients.resets == other.clients.resets


async def replicating(primary: Server, replica: Server, nursery: trio.Nursery) -> Relay:
    """Let one server have what the other has, by a relay."""
    relay = Relay(primary.host, primary.port)
    await nursery.start(relay.run)
    replica.ask("REPLICAOF", "127.0.0.1", f"{relay.port}")

    async def is_up() -> bool:
        return replica.says("replication", "master_link_status") == "up"

    await eventually(is_up, "the replica has what the primary has")
    return relay


async def test_store_that_lost_everything(store):
    """Mailboxes that are gone do not come back with an epoch that they had."""
    async with node(store.url) as one, node(store.url) as other:
        for user in USERS[:6]:
            await one.engine.apply([(user, note("1")), (user, note("2"))])
        before = await all_hold_the_truth(store.url, [one, other])
        store.ask("FLUSHALL")
        await one.engine.apply([(USERS[0], note("3"))])
        truth = await all_hold_the_truth(store.url, [one, other])

    assert ["3"] == list(truth[USERS[0]].mailbox.items)
    for user in USERS:
        assert truth[user].mailbox.epoch != before[user].mailbox.epoch


@pytest.mark.parametrize("left", [0, 1])
async def test_log_that_is_trimmed_under_a_slow_node(left, store, nursery):
    """Who could not read what was trimmed looks everything up."""
    relay = Relay(store.host, store.port)
    await nursery.start(relay.run)
    async with node(store.url) as one, node(relay.url) as slow:
        relay.hold()
        for number in range(3):
            for user in USERS:
                await one.engine.apply([(user, note(f"{number}"))])
        for log in store.ask("KEYS", "*:log"):
            store.ask("XTRIM", log, "MAXLEN", f"{left}")
        relay.release()
        truth = await all_hold_the_truth(store.url, [one, slow])

    assert [3] * len(USERS) == [record.badge.unread for record in truth.values()]
    assert set() == slow.clients.resets


async def test_node_that_is_cut_off(store, nursery):
    """It refuses what it is asked, in bounded time, and catches up when it is back."""
    relay = Relay(store.host, store.port)
    await nursery.start(relay.run)
    async with node(store.url) as one, node(relay.url) as lone:
        relay.cut()
        held = lone.clients.records[USERS[0]]
        with trio.fail_after(BOUND):
            (result,) = await lone.engine.apply([(USERS[0], note("lone"))])
        await one.engine.apply([(user, note("1")) for user in USERS])
        with pytest.raises(EngineUnavailable, match=f"127.0.0.1:{relay.port}"):
            await lone.engine.check()

        assert isinstance(result, EngineUnavailable)
        assert held is lone.clients.records[USERS[0]]

        relay.restore()
        truth = await all_hold_the_truth(store.url, [one, lone])
        await lone.engine.check()

    assert [1] * len(USERS) == [record.badge.unread for record in truth.values()]


async def test_answers_that_are_lost(store, nursery):
    """What was done and not answered is done once, also where others came later."""
    relay = Relay(store.host, store.port)
    await nursery.start(relay.run)
    async with node(store.url) as one, node(relay.url) as other:
        # The store is shown how to write, so that what is asked next is done.
        await one.engine.apply([("somebody", note("0"))])
        relay.hold("answers")
        async with trio.open_nursery() as asking:
            results = []

            async def ask(user: str) -> None:
                results.append(await other.engine.apply([(user, note("1"))]))

            for user in USERS:
                asking.start_soon(ask, user)

            async def are_there() -> bool:
                records = [await one.engine.read(user) for user in USERS]
                return all(record.mailbox.v == 1 for record in records)

            await eventually(are_there, "the store has them")
            for user in USERS[:6]:
                await one.engine.apply([(user, note("2"))])
            relay.release()
            relay.cut()
            relay.restore()
        truth = await all_hold_the_truth(store.url, [one, other])

    assert [False] * len(USERS) == [
        isinstance(r, EngineUnavailable) for (r,) in results
    ]
    assert {1} == {result.badge.v for (result,) in results}
    assert [2] * 6 + [1] * 6 == [truth[user].mailbox.v for user in USERS]


@pytest.mark.parametrize("is_logged", [True, False])
async def test_requests_that_are_lost(is_logged, store, nursery):
    """What the log shows to have been passed by is done again; else nobody knows."""
    relay = Relay(store.host, store.port)
    await nursery.start(relay.run)
    async with node(store.url) as one, node(relay.url) as other:
        relay.hold("requests")
        async with trio.open_nursery() as asking:
            results = []

            async def ask() -> None:
                results.extend(await other.engine.apply([(USERS[0], note("1"))]))

            asking.start_soon(ask)
            await one.engine.apply([(USERS[0], note("2"))])
            if not is_logged:
                for log in store.ask("KEYS", "*:log"):
                    store.ask("XTRIM", log, "MAXLEN", "0")
            relay.cut()
            relay.release()
            relay.restore()
        truth = await all_hold_the_truth(store.url, [one, other])

    held = list(truth[USERS[0]].mailbox.items)
    assert [not is_logged] == [
        isinstance(result, EngineUnavailable) for result in results
    ]
    assert (["2", "1"] if is_logged else ["2"]) == held


async def test_write_that_comes_late(store, nursery):
    """What was given up, and is done all the same, is done once and is told."""
    relay = Relay(store.host, store.port)
    await nursery.start(relay.run)
    async with node(store.url) as one, node(relay.url) as other:
        relay.hold("requests")
        with trio.fail_after(BOUND):
            (result,) = await other.engine.apply([(USERS[0], note("1"))])

        assert isinstance(result, EngineUnavailable)

        relay.release()
        (again,) = await one.engine.apply([(USERS[0], note("1"))])
        truth = await all_hold_the_truth(store.url, [one, other])

    assert ["1"] == list(truth[USERS[0]].mailbox.items)
    assert (1, 1) == (again.badge.v, truth[USERS[0]].mailbox.v)


async def test_store_that_is_away_at_first(kind, nursery):
    """A node begins without its store, says so, and works as soon as it is there."""
    store = Server(kind)
    try:
        engine = ValkeyEngine(store.url)
        async with trio.open_nursery() as running:
            await running.start(engine.run)
            with (
                pytest.raises(EngineUnavailable, match=store.address),
                trio.fail_after(BOUND),
            ):
                await engine.check()
            with pytest.raises(EngineUnavailable), trio.fail_after(BOUND):
                await engine.read("alice")
            store.start()

            await eventually(partial(is_taken, engine), "what is written is taken")
            await engine.check()
            running.cancel_scope.cancel()
    finally:
        store.remove()


async def is_taken(engine) -> bool:
    (result,) = await engine.apply([("alice", note("1"))])
    return not isinstance(result, EngineUnavailable)
