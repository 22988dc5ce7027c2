"""Network partitions between nodes and their store, by network namespaces."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, final

import pytest
import trio

from support import valkey_nodes
from support.network import Network, made_network
from support.valkey_nodes import MAX_LATENCY, USERS, eventually
from support.valkey_server import Server

pytestmark = pytest.mark.nightly

NODE = Path(valkey_nodes.__file__).with_name("valkey_node.py")


@pytest.fixture
def network() -> Iterator[Network]:
    with made_network() as made:
        yield made


@final
class RemoteNode:
    """A node that runs in another namespace."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._rest = b""

    async def execute(self, *words: str) -> Any:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(words).encode() + b"\n")
        return await self.receive_reply()

    async def receive_reply(self) -> Any:
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            chunk = await self._process.stdout.receive_some()
            assert chunk, "the node exited"
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)


@asynccontextmanager
async def run_remote(space: str, url: str) -> AsyncIterator[RemoteNode]:
    command = ["ip", "netns", "exec", space, sys.executable, str(NODE), url]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        remote_node = RemoteNode(process)
        with trio.fail_after(30.0):
            await remote_node.receive_reply()
        yield remote_node
    finally:
        process.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5.0):
            await process.wait()


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_partitioned_nodes(kind, network):
    """A partitioned node refuses writes, the other works; finally both agree."""
    store_space, address = network.add()
    spaces = [network.add()[0] for _ in range(2)]
    store = Server(kind, host=address)
    acknowledged: list[tuple[str, str]] = []
    try:
        store.start("ip", "netns", "exec", store_space)
        async with (
            run_remote(spaces[0], store.url) as a,
            run_remote(spaces[1], store.url) as b,
        ):

            async def write(node: RemoteNode, user: str, name: str) -> bool:
                with trio.fail_after(MAX_LATENCY):
                    is_acknowledged = await node.execute("write", user, name)
                if is_acknowledged:
                    acknowledged.append((user, name))
                return is_acknowledged

            assert await write(a, USERS[0], "a1")
            assert await write(b, USERS[0], "b1")
            network.partition(spaces[0])
            assert not await write(a, USERS[1], "a2")
            assert await write(b, USERS[0], "b2")
            network.partition(spaces[1])
            assert not await write(b, USERS[2], "b3")
            for space in spaces:
                network.heal(space)

            async def is_back() -> bool:
                # The refused writes are tried again with the same ids.
                return await write(a, USERS[1], "a2") and await write(b, USERS[2], "b3")

            await eventually(is_back, "both nodes are back")

            async def do_agree() -> bool:
                one, other = await a.execute("clients"), await b.execute("clients")
                return one == other and all(n in one[u][2] for u, n in acknowledged)

            await eventually(do_agree, "the clients of both nodes agree")
    finally:
        store.remove()
