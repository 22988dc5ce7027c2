"""Bad peers: the server stays well under each of them, and ends when it is told."""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager

import pytest
import trio

from support.asgi_apps import (
    START,
    Ticker,
    answer,
    app_of,
    body_message,
    flood,
    until_disconnect,
)
from support.http2 import connect_http2
from support.server import read_until

pytestmark = pytest.mark.slow

DRAIN = 0.5


async def never_read(served):
    """Ask for a flood over HTTP/1.1 and take none of it."""
    await served.get("/flood")


async def never_read_2(served):
    """Ask for many floods over HTTP/2, with windows to spare, and take none."""
    peer = await connect_http2(served, INITIAL_WINDOW_SIZE=2**31 - 1)
    for _ in range(50):
        await peer.request("/flood", flush=False)
    peer.h2.increment_flow_control_window(2**31 - 1 - 65_535)
    await peer.flush()


async def close_window(served):
    """Ask over HTTP/2 and never open the window."""
    peer = await connect_http2(served, INITIAL_WINDOW_SIZE=0)
    for _ in range(50):
        await peer.request("/flood", flush=False)
    await peer.flush()


async def take_one_byte(served):
    """Take one byte of a flood."""
    stream = await served.get("/flood")
    await stream.receive_some(1)


async def reset_mid_stream(served):
    """Reset the connection while it is written to."""
    stream = await served.get("/flood")
    await stream.receive_some()
    linger = struct.pack("ii", 1, 0)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.socket.close()


async def send_ahead(served):
    """Send requests ahead of a stream's end, more than are kept."""
    stream = await served.get("/quiet")
    with trio.move_on_after(0.1):
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 1_000_000)


async def drip_body(served):
    """Begin a body and go no further."""
    stream = await trio.open_tcp_stream("127.0.0.1", served.port)
    served.streams.append(stream)
    await stream.send_all(
        b"POST /quiet HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\na"
    )


async def open_and_reset(served):
    """Open and take back a thousand HTTP/2 streams."""
    peer = await connect_http2(served)
    for _ in range(20):
        for _ in range(50):
            peer.h2.reset_stream(await peer.request("/flood", flush=False))
        await peer.flush()


async def only_connect(served):
    """Connect and say nothing."""
    served.streams.append(await trio.open_tcp_stream("127.0.0.1", served.port))


PEERS = [
    *(never_read, never_read_2, close_window, take_one_byte, reset_mid_stream),
    *(send_ahead, drip_body, open_and_reset, only_connect),
]


async def handle(scope, receive, send):
    if scope["path"] == "/flood":
        await flood(scope, receive, send)
    elif scope["path"] == "/quiet":
        await send(START)
        await trio.sleep_forever()
    else:
        await answer(scope, receive, send)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.__name__)
async def test_server_serves_beside_it_and_ends_in_time(serve, peer):
    """Nothing that a peer does or leaves undone holds up the others, or the end."""
    app = until_disconnect(handle, trio.Event())
    async with serve(app, write_timeout=60, drain_timeout=DRAIN) as served:
        await peer(served)
        with trio.fail_after(2):
            healthy = await served.get("/")
            assert b"200" in await read_until(healthy, b"ok")
        start = trio.current_time()
        served.stop.set()
        with trio.fail_after(DRAIN + 1.5):
            await served.gone.wait()

        assert trio.current_time() - start < DRAIN + 1


async def test_reader_that_takes_a_little_all_the_time_is_not_cut(serve):
    """A slow reader gets a large piece whole, however often it is waited for."""
    size = 1 << 24

    async def large(scope, receive, send):
        await send(START)
        await send(body_message(bytes(size)))
        await send(body_message(b"end", more=False))

    async with serve(app_of(large), write_timeout=0.2) as served:
        stream = await served.get("/")
        received, start = 0, trio.current_time()
        while received < size:
            received += len(await stream.receive_some(65_536)) or size
            await trio.sleep(0.005)

        assert size <= received < 2 * size
        # Longer than one deadline for the whole piece would have lasted.
        assert trio.current_time() - start > 0.8


async def test_thousand_streams_opened_and_reset_leave_the_connection_well(serve):
    """A page may leave as often as the allowance, and its streams go on."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await connect_http2(served)
        kept = await peer.request("/stream")
        for _ in range(20):
            for _ in range(50):
                peer.h2.reset_stream(await peer.request("/stream", flush=False))
            await peer.flush()
            assert await peer.response(await peer.request()) == (200, b"ok")
        await trio.testing.wait_all_tasks_blocked()
        assert ticker.open == 1
        await ticker.send.send(b"news")

        assert await peer.until(lambda: peer.responses[kept].body == b"news")


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "untold"])
async def test_app_that_sends_for_ever_to_nobody_lets_others_run(serve, is_told):
    """Sending to a peer that is gone waits like any send, and can be cancelled."""
    over = trio.Event()
    app = until_disconnect(handle, over) if is_told else app_of(handle)
    async with serve(app, drain_timeout=0.2) as served:
        await reset_mid_stream(served)
        peer = await connect_http2(served)
        peer.h2.reset_stream(await peer.request("/flood", flush=False))
        await peer.flush()
        healthy = await served.get("/")

        assert b"200" in await read_until(healthy, b"ok")
        if is_told:
            await over.wait()


@asynccontextmanager
async def taking(served):
    """Take what comes of a flood of tiny pieces, as fast as it comes."""

    async def take(stream):
        while await stream.receive_some():
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, await served.get("/tiny"))
        yield
        nursery.cancel_scope.cancel()


async def test_fast_reader_does_not_keep_its_app_from_letting_others_run(serve):
    """An app whose every write goes at once still has to take turns."""

    async def tiny(scope, receive, send):
        if scope["path"] == "/":
            await answer(scope, receive, send)
            return
        await send(START)
        while True:
            await send(body_message(b"x"))

    async with serve(app_of(tiny), drain_timeout=0.1) as served, taking(served):
        healthy = await served.get("/")

        assert b"200" in await read_until(healthy, b"ok")


async def test_peer_that_is_gone_before_it_is_met_is_no_error(serve, caplog):
    """A reset that comes before the connection is accepted is nobody's failure."""
    async with serve(app_of(answer)) as served:
        hasty = socket.create_connection(("127.0.0.1", served.port))
        reset_on_close = struct.pack("ii", 1, 0)
        hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)
        hasty.close()
        healthy = await served.get("/")

        assert b"200" in await read_until(healthy, b"ok")
        assert caplog.messages == []
