"""`FastLoop`: many connections, one worker, and handlers that block."""

from __future__ import annotations

import gc
import logging
import socket
import struct
from contextvars import ContextVar

import pytest
import trio

from roundel_adapters.server.fastpath import event_loop
from roundel_adapters.server.fastpath.connection import FastConnection
from support.asgi_apps import ECHO_APP
from support.fastpath_app import (
    LARGE_BODY,
    FakeFastpathApp,
    FakeResponse,
    connect,
    post,
    request,
    task_count,
    until,
)
from support.server import read_until, serving

pytestmark = pytest.mark.slow

variable = ContextVar("variable", default="unset")


class BlockingApp(FakeFastpathApp):
    """Has `/wait` block until `resume` is set."""

    PATHS = FakeFastpathApp.PATHS | {"/wait"}

    def __init__(self):
        super().__init__()
        self.resume = trio.Event()
        self.waiting = 0

    async def wait(self, call):
        self.waiting += 1
        await self.resume.wait()
        return FakeResponse(body=b"waited")


@pytest.fixture
def fastpath():
    return BlockingApp()


async def test_request_costs_no_task(fastpath):
    """Neither does an idle connection, new or used."""
    async with serving(ECHO_APP, fastpath) as served:
        before = task_count()
        peers = [await connect(served) for _ in range(5)]
        for _ in range(2):
            for peer in peers:
                await peer.send_all(post(b"hello"))
                assert b"hello" in await read_until(peer, b"hello")
        assert before == task_count()


@pytest.mark.parametrize("size", [1, 9, 60])
async def test_request_in_packets_costs_no_task(fastpath, size):
    """A head or a body that comes in packets is collected by the loop."""
    data = post(b"hello")
    async with serving(ECHO_APP, fastpath) as served:
        before = task_count()
        peer = await connect(served)
        for _ in range(2):
            for start in range(0, len(data), size):
                await peer.send_all(data[start : start + size])
                await trio.testing.wait_all_tasks_blocked()
            assert b"hello" in await read_until(peer, b"hello")
        assert before == task_count()
    assert [b"hello"] * 2 == [call.body for call in fastpath.calls]


async def test_blocked_handlers_do_not_block_the_loop(fastpath):
    """Other workers take over, and only a few of them are kept."""
    async with serving(ECHO_APP, fastpath) as served:
        before = task_count()
        slow = [await connect(served, request("/wait")) for _ in range(40)]
        await until(lambda: fastpath.waiting == 40)
        quick = await connect(served, request())
        assert b"200 OK" in await read_until(quick, b"\r\n\r\n")
        fastpath.resume.set()
        for peer in slow:
            assert b"waited" in await read_until(peer, b"waited")
        await quick.send_all(post(b"again"))
        assert b"again" in await read_until(quick, b"again")

        assert before < task_count() <= before + event_loop.MAX_IDLE_WORKERS + 1


def send_together(served, *requests):
    """Send each of *requests* on a connection of its own before any is read."""
    peers = []
    for data in requests:
        sock = socket.create_connection(("127.0.0.1", served.port))
        sock.sendall(data)
        sock.setblocking(False)
        peers.append(trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
    served.streams.extend(peers)
    return peers


@pytest.mark.parametrize("place", [0, 2, 4])
async def test_response_does_not_wait_for_a_blocked_one(fastpath, place):
    """Of requests that are read in one batch, one blocks."""
    async with serving(ECHO_APP, fastpath) as served:
        for number in range(5):
            requests = [post(b"%d" % each) for each in range(4)]
            requests.insert(place, request("/wait"))
            peers = send_together(served, *requests)
            slow = peers.pop(place)
            for each, peer in enumerate(peers):
                body = b"\r\n\r\n%d" % each
                assert body in await read_until(peer, body)
            await until(lambda number=number: fastpath.waiting == number + 1)
            fastpath.resume.set()
            assert b"waited" in await read_until(slow, b"waited")
            fastpath.resume = trio.Event()


async def test_exception_closes_its_own_connection(fastpath, caplog):
    """It is logged once; other connections, and later ones, are served."""
    caplog.set_level(logging.CRITICAL, "roundel_adapters.server")
    async with serving(ECHO_APP, fastpath) as served:
        peer, other = send_together(served, post(b"hello"), post(b"hello"))
        for each in (peer, other):
            assert b"hello" in await read_until(each, b"hello")
        caplog.set_level(logging.INFO, "roundel_adapters.server")
        await peer.send_all(request("/fail"))
        assert b"" == await read_until(peer, b"never")
        await other.send_all(post(b"again"))

        assert b"again" in await read_until(other, b"again")
        assert ["a connection failed"] == caplog.messages


async def test_request_that_was_read_is_answered_before_the_end(fastpath):
    """Also one that is behind a blocked one in the same batch."""

    async def wait(call):
        ending.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        return FakeResponse(body=b"waited")

    fastpath.wait = wait
    for _ in range(5):
        async with serving(ECHO_APP, fastpath) as ending:
            slow, quick = send_together(ending, request("/wait"), post(b"hello"))
            assert b"waited" in await read_until(slow, b"waited")
            assert b"hello" in await read_until(quick, b"hello")
            await ending.gone.wait()


async def test_slow_reader_does_not_block_the_loop(fastpath):
    """A task sends it what its socket does not take, all of it, in order."""
    async with serving(ECHO_APP, fastpath) as served:
        before = task_count()
        slow, quick = send_together(served, post(b"hello"), post(b"hello"))
        await read_until(slow, b"hello")
        await slow.send_all(request("/large"))
        assert b"hello" in await read_until(quick, b"hello")
        await until(lambda: "/large" in fastpath.done)
        assert before + 1 == task_count()
        # The next request waits until the response is sent.
        await slow.send_all(post(b"again"))
        received = await read_until(slow, b"\r\n\r\n")
        size = len(received.partition(b"\r\n\r\n")[2])
        while size < len(LARGE_BODY):
            chunk = await slow.receive_some(len(LARGE_BODY) - size)
            assert b"" == chunk.strip(b"\0")
            size += len(chunk)

        assert b"again" in await read_until(slow, b"again")
        assert before == task_count()


async def test_peer_that_takes_nothing_is_cut(fastpath):
    """The write timeout bounds every response, and so the shutdown."""
    async with serving(ECHO_APP, fastpath, write_timeout=0.1) as served:
        await connect(served, request("/large"))
        await until(lambda: fastpath.done)
        with trio.fail_after(10):
            served.stop.set()
            await served.gone.wait()


async def test_generated_response_is_chunked_and_keeps_the_connection(fastpath):
    """RFC 9112 7.1; the next request is answered on the same connection."""
    async with serving(ECHO_APP, fastpath) as served:
        peer = await connect(served, post(b"one\n\ntwo", target="/lines"))
        received = await read_until(peer, b"0\r\n\r\n")
        assert received.endswith(b"\r\n\r\n3\r\nONE\r\n3\r\nTWO\r\n0\r\n\r\n")
        await peer.send_all(post(b"next"))

        assert b"next" in await read_until(peer, b"next")


async def test_generator_is_closed_when_the_peer_leaves(fastpath):
    """Its clean-up runs in the same task, and not in the garbage collector."""
    closed = trio.Event()

    async def chunks():
        try:
            while True:
                yield LARGE_BODY
        finally:
            closed.set()

    async def lines(call):
        return FakeResponse(body=chunks())

    fastpath.lines = lines
    async with serving(ECHO_APP, fastpath) as served:
        peer = await connect(served, request("/lines"))
        await read_until(peer, b"\r\n\r\n")
        peer.socket.close()
        with trio.fail_after(10):
            await closed.wait()


def reset(peer):
    """Close a connection so that its other end gets an error."""
    linger = struct.pack("ii", 1, 0)
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    peer.socket.close()


@pytest.mark.parametrize("leave", [lambda peer: peer.socket.close(), reset])
@pytest.mark.parametrize("data", [b"", request()[:9], request("/wait")])
async def test_peer_that_leaves_frees_its_place(fastpath, data, leave):
    """Also in the middle of a head, and while its handler is blocked."""
    async with serving(ECHO_APP, fastpath, max_connections=1) as served:
        peer = await connect(served, data)
        await until(lambda: fastpath.waiting or b"/wait" not in data)
        await trio.testing.wait_all_tasks_blocked(0.01)
        leave(peer)
        fastpath.resume.set()
        await trio.testing.wait_all_tasks_blocked(0.01)
        again = await connect(served, post(b"hello"))

        assert b"hello" in await read_until(again, b"hello")


async def test_connection_over_the_limit_is_closed(fastpath):
    """A request that is being served keeps its connection."""
    async with serving(ECHO_APP, fastpath, max_connections=1) as served:
        first = await connect(served, request("/wait"))
        await until(lambda: fastpath.waiting)
        second = await connect(served)
        assert b"" == await read_until(second, b"never")
        fastpath.resume.set()

        assert b"200" in await read_until(first, b"\r\n\r\n")


async def test_generator_does_not_start_for_a_peer_that_left(fastpath):
    """Its response has no reader."""

    async def lines(call):
        await fastpath.wait(call)
        return FakeResponse(body=fastpath._lines(b"line"))

    fastpath.lines = lines
    async with serving(ECHO_APP, fastpath, max_connections=1) as served:
        peer = await connect(served, request("/lines"))
        await until(lambda: fastpath.waiting)
        reset(peer)
        fastpath.resume.set()
        await until(lambda: fastpath.done)
        await trio.testing.wait_all_tasks_blocked(0.01)

    assert ["/lines"] == fastpath.done


async def test_drain_timeout_bounds_a_blocked_handler(fastpath):
    """The listener closes at once, the connection at the timeout."""
    async with serving(ECHO_APP, fastpath, drain_timeout=1) as served:
        peer = await connect(served, request("/wait"))
        await until(lambda: fastpath.waiting)
        served.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="failed"):
            await trio.open_tcp_stream("127.0.0.1", served.port)
        with trio.fail_after(10):
            assert b"" == await read_until(peer, b"never")
            await served.gone.wait()


async def test_idle_connections_do_not_delay_the_shutdown(fastpath):
    """New ones, used ones and those in the middle of a head are closed."""
    async with serving(ECHO_APP, fastpath) as served:
        peers = [await connect(served, data) for data in (b"", request()[:9])]
        used = await connect(served, request())
        await read_until(used, b"\r\n\r\n")
        served.stop.set()
        with trio.fail_after(10):
            await served.gone.wait()

        for peer in (*peers, used):
            assert b"" == await read_until(peer, b"never")


async def test_body_may_arrive_during_the_shutdown(fastpath):
    """Its request has begun; one behind it is not served any more."""
    data = post(b"hello")
    async with serving(ECHO_APP, fastpath) as served:
        peer = await connect(served, data[:-1])
        await trio.testing.wait_all_tasks_blocked(0.01)
        served.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        await peer.send_all(data[-1:])
        with trio.fail_after(10):
            received = await read_until(peer, b"never")
            await served.gone.wait()

        assert b"Connection: close" in received
        assert received.endswith(b"hello")


async def test_worker_starts_without_context_variables_of_a_request(fastpath):
    """A variable that a handler sets is unset for the next worker."""
    seen = []

    async def wait(call):
        seen.append(variable.get())
        variable.set(call.headers.get("x-name"))
        await fastpath.resume.wait()
        return FakeResponse()

    fastpath.wait = wait
    async with serving(ECHO_APP, fastpath) as served:
        for number in range(3):
            await connect(served, request("/wait", f"X-Name: {number}"))
            await until(lambda number=number: len(seen) > number)
        fastpath.resume.set()

    assert ["unset"] * 3 == seen


async def test_closed_connection_leaves_no_reference_cycle(fastpath):
    """Neither does one that became a stream, or that ASGI serves."""

    def alive():
        return sum(type(each) is FastConnection for each in gc.get_objects())

    async with serving(ECHO_APP, fastpath) as served:
        gc.collect()
        before = alive()
        gc.disable()
        try:
            targets = ("/events", "/status?204", "/other")
            for data in [request(target) for target in targets] * 5:
                peer = await connect(served, data)
                await read_until(peer, b"\r\n")
                await peer.aclose()
            # The worker's local variables still hold the last two.
            fastpath.calls.clear()
            await until(lambda: alive() <= before + 2)
        finally:
            gc.enable()


async def test_stream_costs_no_task(fastpath):
    """The dispatcher sends head, events and end."""
    async with serving(ECHO_APP, fastpath) as served:
        before = task_count()
        peers = [await connect(served, request("/events")) for _ in range(5)]
        for peer in peers:
            assert b"200 OK" in await read_until(peer, b"start\nid: e.0\n\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        assert before == task_count()
        fastpath.publish("update")
        for peer in peers:
            assert b"update" in await read_until(peer, b"e.1\n\n\r\n")
        fastpath.close_streams()
        for peer in peers:
            assert (await read_until(peer, b"never")).endswith(b"0\r\n\r\n")


async def test_drain_timeout_bounds_streams(fastpath):
    """The shutdown waits for streams as long as for requests."""
    async with serving(ECHO_APP, fastpath, drain_timeout=0.2) as served:
        peer = await connect(served, request("/events"))
        await read_until(peer, b"e.0\n\n\r\n")
        served.stop.set()
        with trio.fail_after(10):
            await served.gone.wait()

        assert b"" == await read_until(peer, b"never")
        assert not fastpath.streams[0].is_open
