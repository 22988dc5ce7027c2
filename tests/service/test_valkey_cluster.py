"""A cluster of three primaries: the promises, and the loss of one of them."""

from __future__ import annotations

import secrets

import pytest
import trio

import valkey_server
from roundel_service.engines.valkey import ValkeyEngine
from roundel_service.testing import PROMISES, Setup

from .valkey_nodes import (
    BOUND,
    USERS,
    Load,
    all_hold_the_truth,
    goes_on,
    missing,
    node,
)

pytestmark = pytest.mark.slow


# One of them by day: to make a cluster takes a while.
ALL = [pytest.param("redis", marks=pytest.mark.nightly), "valkey"]


@pytest.fixture(scope="module", params=ALL)
def url(request):
    """Return the URL of a cluster that nobody harms."""
    with valkey_server.cluster(request.param) as servers:
        yield cluster_url(servers)


def cluster_url(servers) -> str:
    return "valkey+cluster://" + ",".join(server.address for server in servers)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
async def test_promise(promise, url):
    """What is promised of one server is promised of many."""
    prefix = secrets.token_hex(4)

    def make(setup: Setup) -> ValkeyEngine:
        place = f"{url}?prefix={prefix}-{setup.place}"
        return ValkeyEngine(place, setup.rules, clock=setup.clock)

    await promise.check(make, is_durable=True, is_shared=True)


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
