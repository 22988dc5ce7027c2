"""The reception: connections without tasks, beside those that need one."""

from __future__ import annotations

import gc
import logging
import socket
from contextvars import ContextVar

import pytest
import trio

from roundel_adapters.server.fastpath import event_loop as _reception
from roundel_adapters.server.fastpath.connection import FastConnection
from roundel_adapters.server.fastpath.interface import Response
from support.asgi_apps import ECHO_APP
from support.fastpath_app import (
    ShortApp,
    asked,
    connected,
    posted,
    tasks,
    undated,
    until,
)
from support.server import read_until, serving

pytestmark = pytest.mark.slow

bound = ContextVar("bound", default="nobody")


class PatientApp(ShortApp):
    """Has some answers wait until it is told to go on."""

    def __init__(self):
        super().__init__()
        self.go_on = trio.Event()
        self.waiting = 0

    def handles(self, method, path, query=b""):
        return path == "/wait" or super().handles(method, path, query)

    async def wait(self, request):
        self.waiting += 1
        await self.go_on.wait()
        return Response(body=b"waited")


@pytest.fixture
def short():
    return PatientApp()


async def test_request_costs_no_task(short):
    """Nor does a connection that waits for one, or for the next."""
    async with serving(ECHO_APP, short) as served:
        before = tasks()
        peers = [await connected(served) for _ in range(5)]
        for _ in range(2):
            for peer in peers:
                await peer.send_all(posted(b"hello"))
                assert b"hello" in await read_until(peer, b"hello")
        assert before == tasks()


async def test_answer_that_waits_holds_up_nobody(short):
    """Another task attends meanwhile, and a few of them are kept."""
    async with serving(ECHO_APP, short) as served:
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
        async with serving(ECHO_APP, short) as served:
            peer = await connected(served)
            for start in range(0, len(data), size):
                await peer.send_all(data[start : start + size])
                await trio.testing.wait_all_tasks_blocked()
            received = await read_until(peer, b"\r\n\r\n")
            await peer.send_all(posted(b"next"))
            answers.append(undated(received + await read_until(peer, b"next")))

    assert answers[0].endswith(b"next")
    assert answers[0] == answers[1]


def sent_together(served, *requests):
    """Have all of *requests* there, on a connection each, before any is read."""
    peers = []
    for data in requests:
        sock = socket.create_connection(("127.0.0.1", served.port))
        sock.sendall(data)
        sock.setblocking(False)
        peers.append(trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
    served.streams.extend(peers)
    return peers


@pytest.mark.parametrize("place", [0, 2, 4])
async def test_answer_does_not_wait_for_that_of_another(short, place):
    """Requests are read together, and one of them has to be waited for."""
    async with serving(ECHO_APP, short) as served:
        for number in range(5):
            requests = [posted(b"%d" % each) for each in range(4)]
            requests.insert(place, asked("/wait"))
            peers = sent_together(served, *requests)
            slow = peers.pop(place)
            for each, peer in enumerate(peers):
                body = b"\r\n\r\n%d" % each
                assert body in await read_until(peer, body)
            await until(lambda number=number: short.waiting == number + 1)
            short.go_on.set()
            assert b"waited" in await read_until(slow, b"waited")
            short.go_on = trio.Event()


async def test_fault_costs_the_connection_that_has_done_well_before(short, caplog):
    """Nobody knows what its peer would take for the answer."""
    caplog.set_level(logging.CRITICAL, "roundel_adapters.server")
    async with serving(ECHO_APP, short) as served:
        peer, other = sent_together(served, posted(b"hello"), posted(b"hello"))
        for each in (peer, other):
            assert b"hello" in await read_until(each, b"hello")
        await peer.send_all(asked("/fail"))
        assert b"" == await read_until(peer, b"never")
        await other.send_all(posted(b"again"))

        assert b"again" in await read_until(other, b"again")


async def test_request_that_was_read_is_answered_at_the_end(short):
    """Whoever is behind one that is waited for has been taken, too."""

    async def wait(request):
        ending.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        return Response(body=b"waited")

    short.wait = wait
    for _ in range(5):
        async with serving(ECHO_APP, short) as ending:
            slow, quick = sent_together(ending, asked("/wait"), posted(b"hello"))
            assert b"waited" in await read_until(slow, b"waited")
            assert b"hello" in await read_until(quick, b"hello")
            await ending.gone.wait()


async def test_peer_that_takes_its_time_holds_up_nobody(short):
    """What is too much for its socket is sent to it by a task, all of it."""
    async with serving(ECHO_APP, short) as served:
        before = tasks()
        slow, quick = sent_together(served, posted(b"hello"), posted(b"hello"))
        await read_until(slow, b"hello")
        await slow.send_all(asked("/much"))
        assert b"hello" in await read_until(quick, b"hello")
        await until(lambda: "/much" in short.done)
        assert before + 1 == tasks()
        # Nor is what it asks next answered before it has all.
        await slow.send_all(posted(b"again"))
        received = await read_until(slow, b"\r\n\r\n")
        size = len(received.partition(b"\r\n\r\n")[2])
        while size < 1 << 26:
            piece = await slow.receive_some((1 << 26) - size)
            assert b"" == piece.strip(b"\0")
            size += len(piece)

        assert b"again" in await read_until(slow, b"again")
        assert before == tasks()


async def test_peer_that_leaves_meanwhile_is_let_go(short):
    """Neither its place nor its file is kept."""
    async with serving(ECHO_APP, short, max_connections=1) as served:
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
    async with serving(ECHO_APP, short, drain_timeout=1) as served:
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
        bound.set(request.headers.get("x-name"))
        await short.go_on.wait()
        return Response()

    short.wait = wait
    async with serving(ECHO_APP, short) as served:
        for number in range(3):
            await connected(served, asked("/wait", f"X-Name: {number}"))
            await until(lambda number=number: len(told) > number)
        short.go_on.set()

    assert ["nobody"] * 3 == told


async def test_connection_that_is_over_leaves_nothing_to_the_collector(short):
    """Neither one that was closed nor one that is a stream now."""

    def guests():
        return sum(type(each) is FastConnection for each in gc.get_objects())

    async with serving(ECHO_APP, short) as served:
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
