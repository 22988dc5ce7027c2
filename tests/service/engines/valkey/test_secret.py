"""The secret of a store: read first, created once, read again after a minute."""

from __future__ import annotations

import pytest
import trio

from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.valkey.keys import Keys
from roundel_service.engines.valkey.secret import SECRET_TTL, StoreSecret
from support import valkey_server
from support.valkey_nodes import run_node


class FakeIndex:
    """Runs the commands on a hash in memory, or raises *error*."""

    def __init__(self) -> None:
        self.fields = {}
        self.writes = 0
        self.error = None

    async def run(self, commands):
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return [self._run(*command) for command in commands]

    def _run(self, name, key, field, value=""):
        if name == "HGET":
            return self.fields.get(field)
        self.writes += 1
        self.fields.setdefault(field, value.encode())
        return 1


@pytest.fixture
def index():
    return FakeIndex()


def node(index) -> StoreSecret:
    return StoreSecret(index, Keys("roundel"))


async def test_concurrent_nodes_create_one_secret(autojump_clock, index):
    """The first write counts, and each node reads it."""
    found = []

    async def ask(one):
        found.append(await one.secret())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask, node(index))

    assert 5 == len(found)
    assert {index.fields["secret"]} == set(found)


async def test_existing_secret_is_only_read(autojump_clock, index):
    """A store that is full or read-only has its secret: nothing is written."""
    first = await node(index).secret()
    writes = index.writes

    assert first == await node(index).secret()
    assert writes == index.writes


async def test_lost_secret_is_replaced_within_a_minute(autojump_clock, index):
    """After the store was emptied, the nodes agree again."""
    one, two = node(index), node(index)
    before = [await one.secret(), await two.secret()]
    index.fields.clear()
    kept = await one.secret()
    await trio.sleep(SECRET_TTL)
    after = [await one.secret(), await two.secret()]

    assert before == [kept] * 2
    assert after == [index.fields["secret"]] * 2
    assert kept != after[0]


async def test_known_secret_counts_while_the_store_is_away(autojump_clock, index):
    """Only a node that never read it cannot verify tickets."""
    one = node(index)
    secret = await one.secret()
    index.error = EngineUnavailable("no answer")
    await trio.sleep(SECRET_TTL)

    assert secret == await one.secret()
    with pytest.raises(EngineUnavailable):
        await node(index).secret()


@pytest.mark.slow
@pytest.mark.parametrize("kind", valkey_server.KINDS)
async def test_full_store_has_its_secret(kind):
    """A node that starts at a full store reads the secret."""
    with valkey_server.server(kind) as server:
        async with run_node(server.url) as node:
            secret = await node.engine.secret()
        server.execute("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.execute("CONFIG", "SET", "maxmemory", "1")
        async with run_node(server.url) as node:
            assert secret == await node.engine.secret()


@pytest.mark.slow
@pytest.mark.parametrize("kind", valkey_server.KINDS)
async def test_full_new_store_has_no_secret(kind):
    """Tickets are unavailable there; the node still runs."""
    with valkey_server.server(kind) as server:
        server.execute("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.execute("CONFIG", "SET", "maxmemory", "1")
        async with run_node(server.url) as node:
            with pytest.raises(EngineUnavailable):
                await node.engine.secret()
            server.execute("CONFIG", "SET", "maxmemory", "0")
            assert await node.engine.secret()
