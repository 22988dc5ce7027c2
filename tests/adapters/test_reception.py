"""The reception: connections without tasks, beside those that need one."""

from __future__ import annotations

import errno
import gc
import logging
import socket
from contextvars import ContextVar
from types import SimpleNamespace

import pytest
import trio

from roundel_adapters import _reception
from roundel_adapters._guest import Guest
from roundel_adapters.plain import Whole

from .conftest import read_until
from .plain_app import ShortApp, asked, connected, posted, serving, tasks, undated
from .test_plain_server import APP, until

pytestmark = pytest.mark.slow

bound = ContextVar("bound", default="nobody")


class PatientApp(ShortApp):
    """Has some answers wait until it is told to go on."""

    def __init__(self):
        super().__init__()
        self.go_on = trio.Event()
        self.waiting = 0

    def takes(self, method, path, query=b""):
        return path == "/wait" or super().takes(method, path, query)

    async def wait(self, request):
        self.waiting += 1
        await self.go_on.wait()
        return Whole(body=b"waited")


@pytest.fixture
def short():
    return PatientApp()


async def test_request_costs_no_task(short):
    """Nor does a connection that waits for one, or for the next."""
    async with serving(APP, short) as served:
        before = tasks()
        peers = [await connected(served) for _ in range(5)]
        for _ in range(2):
            for peer in peers:
                await peer.send_all(posted(b"hello"))
                assert b"hello" in await read_until(peer, b"hello")
        assert before == tasks()


async def test_answer_that_waits_holds_up_nobody(short):
    """Another task attends meanwhile, and a few of them are kept."""
    async with serving(APP, short) as served:
        before = tasks()
        slow = [await connected(served, asked("/wait")) for _ in range(40)]
        await until(lambda: short.waiting == 40)
        quick = await connected(served, asked())
        assert b"200 OK" in await read_until(quick, b"\r\n\r\n")
        short.go_on.set()
        for peer in slow:
            assert b"waited" in await read_until(peer, b"waited")
        await quick.send_all(posted(b"again"))
        assert b"again" in await read_until(quick, b"again")

        assert before < tasks() <= before + _reception._SPARES + 1


@pytest.mark.parametrize("target", ["/echo", "/wait", "/status?204", "/deaf"])
async def test_what_comes_in_pieces_is_answered_the_same(short, target):
    """With a task or without one, to the letter, and the connection goes on."""
    short.go_on.set()
    data, answers = asked(target), []
    for size in (len(data), 9):
        async with serving(APP, short) as served:
            peer = await connected(served)
            for start in range(0, len(data), size):
                await peer.send_all(data[start : start + size])
                await trio.testing.wait_all_tasks_blocked()
            received = await read_until(peer, b"\r\n\r\n")
            await peer.send_all(posted(b"next"))
            answers.append(undated(received + await read_until(peer, b"next")))

    assert answers[0].endswith(b"next")
    assert answers[0] == answers[1]


async def test_peer_that_leaves_meanwhile_is_let_go(short):
    """Neither its place nor its file is kept."""
    async with serving(APP, short, max_connections=1) as served:
        for data in (b"", asked("/wait")):
            peer = await connected(served, data)
            await until(lambda data=data: short.waiting or not data)
            await peer.aclose()
            short.go_on.set()
            await trio.testing.wait_all_tasks_blocked(0.01)
        again = await connected(served, posted(b"hello"))

        assert b"hello" in await read_until(again, b"hello")


async def test_end_waits_for_an_answer_and_no_longer(short):
    """One that waits is given the time to end, and is cut after it."""
    async with serving(APP, short, drain_timeout=1) as served:
        peer = await connected(served, asked("/wait"))
        await until(lambda: short.waiting)
        served.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="failed"):
            await trio.open_tcp_stream("127.0.0.1", served.port)
        with trio.fail_after(10):
            assert b"" == await read_until(peer, b"never")
            await served.gone.wait()


async def test_task_that_takes_over_has_nothing_of_another_request(short):
    """What was bound while one request was served is not told of the next."""
    told = []

    async def wait(request):
        told.append(bound.get())
        bound.set(request.fields.get("x-name"))
        await short.go_on.wait()
        return Whole()

    short.wait = wait
    async with serving(APP, short) as served:
        for number in range(3):
            await connected(served, asked("/wait", f"X-Name: {number}"))
            await until(lambda number=number: len(told) > number)
        short.go_on.set()

    assert ["nobody"] * 3 == told


class FullDoor:
    """Stands for a listener that cannot accept, for want of *error*."""

    def __init__(self, error, door=None):
        self.error = error
        self.close = door.close if door else None
        self.tried = []

    def accept(self):
        self.tried.append(trio.current_time())
        raise OSError(self.error, "no")


async def reception(listener):
    site = SimpleNamespace()
    return _reception.Reception(
        site, ShortApp(), [listener], has_room=lambda: True, hand_over=print
    )


async def test_want_of_files_is_waited_for(autojump_clock, caplog, nursery):
    """Where no connection can be accepted, none is tried for a moment."""
    caplog.set_level(logging.CRITICAL, "roundel_adapters.hypercorn")
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        made = await reception(listener)
        (file,) = made._doors
        full = FullDoor(errno.EMFILE, made._doors[file])
        made._doors[file] = full
        await nursery.start(made.run)
        async with await trio.open_tcp_stream(*listener.socket.getsockname()):
            while len(full.tried) < 3:  # noqa: ASYNC110, there is nobody to tell
                await trio.sleep(_reception.BREATH / 4)
        nursery.cancel_scope.cancel()

    first, second, third = full.tried[:3]
    assert second - first >= _reception.BREATH <= third - second


@pytest.mark.parametrize(
    ("error", "expected"), [(errno.EBADF, 1), (errno.ECONNABORTED, _reception._ACCEPTS)]
)
async def test_failing_peer_is_passed_over_and_a_failing_listener_is_not(
    error, expected
):
    """One that is gone before it is met is no error; no more listener is one."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        made = await reception(listener)
        door = FullDoor(error)
        made._close_doors()
        if error == errno.EBADF:
            with pytest.raises(OSError, match="no"):
                made._accept(door)
        else:
            made._accept(door)
        made._epoll.close()

    assert expected == len(door.tried)


async def test_connection_that_is_over_leaves_nothing_to_the_collector(short):
    """Neither one that was closed nor one that is a stream now."""

    def guests():
        return sum(type(each) is Guest for each in gc.get_objects())

    async with serving(APP, short) as served:
        gc.collect()
        before = guests()
        gc.disable()
        try:
            for data in (asked("/events"), asked("/status?204"), asked("/other")) * 5:
                peer = await connected(served, data)
                await read_until(peer, b"\r\n")
                await peer.aclose()
            # Who attends remembers the last two.
            short.asked.clear()
            await until(lambda: guests() <= before + 2)
        finally:
            gc.enable()


@pytest.mark.skipif(
    not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system has no such bound"
)
async def test_socket_takes_little_ahead():
    """A reader that stalls holds no more of the kernel's memory than with trio."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        made = await reception(listener)
        (door,) = made._doors.values()
        async with await trio.open_tcp_stream(*listener.socket.getsockname()) as peer:
            await trio.lowlevel.wait_readable(door)
            with door.accept()[0] as sock:
                assert options(peer.socket) == options(sock)
        made._close_doors()
        made._epoll.close()


def options(sock):
    names = socket.TCP_NOTSENT_LOWAT, socket.TCP_NODELAY
    return [sock.getsockopt(socket.IPPROTO_TCP, name) for name in names]
