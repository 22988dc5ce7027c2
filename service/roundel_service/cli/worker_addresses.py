"""The addresses that the workers of one service listen on, reserved by the parent."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import attrs

from roundel_adapters.server.listeners import bind_tcp

from ..settings import Address, ConfigError, Settings


@contextmanager
def reserved_addresses(
    settings: Settings,
) -> Iterator[tuple[Address, list[Address | None]]]:
    """Reserve the address of all workers, and the operator's address of each.

    The sockets are bound but do not listen. Workers can thus listen on the addresses,
    and no other process is given a port that was chosen for port 0. Raises `OSError`
    if another process listens on an address.
    """
    if sys.platform != "linux":
        # On other systems one listener gets all connections, or the port is refused.
        raise ConfigError("ROUNDEL_WORKERS: expected 1 on a system other than Linux")
    with ExitStack() as sockets:
        bind = _reserve(settings.bind, sockets)
        operator = _operator_addresses(settings)
        yield bind, [address and _reserve(address, sockets) for address in operator]


def _operator_addresses(settings: Settings) -> list[Address | None]:
    first, count = settings.ops_bind, settings.workers
    if first is None or first.port == 0:
        return [first] * count
    if first.port + count > 65_536:
        raise ConfigError(
            f"ROUNDEL_OPS_BIND: expected a port of at most {65_536 - count}, for "
            f"{count} workers, got {first.port}"
        )
    return [attrs.evolve(first, port=first.port + i) for i in range(count)]


def _reserve(address: Address, sockets: ExitStack) -> Address:
    """Bind *address*; return it with its actual port."""
    try:
        found = socket.getaddrinfo(
            address.host,
            address.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
        bound = bind_tcp(found)
    except OSError as error:
        raise OSError(f"cannot listen on {address}: {error.strerror}") from None
    for sock in bound:
        sockets.enter_context(sock)
    return attrs.evolve(address, port=bound[0].getsockname()[1])
