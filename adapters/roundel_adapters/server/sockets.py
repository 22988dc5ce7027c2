"""Sockets that listen, or are bound to listen later, without trio.

The parent of several workers holds such sockets and accepts no connection itself.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

BACKLOG = 4096
"""Connections that may wait to be accepted; a deploy brings thousands at once."""

UNIX_MODE = 0o666
"""Permissions of a Unix socket: as on a loopback port, any local user can connect."""

PROBE_TIMEOUT = 1.0
"""Seconds in which a live owner of a Unix socket accepts into its backlog."""

# `localhost` often has an IPv6 address on a machine without IPv6.
_ADDRESS_IS_ABSENT = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


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


def open_unix_socket(path: str) -> tuple[socket.socket, Callable[[], None]]:
    """Return a listening Unix domain socket, and a function that removes its file.

    The function removes the file if it is still this socket's. Call it while the
    socket is open: afterwards another process may have replaced the file. A file
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

    return sock, remove


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


def adopt_socket(number: int) -> socket.socket:
    """Return the listening socket of the inherited file descriptor *number*.

    Raises `OSError` if it is not an open, listening stream socket.
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
    return sock
