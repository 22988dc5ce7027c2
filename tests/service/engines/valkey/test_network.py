"""Nodes and their store in networks of their own, which are cut from each other."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, final

import pytest
import trio

from support.valkey_nodes import BOUND, USERS, eventually
from support.valkey_server import Server

pytestmark = pytest.mark.nightly

NODE = Path(__file__).with_name("valkey_node.py")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@final
class Network:
    """Namespaces at one bridge, where each has an address and can be cut off."""

    def __init__(self) -> None:
        # A name of a link has at most 15 letters.
        self._name = f"rd{secrets.token_hex(4)}"
        self._count = 1
        self._net = f"10.{os.getpid() % 200 + 50}.77"
        ip("link", "add", self._name, "type", "bridge")
        ip("addr", "add", f"{self._net}.1/24", "dev", self._name)
        ip("link", "set", self._name, "up")
        self._spaces: list[str] = []

    def add(self) -> tuple[str, str]:
        """Return the name of another namespace, and its address."""
        self._count += 1
        space, address = f"{self._name}{self._count}", f"{self._net}.{self._count}"
        ip("netns", "add", space)
        self._spaces.append(space)
        ip("link", "add", f"{space}v", "type", "veth", "peer", "eth0", "netns", space)
        ip("link", "set", f"{space}v", "master", self._name, "up")
        ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", space, "link", "set", "eth0", "up")
        ip("-n", space, "link", "set", "lo", "up")
        return space, address

    def cut(self, space: str) -> None:
        """Let nothing pass any more, and tell nobody."""
        ip("link", "set", f"{space}v", "down")

    def mend(self, space: str) -> None:
        """Let all pass again."""
        ip("link", "set", f"{space}v", "up")

    def remove(self) -> None:
        for space in self._spaces:
            ip("link", "del", f"{space}v")
            ip("netns", "del", space)
        ip("link", "del", self._name)


@pytest.fixture
def network() -> Iterator[Network]:
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("networks are made by root, with iproute2")
    try:
        made = Network()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network can be made here: {error.stderr.decode().strip()}")
    try:
        yield made
    finally:
        made.remove()


@final
class Remote:
    """A node in another namespace."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._rest = b""

    async def ask(self, *words: str) -> Any:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(words).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> Any:
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            chunk = await self._process.stdout.receive_some()
            assert chunk, "the node has ended"
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)


@asynccontextmanager
async def remote(space: str, url: str) -> AsyncIterator[Remote]:
    command = ["ip", "netns", "exec", space, sys.executable, str(NODE), url]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        made = Remote(process)
        with trio.fail_after(30.0):
            await made.answer()
        yield made
    finally:
        process.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5.0):
            await process.wait()


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_nodes_that_are_cut_off_in_turn(kind, network):
    """Whoever is cut off refuses, the others go on, and in the end all agree."""
    store_space, address = network.add()
    spaces = [network.add()[0] for _ in range(2)]
    store = Server(kind, host=address)
    taken: list[tuple[str, str]] = []
    try:
        store.start("ip", "netns", "exec", store_space)
        async with remote(spaces[0], store.url) as a, remote(spaces[1], store.url) as b:

            async def write(node: Remote, user: str, name: str) -> bool:
                with trio.fail_after(BOUND):
                    is_taken = await node.ask("write", user, name)
                if is_taken:
                    taken.append((user, name))
                return is_taken

            assert await write(a, USERS[0], "a1")
            assert await write(b, USERS[0], "b1")
            network.cut(spaces[0])
            assert not await write(a, USERS[1], "a2")
            assert await write(b, USERS[0], "b2")
            network.cut(spaces[1])
            assert not await write(b, USERS[2], "b3")
            for space in spaces:
                network.mend(space)

            async def is_back() -> bool:
                # What was refused is tried again, under the id that it had.
                return await write(a, USERS[1], "a2") and await write(b, USERS[2], "b3")

            await eventually(is_back, "both nodes are back")

            async def do_agree() -> bool:
                one, other = await a.ask("clients"), await b.ask("clients")
                return one == other and all(n in one[u][2] for u, n in taken)

            await eventually(do_agree, "both nodes' clients hold the same")
    finally:
        store.remove()
