"""Listening sockets: TCP, plain or TLS, Unix domain, or inherited from a parent."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeAlias, overload

import trio

from .sockets import BACKLOG, adopt_socket, bind_tcp, open_unix_socket

Listener: TypeAlias = "trio.SocketListener | trio.SSLListener[trio.SocketStream]"


@overload
async def listen(
    host: str, port: int, *, share_port: bool = False
) -> list[trio.SocketListener]:
    """Open listeners without TLS."""


@overload
async def listen(
    host: str, port: int, *, tls: ssl.SSLContext, share_port: bool = False
) -> list[trio.SSLListener[trio.SocketStream]]:
    """Open listeners with TLS."""


async def listen(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    share_port: bool = False,
) -> list[trio.SocketListener] | list[trio.SSLListener[trio.SocketStream]]:
    """Open listening sockets for *host* and *port*; port 0 selects a free port.

    The *host* ``::`` listens on IPv4 as well. A name with several addresses has one
    listener for each that the machine has, all on the same port. With *tls* the sockets
    use TLS, and ALPN offers HTTP/2 and HTTP/1.1. With *share_port* several processes of
    the same user may listen on the port, and Linux distributes connections over them
    (SO_REUSEPORT).
    """
    listeners = await _open_tcp_listeners(host, port, share_port=share_port)
    for listener in listeners:
        set_tcp_options(listener)
    if tls is None:
        return listeners
    tls.set_alpn_protocols(["h2", "http/1.1"])
    # Browsers close the TCP connection without a TLS close_notify.
    return [trio.SSLListener(each, tls, https_compatible=True) for each in listeners]


async def _open_tcp_listeners(
    host: str, port: int, *, share_port: bool
) -> list[trio.SocketListener]:
    found = await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with ExitStack() as opened:
        sockets = bind_tcp(found, share_port=share_port)
        for sock in sockets:
            opened.enter_context(sock)
        for sock in sockets:
            sock.listen(BACKLOG)
        opened.pop_all()
    return [
        trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets
    ]


def listen_unix(path: str) -> tuple[trio.SocketListener, Callable[[], None]]:
    """Listen on a Unix domain socket; return the listener and a function.

    The function removes the socket's file if it is still this listener's. Call it while
    the listener is open: afterwards another process may have replaced the file. A file
    that a dead process has left is replaced. Raises `OSError` if another process
    listens there, or if the file is no socket.
    """
    sock, remove = open_unix_socket(path)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock)), remove


def adopt_listener(number: int) -> trio.SocketListener:
    """Return the listener of the inherited file descriptor *number*, and own it.

    This is how systemd and other supervisors pass a socket that outlives the process:
    connections wait in its backlog during a restart. Raises `OSError` if *number* is
    not an open, listening stream socket.
    """
    sock = adopt_socket(number)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    set_tcp_options(listener)
    return listener


def set_tcp_options(listener: Listener, *, write_timeout: float | None = None) -> None:
    """Set the options that accepted TCP sockets inherit; others have none.

    An event must not wait for an acknowledgement. With *write_timeout* the kernel ends
    a connection whose peer acknowledges nothing for so many seconds (RFC 5482). Until
    then a lost peer keeps its place, since the kernel's buffer takes what the peer does
    not: by default Linux retries for about 15 minutes.
    """
    transport = (
        listener.transport_listener
        if isinstance(listener, trio.SSLListener)
        else listener
    )
    assert isinstance(transport, trio.SocketListener)
    sock = transport.socket
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if write_timeout is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = max(1, round(write_timeout * 1_000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
