"""Network namespaces on one bridge, whose packets a test can drop."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import pytest

CLONE_NEWNET = 0x40000000


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@final
class Network:
    """Network namespaces on one bridge. Each has an address."""

    def __init__(self) -> None:
        # An interface name has at most 15 characters.
        self._name = f"rd{secrets.token_hex(4)}"
        self._count = 1
        self._net = f"10.{os.getpid() % 200 + 50}.77"
        self.address = f"{self._net}.1"
        ip("link", "add", self._name, "type", "bridge")
        ip("addr", "add", f"{self.address}/24", "dev", self._name)
        ip("link", "set", self._name, "up")
        self._spaces: list[str] = []

    def add(self) -> tuple[str, str]:
        """Add a namespace; return its name and address."""
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

    def partition(self, space: str) -> None:
        """Drop all packets of a namespace."""
        ip("link", "set", f"{space}v", "down")

    def heal(self, space: str) -> None:
        """Pass all packets of a namespace again."""
        ip("link", "set", f"{space}v", "up")

    def remove(self) -> None:
        for space in self._spaces:
            ip("link", "del", f"{space}v")
            ip("netns", "del", space)
        ip("link", "del", self._name)


@contextmanager
def made_network() -> Iterator[Network]:
    """Make a network; skip the test where that is not permitted."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    try:
        made = Network()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces: {error.stderr.decode().strip()}")
    try:
        yield made
    finally:
        made.remove()


def connect_from(space: str, address: tuple[str, int], count: int):
    """Return *count* sockets of a namespace that are connected to *address*."""
    made: list[socket.socket] = []

    def connect() -> None:
        # A thread has a namespace of its own, and a socket keeps that of its thread.
        with open(f"/run/netns/{space}") as file:
            libc = ctypes.CDLL(None, use_errno=True)
            assert 0 == libc.setns(file.fileno(), CLONE_NEWNET), ctypes.get_errno()
        made.extend(socket.create_connection(address, 10) for _ in range(count))

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()
    assert count == len(made)
    return made
