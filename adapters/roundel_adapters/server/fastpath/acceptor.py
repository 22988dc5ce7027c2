"""Accepts connections from an epoll, without a task for each listener."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
from collections.abc import Iterator, Sequence
from typing import final

import trio

log: logging.Logger = logging.getLogger("roundel_adapters.server")

ACCEPT_BACKOFF = 0.1
"""Delay of the next accept() when out of files or memory, in seconds."""

UNSENT_LOWAT = 16 * 1024
"""Limit of the unsent bytes in the kernel's buffer of a connection."""

ACCEPT_BATCH = 64
"""Limit of the connections that one call accepts from a listener."""

_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_LISTENER_IS_BROKEN = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EFAULT}


@final
class Acceptor:
    """Accepts the connections of *listeners*, which it registers with *epoll*."""

    def __init__(
        self, listeners: Sequence[trio.SocketListener], epoll: select.epoll
    ) -> None:
        self._epoll = epoll
        self._listeners = listeners
        # Duplicates, because trio's sockets have no accept() that does not block.
        sockets = [_duplicate(listener) for listener in listeners]
        self._sockets = {sock.fileno(): sock for sock in sockets}
        for sock in sockets:
            epoll.register(sock, select.EPOLLIN)
        self.is_full: bool = False
        """Whether the last `accept()` ran out of resources; `back_off()` is next."""

    def __contains__(self, file: int) -> bool:
        return file in self._sockets

    def close(self) -> None:
        """Close the listeners."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        for listener in self._listeners:
            listener.socket.close()

    def accept(self, file: int) -> Iterator[socket.socket]:
        """Accept the connections that wait on a listener.

        When the process is out of resources, it is logged, and the epoll reports no
        connection until `back_off()`. Raises `OSError` if the listener is broken.
        """
        self.is_full = False
        for _ in range(ACCEPT_BATCH):
            try:
                sock, _address = self._sockets[file].accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _LISTENER_IS_BROKEN:
                    raise
                if error.errno in _OUT_OF_RESOURCES:
                    log.exception("a connection could not be accepted")
                    self.is_full = True
                    self._set_events(0)
                    return
            else:
                yield sock

    async def back_off(self) -> None:
        """Wait for `ACCEPT_BACKOFF`, then let the epoll report connections again."""
        await trio.sleep(ACCEPT_BACKOFF)
        self._set_events(select.EPOLLIN)

    def _set_events(self, events: int) -> None:
        for file in self._sockets:
            self._epoll.modify(file, events)


def _duplicate(listener: trio.SocketListener) -> socket.socket:
    sock = socket.socket(fileno=os.dup(listener.socket.fileno()))
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        return sock
    # Accepted sockets inherit the options that trio sets: an event must not wait for
    # the next one, and a peer that stalls must not hold megabytes of kernel memory.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_LOWAT)
    return sock
