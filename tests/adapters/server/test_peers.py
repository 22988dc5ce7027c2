"""Hostile peers: the server serves the others, and shuts down in time."""

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
    """Request a flood over HTTP/1.1 and read nothing."""
    await served.get("/flood")


async def never_read_2(served):
    """Request many floods over HTTP/2 with large windows, and read nothing."""
    peer = await connect_http2(served, INITIAL_WINDOW_SIZE=2**31 - 1)
    for _ in range(50):
        await peer.request("/flood", flush=False)
    peer.h2.increment_flow_control_window(2**31 - 1 - 65_535)
    await peer.flush()


async def close_window(served):
    """Request floods over HTTP/2 with a closed window."""
    peer = await connect_http2(served, INITIAL_WINDOW_SIZE=0)
    for _ in range(50):
        await peer.request("/flood", flush=False)
    await peer.flush()


async def read_one_byte(served):
    """Read one byte of a flood."""
    stream = await served.get("/flood")
    await stream.receive_some(1)


async def reset_mid_stream(served):
    """Reset the connection during a write."""
    stream = await served.get("/flood")
    await stream.receive_some()
    linger = struct.pack("ii", 1, 0)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.socket.close()


async def pipeline(served):
    """Pipeline more requests behind a stream than are buffered."""
    stream = await served.get("/quiet")
    with trio.move_on_after(0.1):
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 1_000_000)


async def send_partial_body(served):
    """Send the first byte of a body and stop."""
    stream = await trio.open_tcp_stream("127.0.0.1", served.port)
    served.streams.append(stream)
    await stream.send_all(
        b"POST /quiet HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\na"
    )


async def open_and_reset(served):
    """Open and reset 1,000 HTTP/2 streams."""
    peer = await connect_http2(served)
    for _ in range(20):
        for _ in range(50):
            peer.h2.reset_stream(await peer.request("/flood", flush=False))
        await peer.flush()


async def only_connect(served):
    """Connect and send nothing."""
    served.streams.append(await trio.open_tcp_stream("127.0.0.1", served.port))


PEERS = [
    *(never_read, never_read_2, close_window, read_one_byte, reset_mid_stream),
    *(pipeline, send_partial_body, open_and_reset, only_connect),
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
async def test_hostile_peer_delays_neither_others_nor_the_shutdown(serve, peer):
    """Other peers are served meanwhile, and the drain timeout holds."""
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


async def test_resets_within_the_limit_harm_no_stream(serve):
    """A client may reset 1,000 streams, and its other streams continue."""
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


@pytest.mark.parametrize("is_watching", [True, False], ids=["watching", "ignoring"])
async def test_app_that_sends_to_closed_peers_lets_other_tasks_run(serve, is_watching):
    """A send to a closed peer has a checkpoint and can be cancelled."""
    disconnected = trio.Event()
    app = until_disconnect(handle, disconnected) if is_watching else app_of(handle)
    async with serve(app, drain_timeout=0.2) as served:
        await reset_mid_stream(served)
        peer = await connect_http2(served)
        peer.h2.reset_stream(await peer.request("/flood", flush=False))
        await peer.flush()
        healthy = await served.get("/")

        assert b"200" in await read_until(healthy, b"ok")
        if is_watching:
            await disconnected.wait()


@asynccontextmanager
async def reading(served):
    """Read a flood of tiny parts as fast as it arrives."""

    async def read(stream):
        while await stream.receive_some():
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, await served.get("/tiny"))
        yield
        nursery.cancel_scope.cancel()


async def test_app_whose_writes_never_block_lets_other_tasks_run(serve):
    """A send has a checkpoint also if it need not wait."""

    async def tiny(scope, receive, send):
        if scope["path"] == "/":
            await answer(scope, receive, send)
            return
        await send(START)
        while True:
            await send(body_message(b"x"))

    async with serve(app_of(tiny), drain_timeout=0.1) as served, reading(served):
        healthy = await served.get("/")

        assert b"200" in await read_until(healthy, b"ok")


async def test_reset_before_accept_is_no_error(serve, caplog):
    """A peer that resets before the server accepts is not logged."""
    async with serve(app_of(answer)) as served:
        hasty = socket.create_connection(("127.0.0.1", served.port))
        reset_on_close = struct.pack("ii", 1, 0)
        hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)
        hasty.close()
        healthy = await served.get("/")

        assert b"200" in await read_until(healthy, b"ok")
        assert caplog.messages == []
