"""`Acceptor`: errors of accept(), and the options of accepted sockets."""

from __future__ import annotations

import errno
import logging
import select
import socket
from types import SimpleNamespace

import pytest
import trio

from roundel_adapters.server.fastpath.acceptor import (
    ACCEPT_BACKOFF,
    ACCEPT_BATCH,
    Acceptor,
)
from roundel_adapters.server.fastpath.event_loop import FastLoop
from support.fastpath_app import FakeFastpathApp

pytestmark = pytest.mark.slow


class FailingSocket:
    """A listening socket whose accept() raises *error*."""

    def __init__(self, error, sock):
        self.error = error
        self.close = sock.close
        self.calls = []

    def accept(self):
        self.calls.append(trio.current_time())
        raise OSError(self.error, "no")


def let_fail(acceptor, error):
    """Let the only socket fail with *error*; return it and its file descriptor."""
    ((file, sock),) = acceptor._sockets.items()
    acceptor._sockets[file] = failing = FailingSocket(error, sock)
    return failing, file


@pytest.fixture
async def listener():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        yield listener


@pytest.fixture
def acceptor(listener):
    with select.epoll() as epoll:
        acceptor = Acceptor([listener], epoll)
        yield acceptor
        acceptor.close()


async def test_acceptor_backs_off_when_out_of_files(
    autojump_clock, caplog, nursery, listener
):
    """accept() is not called again before `ACCEPT_BACKOFF`."""
    caplog.set_level(logging.CRITICAL, "roundel_adapters.server")
    loop = FastLoop(
        SimpleNamespace(),
        FakeFastpathApp(),
        [listener],
        make_room=lambda: True,
        hand_over=print,
    )
    failing, _ = let_fail(loop._acceptor, errno.EMFILE)
    await nursery.start(loop.run)
    async with await trio.open_tcp_stream(*listener.socket.getsockname()):
        while len(failing.calls) < 3:  # noqa: ASYNC110, no event is set
            await trio.sleep(ACCEPT_BACKOFF / 4)
    nursery.cancel_scope.cancel()

    first, second, third = failing.calls[:3]
    assert second - first >= ACCEPT_BACKOFF <= third - second


async def test_peer_that_left_before_accept_is_skipped(acceptor):
    """ECONNABORTED is neither raised nor a reason to back off."""
    failing, file = let_fail(acceptor, errno.ECONNABORTED)

    assert [] == list(acceptor.accept(file))
    assert ACCEPT_BATCH == len(failing.calls)
    assert not acceptor.is_full


async def test_broken_listener_raises(acceptor):
    """A server that can accept no connection must not run on silently."""
    _, file = let_fail(acceptor, errno.EBADF)

    with pytest.raises(OSError, match="no"):
        list(acceptor.accept(file))


@pytest.mark.skipif(
    not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system has no such bound"
)
async def test_accepted_socket_has_the_options_of_trio(acceptor, listener):
    """A peer that stalls holds no more kernel memory than with trio."""
    (listening,) = acceptor._sockets.values()
    async with await trio.open_tcp_stream(*listener.socket.getsockname()) as peer:
        await trio.lowlevel.wait_readable(listening)
        (sock,) = acceptor.accept(listening.fileno())
        with sock:
            assert options(peer.socket) == options(sock)


def options(sock):
    names = socket.TCP_NOTSENT_LOWAT, socket.TCP_NODELAY
    return [sock.getsockopt(socket.IPPROTO_TCP, name) for name in names]
