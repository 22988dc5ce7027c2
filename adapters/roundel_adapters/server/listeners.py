"""Listening sockets: TCP, plain or TLS, Unix domain, or inherited from a parent."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, TypeAlias, overload

import trio

BACKLOG = 4096
"""Connections that may wait to be accepted; a deploy brings thousands at once."""

UNIX_MODE = 0o666
"""Permissions of a Unix socket: as on a loopback port, any local user can connect."""

PROBE_TIMEOUT = 1.0
"""Seconds in which a live owner of a Unix socket accepts into its backlog."""

Listener: TypeAlias = "trio.SocketListener | trio.SSLListener[trio.SocketStream]"

# `localhost` often has an IPv6 address on a machine without IPv6.
_ADDRESS_IS_ABSENT = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


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


def bind_tcp(
    found: Sequence[tuple[int, int, int, str, tuple[Any, ...]]],
    *,
    share_port: bool = False,
) -> list[socket.socket]:
    """Bind a socket to each address that `getaddrinfo()` *found* on this machine.

    All have the same port, also if it is chosen for port 0. On Linux, other sockets can
    bind the addresses until one of them listens. Raises `OSError` if an address is in
    use, or if the machine has none of them.
    """
    addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
    absent: OSError | None = None
    sockets: list[socket.socket] = []
    with ExitStack() as opened:
        for family, (host, port, *rest) in addresses:
            if sockets:
                port = sockets[0].getsockname()[1]
            try:
                sock = _bind(family, (host, port, *rest), share_port=share_port)
            except OSError as error:
                if error.errno not in _ADDRESS_IS_ABSENT:
                    raise
                absent = error
            else:
                sockets.append(opened.enter_context(sock))
        if not sockets and absent is not None:
            raise absent
        opened.pop_all()
    return sockets


def _bind(family: int, address: tuple[Any, ...], *, share_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            is_any_host = address[0] == "::"
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_any_host)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def listen_unix(path: str) -> tuple[trio.SocketListener, Callable[[], None]]:
    """Listen on a Unix domain socket; return the listener and a function.

    The function removes the socket's file if it is still this listener's. Call it while
    the listener is open: afterwards another process may have replaced the file. A file
    that a dead process has left is replaced. Raises `OSError` if another process
    listens there, or if the file is no socket.
    """
    _remove_stale_socket(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        # Another process can take over an abandoned inode number, but not the time.
        created = _identity(path)
        os.chmod(path, UNIX_MODE)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise

    def remove() -> None:
        with suppress(OSError):
            if _identity(path) == created:
                os.unlink(path)

    return trio.SocketListener(trio.socket.from_stdlib_socket(sock)), remove


def _remove_stale_socket(path: str) -> None:
    try:
        before = _identity(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise OSError(errno.EEXIST, "the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A full backlog blocks, and a blocked connection has a live listener too.
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            # Between the two checks another process may have replaced the file.
            if _identity(path) == before:
                os.unlink(path)
            return
        except (TimeoutError, BlockingIOError):
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _identity(path: str) -> tuple[int, int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino, found.st_mtime_ns


def adopt_listener(number: int) -> trio.SocketListener:
    """Return the listener of the inherited file descriptor *number*, and own it.

    This is how systemd and other supervisors pass a socket that outlives the process:
    connections wait in its backlog during a restart. Raises `OSError` if *number* is
    not an open, listening stream socket.
    """
    try:
        sock = socket.socket(fileno=number)
    except OSError as error:
        reason = "is not open" if error.errno == errno.EBADF else "is not a socket"
        raise OSError(error.errno, f"file descriptor {number} {reason}") from None
    is_stream = sock.type == socket.SOCK_STREAM
    if not is_stream or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        # It is the caller's again.
        sock.detach()
        reason = "is not a listening stream socket"
        raise OSError(errno.EINVAL, f"file descriptor {number} {reason}")
    # Processes that this one starts must not inherit it by accident.
    sock.set_inheritable(False)
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
