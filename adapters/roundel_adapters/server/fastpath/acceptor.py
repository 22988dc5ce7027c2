"""Listening sockets, accepted on without a task that waits for them."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
from collections.abc import Iterator, Sequence
from typing import final

import trio

log = logging.getLogger("roundel_adapters.server")

ACCEPT_BACKOFF = 0.1
"""Seconds until connections are accepted again, where there was no room for one."""

UNSENT = 16 * 1024
"""How many bytes the kernel takes for a peer beyond those that it could send."""

ACCEPTS = 64
"""How many connections are accepted at once, at the most."""

_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_BROKEN = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EFAULT}


@final
class Acceptor:
    """The sockets of *listeners*; *epoll* tells when one is to be accepted on."""

    def __init__(
        self, listeners: Sequence[trio.SocketListener], epoll: select.epoll
    ) -> None:
        self._epoll = epoll
        self._listeners = listeners
        # Sockets of our own for them, since those of trio are not to be accepted on
        # without waiting.
        doors = [_raw(listener) for listener in listeners]
        self._sockets = {door.fileno(): door for door in doors}
        self.is_full = False
        """Whether there was no room for the last one: `take_breath()` then."""

    def __contains__(self, file: int) -> bool:
        return file in self._sockets

    def open(self) -> None:
        """Have it told from now on when somebody comes."""
        for door in self._sockets:
            self._epoll.register(door, select.EPOLLIN)

    def close(self) -> None:
        """Accept nobody any more."""
        for door in self._sockets.values():
            door.close()
        self._sockets.clear()
        for listener in self._listeners:
            listener.socket.close()

    def accept(self, file: int) -> Iterator[socket.socket]:
        """Accept those who have come; raises `OSError` if that is no listener.

        Where there is no room for another file, nobody is until `take_breath()`.
        """
        self.is_full = False
        for _ in range(ACCEPTS):
            try:
                sock, _address = self._sockets[file].accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _BROKEN:
                    raise
                if error.errno in _FULL:
                    log.exception("a connection could not be accepted")
                    self.is_full = True
                    self._listen_for(0)
                    return
            else:
                yield sock

    async def back_off(self) -> None:
        """Wait for a moment, and accept again."""
        await trio.sleep(ACCEPT_BACKOFF)
        self._listen_for(select.EPOLLIN)

    def _listen_for(self, events: int) -> None:
        for door in self._sockets:
            self._epoll.modify(door, events)


def _raw(listener: trio.SocketListener) -> socket.socket:
    door = socket.socket(fileno=os.dup(listener.socket.fileno()))
    door.setblocking(False)
    # Inherited by what is accepted, as trio sets it there: a frame must not wait for
    # the next one, nor a reader that stalls hold megabytes of the kernel's memory.
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    return door
