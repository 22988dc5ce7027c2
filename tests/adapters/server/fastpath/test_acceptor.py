"""Listening sockets: what becomes of a connection that cannot be accepted."""

from __future__ import annotations

import errno
import logging
import select
import socket
from types import SimpleNamespace

import pytest
import trio

from roundel_adapters.server.fastpath import acceptor as _doors
from roundel_adapters.server.fastpath.acceptor import Acceptor
from roundel_adapters.server.fastpath.event_loop import FastLoop
from support.fastpath_app import FakeFastpathApp

pytestmark = pytest.mark.slow


class FullDoor:
    """Stands for a listening socket that cannot accept, for want of *error*."""

    def __init__(self, error, door):
        self.error = error
        self.close = door.close
        self.tried = []

    def accept(self):
        self.tried.append(trio.current_time())
        raise OSError(self.error, "no")


def fill(doors, error):
    """Let the only door fail with *error*; return it and its file."""
    ((file, door),) = doors._sockets.items()
    doors._sockets[file] = full = FullDoor(error, door)
    return full, file


@pytest.fixture
async def listener():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        yield listener


@pytest.fixture
def doors(listener):
    with select.epoll() as epoll:
        doors = Acceptor([listener], epoll)
        yield doors
        doors.close()


async def test_want_of_files_is_waited_for(autojump_clock, caplog, nursery, listener):
    """Where no connection can be accepted, none is tried for a moment."""
    caplog.set_level(logging.CRITICAL, "roundel_adapters.server")
    made = FastLoop(
        SimpleNamespace(),
        FakeFastpathApp(),
        [listener],
        has_room=lambda: True,
        hand_over=print,
    )
    full, _ = fill(made._acceptor, errno.EMFILE)
    await nursery.start(made.run)
    async with await trio.open_tcp_stream(*listener.socket.getsockname()):
        while len(full.tried) < 3:  # noqa: ASYNC110, there is nobody to tell
            await trio.sleep(_doors.ACCEPT_BACKOFF / 4)
    nursery.cancel_scope.cancel()

    first, second, third = full.tried[:3]
    assert second - first >= _doors.ACCEPT_BACKOFF <= third - second


async def test_failing_peer_is_passed_over(doors):
    """One that is gone before it is met is no error."""
    full, file = fill(doors, errno.ECONNABORTED)

    assert [] == list(doors.accept(file))
    assert _doors.ACCEPTS == len(full.tried)
    assert not doors.is_full


async def test_listener_that_is_none_any_more_is_told(doors):
    """Nobody could come any more, and nobody would know why."""
    _, file = fill(doors, errno.EBADF)

    with pytest.raises(OSError, match="no"):
        list(doors.accept(file))


@pytest.mark.skipif(
    not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system has no such bound"
)
async def test_socket_takes_little_ahead(doors, listener):
    """A reader that stalls holds no more of the kernel's memory than with trio."""
    (door,) = doors._sockets.values()
    async with await trio.open_tcp_stream(*listener.socket.getsockname()) as peer:
        await trio.lowlevel.wait_readable(door)
        (sock,) = doors.accept(door.fileno())
        with sock:
            assert options(peer.socket) == options(sock)


def options(sock):
    names = socket.TCP_NOTSENT_LOWAT, socket.TCP_NODELAY
    return [sock.getsockopt(socket.IPPROTO_TCP, name) for name in names]
