"""Ports for servers that have to be told theirs before they have it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


def keep_port() -> socket.socket:
    """Return a socket that keeps a port of loopback until it is closed.

    It does not listen. A server that sets ``SO_REUSEADDR``, as they all do, can listen
    there beside it; but nobody is given that port who asks for any, so that of tests
    that run at once none gets another's.
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return kept


def port_of(kept: socket.socket) -> int:
    return int(kept.getsockname()[1])


@contextmanager
def kept_port() -> Iterator[int]:
    """Keep a port for the length of the block."""
    with keep_port() as kept:
        yield port_of(kept)
