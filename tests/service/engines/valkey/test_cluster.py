"""A cluster of three primaries: the promises, and the loss of one of them."""

from __future__ import annotations

import secrets
from collections import Counter

import pytest
import trio

from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.engines.valkey.keys import Keys
from roundel_service.engines.valkey.queue import MAX_CONCURRENT
from roundel_service.testing import CHECKS, Setup
from support import valkey_server
from support.valkey_nodes import (
    BOUND,
    USERS,
    Load,
    Node,
    all_hold_the_truth,
    cluster_url,
    eventually,
    goes_on,
    let_promote,
    missing,
    node,
    note,
)

pytestmark = pytest.mark.slow


# One of them by day: to make a cluster takes a while.
ALL = [pytest.param("redis", marks=pytest.mark.nightly), "valkey"]


@pytest.fixture(scope="module", params=ALL)
def url(request):
    """Return the URL of a cluster that nobody harms."""
    with valkey_server.cluster(request.param) as servers:
        yield cluster_url(servers)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
async def test_check(check, url):
    """A cluster passes every check of the engine contract."""
    prefix = secrets.token_hex(4)

    def make(setup: Setup) -> ValkeyEngine:
        place = f"{url}?prefix={prefix}-{setup.name}"
        return ValkeyEngine(place, setup.limits, clock=setup.clock)

    await check.run(make, is_durable=True, is_shared=True)


@pytest.mark.parametrize("kind", valkey_server.KINDS)
async def test_primary_that_is_lost(kind):
    """Others' mailboxes go on meanwhile, and its own when its replica is promoted."""
    with valkey_server.cluster(kind) as servers:
        url = cluster_url(servers)
        async with node(url) as one, node(url) as other:
            async with trio.open_nursery() as nursery:
                load = Load([one.engine, other.engine])
                await nursery.start(load.run)
                servers[0].kill9()
                for user in USERS:
                    await goes_on(load, user)
                load.is_over = True
            truth = await all_hold_the_truth(url, [one, other])

    assert set() == missing(load, truth, in_epoch=True)
    resets = one.clients.resets
    assert set() != resets, "nobody was on the primary that was lost"
    assert resets == other.clients.resets
    assert set(USERS) != resets
    assert load.longest < BOUND


async def test_node_is_ready_while_somebody_is_taken():
    """Only where no primary takes a write it is not, and it says why."""
    with valkey_server.cluster("valkey") as servers:
        async with node(cluster_url(servers)) as one:
            for refusing in servers[:3]:
                await one.engine.check()
                refusing.ask("CONFIG", "SET", "min-replicas-to-write", "9")
            with pytest.raises(EngineUnavailable, match=r"(?i)noreplicas|not enough"):
                await one.engine.check()


OFTEN = 4
"""How often others are taken, and it is heard, while a call waits to be refused."""


@pytest.mark.parametrize("is_promoted", [False, True])
async def test_primary_that_stands_still(is_promoted):
    """Who is elsewhere does not wait for those who are there, nor for what is told."""
    with valkey_server.cluster("valkey") as servers:
        let_promote(servers, allowed=False)
        there = [user for user in USERS if is_at_first(servers, user)]
        elsewhere = [user for user in USERS if user not in there]
        url = cluster_url(servers)
        assert len(there) >= MAX_CONCURRENT
        async with node(url) as one, node(url) as other:
            servers[0].pause()
            # It is as if one of the others had just been promoted.
            servers[1].ask("SCRIPT", "FLUSH")
            try:
                heard = await heard_while_refused(one, other, elsewhere, there)
                await one.engine.check()
                if is_promoted:
                    let_promote(servers, allowed=True)
                    await eventually(are_taken(one, there), "its replica is asked")
            finally:
                servers[0].resume()
            await eventually(are_taken(one, there), "what is there is asked again")
            await all_hold_the_truth(url, [one, other])

    assert [OFTEN] * len(elsewhere) == [min(heard[user], OFTEN) for user in elsewhere]
    assert set(there if is_promoted else ()) == one.clients.resets
    assert one.clients.resets == other.clients.resets


def is_at_first(servers, user: str) -> bool:
    slot = servers[0].ask("CLUSTER", "KEYSLOT", Keys("roundel").user(user))
    return slot < valkey_server.SLOTS // 3


async def heard_while_refused(one: Node, other: Node, elsewhere, there) -> Counter[str]:
    """Return how often a write for each user *elsewhere* is heard at the other node.

    Until those *there* are refused.
    """
    heard: Counter[str] = Counter()

    async def go_on(user: str) -> None:
        async def is_heard() -> bool:
            return other.clients.records[user].mailbox.v > heard[user]

        while True:
            await one.engine.apply([(user, note(f"{heard[user]}"))])
            await eventually(is_heard, "the other node's client has it")
            heard[user] += 1

    async def is_refused(user: str) -> None:
        with trio.fail_after(BOUND):
            (result,) = await one.engine.apply([(user, note("refused"))])
        assert isinstance(result, EngineUnavailable)

    async with trio.open_nursery() as going_on:
        async with trio.open_nursery() as refused:
            for user in there:
                refused.start_soon(is_refused, user)
                # Each is a turn of its own, and all that run at once are taken.
                await trio.sleep(0.1)
            for user in elsewhere:
                going_on.start_soon(go_on, user)
        going_on.cancel_scope.cancel()
    return heard


def are_taken(one: Node, users):
    async def are() -> bool:
        results = await one.engine.apply([(user, note("last")) for user in users])
        return not any(isinstance(result, EngineUnavailable) for result in results)

    return are
