"""The Valkey engine at a cluster of three primaries, and the loss of one."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import trio

from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.engines.valkey.keys import Keys
from roundel_service.engines.valkey.scheduler import MAX_CONCURRENT
from roundel_service.testing import CHECKS, Setup
from support import valkey_server
from support.valkey_nodes import (
    MAX_LATENCY,
    USERS,
    Load,
    Node,
    allow_failover,
    cluster_url,
    eventually,
    lost_writes,
    notification,
    run_node,
    wait_for_writes,
    wait_until_consistent,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=valkey_server.mainly("valkey"))
def url(request):
    """Run a cluster without faults, and return its URL."""
    with valkey_server.cluster(request.param) as servers:
        yield cluster_url(servers)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
async def test_check(check, url):
    """A cluster passes every check of the engine contract."""
    prefix = secrets.token_hex(4)

    def make(setup: Setup) -> ValkeyEngine:
        store_url = f"{url}?prefix={prefix}-{setup.name}"
        return ValkeyEngine(store_url, setup.limits, clock=setup.clock)

    await check.run(make, is_durable=True, is_shared=True)


@pytest.mark.parametrize("kind", valkey_server.mainly("redis"))
async def test_lost_primary(kind):
    """After a failover all users can write; only the primary's users get a reset."""
    with valkey_server.cluster(kind) as servers:
        url = cluster_url(servers)
        async with run_node(url) as one, run_node(url) as other:
            async with trio.open_nursery() as nursery:
                load = Load([one.engine, other.engine])
                await nursery.start(load.run)
                servers[0].kill9()
                for user in USERS:
                    await wait_for_writes(load, user)
                load.is_stopped = True
            stored = await wait_until_consistent(url, [one, other])

    assert set() == lost_writes(load, stored, same_epoch=True)
    resets = one.clients.resets
    assert set() != resets, "the lost primary served no user"
    assert resets == other.clients.resets
    assert set(USERS) != resets
    assert load.max_latency < MAX_LATENCY


async def test_node_is_ready_while_one_primary_accepts_writes():
    """The health check fails only if all primaries refuse writes, with the reason."""
    with valkey_server.cluster("valkey") as servers:
        async with run_node(cluster_url(servers)) as node:
            for primary in servers[:3]:
                await node.engine.check()
                primary.execute("CONFIG", "SET", "min-replicas-to-write", "9")
            with pytest.raises(EngineUnavailable, match=r"(?i)noreplicas|not enough"):
                await node.engine.check()


MIN_WRITES = 4
"""Writes per user that arrive elsewhere while a call to a paused primary fails."""


@pytest.mark.parametrize("is_promoted", [False, True])
async def test_paused_primary(is_promoted):
    """A primary that does not answer delays only its own users."""
    with valkey_server.cluster("valkey") as servers:
        allow_failover(servers, allowed=False)
        affected = [user for user in USERS if is_on_first(servers, user)]
        others = [user for user in USERS if user not in affected]
        url = cluster_url(servers)
        assert len(affected) >= MAX_CONCURRENT
        async with run_node(url) as one, run_node(url) as other:
            servers[0].pause()
            # A primary that was just promoted knows no scripts.
            servers[1].execute("SCRIPT", "FLUSH")
            try:
                written = await write_until_failed(one, other, others, affected)
                await one.engine.check()
                if is_promoted:
                    allow_failover(servers, allowed=True)
                    await eventually(accept_writes(one, affected), "a replica is used")
            finally:
                servers[0].resume()
            await eventually(accept_writes(one, affected), "all users are served")
            await wait_until_consistent(url, [one, other])

    assert all(written[user] >= MIN_WRITES for user in others)
    assert set(affected if is_promoted else ()) == one.clients.resets
    assert one.clients.resets == other.clients.resets


def is_on_first(servers, user: str) -> bool:
    slot = servers[0].execute("CLUSTER", "KEYSLOT", Keys("roundel").user(user))
    return slot < valkey_server.SLOTS // 3


async def write_until_failed(
    one: Node, other: Node, others: list[str], affected: list[str]
) -> Counter[str]:
    """Write for *others* until the writes for the *affected* users have failed.

    Returns how many writes of each user have reached the clients of the other node.
    """
    written: Counter[str] = Counter()

    async def keep_writing(user: str) -> None:
        async def has_arrived() -> bool:
            return other.clients.records[user].mailbox.v > written[user]

        while True:
            await one.engine.apply([(user, notification(f"{written[user]}"))])
            await eventually(has_arrived, "the other node's client has it")
            written[user] += 1

    async def fail(user: str) -> None:
        with trio.fail_after(MAX_LATENCY):
            (result,) = await one.engine.apply([(user, notification("failed"))])
        assert isinstance(result, EngineUnavailable)

    async with trio.open_nursery() as writing:
        async with trio.open_nursery() as failing:
            for user in affected:
                failing.start_soon(fail, user)
                # One batch each, so that all concurrent batches are in use.
                await trio.sleep(0.1)
            for user in others:
                writing.start_soon(keep_writing, user)
        writing.cancel_scope.cancel()
    return written


def accept_writes(node: Node, users: list[str]) -> Callable[[], Awaitable[bool]]:
    async def accept() -> bool:
        work = [(user, notification("last")) for user in users]
        results = await node.engine.apply(work)
        return not any(isinstance(result, EngineUnavailable) for result in results)

    return accept
