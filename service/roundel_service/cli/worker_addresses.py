"""The addresses that the workers of one service listen on, held by the parent.

A TCP port is reserved: the parent binds it, and each worker listens on it with a socket
of its own. A Unix socket and an inherited one are open in the parent, and the workers
inherit them: connections wait in the socket while a worker is replaced.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import final

import attrs

from roundel_adapters.server.sockets import adopt_socket, bind_tcp, open_unix_socket

from ..addresses import Address, InheritedSocket, ListenAddress, UnixAddress
from ..listening import ServiceUrls, cannot_listen, check_inherited, url
from ..settings import ConfigError, Settings


@final
@attrs.frozen
class WorkerAddresses:
    """The addresses of all workers, and the operator's of each.

    The workers inherit the file descriptors *inherited*.
    """

    bind: Sequence[ListenAddress]
    ops_binds: Sequence[Sequence[ListenAddress]]
    urls: ServiceUrls
    inherited: Sequence[int]
    _listening: ExitStack

    def stop_listening(self) -> None:
        """Close the parent's listening sockets, so that new connections are refused."""
        self._listening.close()


@contextmanager
def reserved_addresses(settings: Settings) -> Iterator[WorkerAddresses]:
    """Hold the addresses of all workers, and the operator's addresses of each.

    No other process is given a port that was chosen for port 0. Raises `OSError` if
    another process listens on an address.
    """
    if sys.platform != "linux":
        # On other systems one listener gets all connections, or the port is refused.
        raise ConfigError("ROUNDEL_WORKERS: expected 1 on a system other than Linux")
    operator = [
        [
            _operator_address(each, number, settings.workers)
            for each in settings.ops_bind
        ]
        for number in range(settings.workers)
    ]
    with ExitStack() as reserved, ExitStack() as listening:
        bind: list[ListenAddress] = []
        urls: list[str] = []
        inherited: list[int] = []
        for address in settings.bind:
            sock = _hold(address, reserved, listening)
            urls.append(url(address, sock.getsockname()))
            if isinstance(address, Address):
                bind.append(_with_port(address, sock))
            else:
                bind.append(InheritedSocket(sock.fileno()))
                inherited.append(sock.fileno())
        ops_binds = [[_reserve(each, reserved) for each in own] for own in operator]
        ops_urls = [url(each, None) for own in ops_binds for each in own]
        yield WorkerAddresses(
            bind, ops_binds, ServiceUrls(urls, ops_urls), inherited, listening
        )


def _operator_address(address: ListenAddress, index: int, count: int) -> ListenAddress:
    """Return the operator's address of the worker with this *index*, of *count*."""
    match address:
        case Address(_, 0):
            return address
        case Address(_, port) if port + count <= 65_536:
            return attrs.evolve(address, port=port + index)
        case Address():
            expected = f"a port of at most {65_536 - count}"
        case UnixAddress(path) if index:
            return UnixAddress(f"{path}.{index + 1}")
        case UnixAddress():
            return address
        case InheritedSocket():
            expected = "HOST:PORT or unix:PATH"
    raise ConfigError(
        f"ROUNDEL_OPS_BIND: expected {expected}, for {count} workers, got {address}"
    )


def _reserve(address: ListenAddress, reserved: ExitStack) -> ListenAddress:
    """Reserve the *address* of one worker; return it with its actual port."""
    if not isinstance(address, Address):
        # The worker opens it, and replaces the file that a dead worker has left.
        return address
    return _with_port(address, _hold(address, reserved, reserved))


def _with_port(address: Address, sock: socket.socket) -> Address:
    return attrs.evolve(address, port=sock.getsockname()[1])


def _hold(
    address: ListenAddress, reserved: ExitStack, listening: ExitStack
) -> socket.socket:
    """Bind a socket to *address*, or open it; return the first one."""
    try:
        match address:
            case Address(host, port):
                found = socket.getaddrinfo(
                    host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
                )
                sock, *_ = [reserved.enter_context(s) for s in bind_tcp(found)]
            case UnixAddress(path):
                opened, remove = open_unix_socket(path)
                sock = listening.enter_context(opened)
                listening.callback(remove)
            case InheritedSocket(number):
                check_inherited(number)
                sock = listening.enter_context(adopt_socket(number))
    except OSError as error:
        raise cannot_listen(address, error) from None
    return sock
