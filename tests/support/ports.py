"""Ports for servers that need a fixed port number."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


def reserve_port() -> socket.socket:
    """Bind a loopback port, without listening; closing the socket releases it.

    A server that sets ``SO_REUSEADDR`` can listen on the same port. The kernel does not
    select the port for another socket, so parallel tests cannot get it.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


@contextmanager
def reserved_port() -> Iterator[int]:
    """Reserve a port for the length of the block."""
    with reserve_port() as sock:
        yield port_of(sock)
