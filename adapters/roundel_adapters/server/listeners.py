"""Listening sockets: plain or TLS, optionally with a shared port."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from typing import TypeAlias, overload

import trio

BACKLOG = 4096
"""Connections that may wait to be accepted; a deploy brings thousands at once."""

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

    With *tls* the sockets use TLS, and ALPN offers HTTP/2 and HTTP/1.1. With
    *share_port* several processes of the same user may listen on the port, and Linux
    distributes connections over them (SO_REUSEPORT).
    """
    if share_port:
        listeners = await _open_shared_listeners(host, port)
    else:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    for listener in listeners:
        # Accepted sockets inherit it: an event must not wait for an acknowledgement.
        listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        return listeners
    tls.set_alpn_protocols(["h2", "http/1.1"])
    # Browsers close the TCP connection without a TLS close_notify.
    return [trio.SSLListener(each, tls, https_compatible=True) for each in listeners]


async def _open_shared_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Do the work of `trio.open_tcp_listeners()`, which cannot share a port."""
    addresses = await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with ExitStack() as opened:
        listeners = []
        for family, kind, protocol, _, address in addresses:
            sock = opened.enter_context(trio.socket.socket(family, kind, protocol))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            await sock.bind(address)
            sock.listen(BACKLOG)
            listeners.append(trio.SocketListener(sock))
        opened.pop_all()
    return listeners
