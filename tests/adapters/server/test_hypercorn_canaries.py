"""Each defect of Hypercorn 0.18 that the server works around, as a test for both.

A test has to fail on unmodified Hypercorn. When it passes there after an upgrade, the
strict xfail reports that the workaround can be removed.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from h2.events import SettingsAcknowledged
from hypercorn.config import Config
from hypercorn.trio.run import worker_serve
from hypercorn.utils import wrap_app

from support import server
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
from support.server import Served, read_until


@asynccontextmanager
async def stock(app, *, drain_timeout=0.2, **_):
    """Serve *app* on unmodified Hypercorn, which does not have our limits."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    config.graceful_timeout = drain_timeout
    # The default limit would end the connection before the defect shows.
    config.keep_alive_max_requests = stock.max_requests
    sockets = config.create_sockets()
    for each in sockets.insecure_sockets:
        each.listen()
    port = sockets.insecure_sockets[0].getsockname()[1]
    served = Served(port, trio.Event(), trio.Event())

    async def run(*, task_status):
        await worker_serve(
            wrap_app(app, 0, "asgi"),
            config,
            sockets=sockets,
            shutdown_trigger=served.stop.wait,
            task_status=task_status,
        )
        served.gone.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        try:
            yield served
        finally:
            for stream in served.streams:
                stream.socket.close()
            served.stop.set()


stock.max_requests = Config.keep_alive_max_requests
FAILS = pytest.mark.xfail(raises=(BaseExceptionGroup, AssertionError), strict=True)


@pytest.fixture(
    params=[server.serving, pytest.param(stock, marks=FAILS)], ids=["ours", "stock"]
)
def serve(request):
    """Serve an app on our server, then on unmodified Hypercorn."""
    return request.param


@pytest.fixture
def seconds(serve):
    """Seconds to wait for an event that never happens on unmodified Hypercorn."""
    return 1 if serve is stock else 10


@pytest.mark.slow
async def test_peer_that_reads_nothing_is_disconnected(serve, seconds):
    """Defect 1: a blocked write never ends, and its app gets no disconnect."""
    disconnected = trio.Event()
    async with serve(
        until_disconnect(flood, disconnected), write_timeout=0.2
    ) as served:
        await served.get("/")
        with trio.fail_after(seconds):
            await disconnected.wait()


async def test_error_in_one_connection_ends_no_other(serve):
    """Defect 2: an HTTP/2 peer that overfills the priority tree ends the server."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        for stream_id in range(1, 2_100, 2):
            peer.h2.prioritize(stream_id)
        await peer.flush()
        await peer.until(lambda: SettingsAcknowledged in peer.event_types)
        healthy = await served.get("/")

        assert b"ok" in await read_until(healthy, b"ok")


@pytest.mark.slow
async def test_reset_streams_leave_nothing_behind(serve, monkeypatch):
    """Defect 3: reset streams fill the priority tree."""
    monkeypatch.setattr(stock, "max_requests", 100_000)
    ticker = Ticker()
    async with serve(ticker.app, max_overhead=5_000) as served:
        peer = await connect_http2(served)
        for _ in range(33):
            stream_ids = [await peer.request("/stream", flush=False) for _ in range(90)]
            await peer.flush()
            await peer.until(
                lambda stream_ids=stream_ids: all(
                    peer.responses[s].status for s in stream_ids
                )
            )
            for stream in stream_ids:
                peer.h2.reset_stream(stream)
            await peer.flush()

        assert await peer.response(await peer.request()) == (200, b"ok")


@pytest.mark.slow
async def test_stream_outlives_a_thousand_requests(serve, seconds):
    """Defect 4: after 1,000 requests the streams of a connection get no data."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await connect_http2(served)
        stream = await peer.request("/stream")
        for _ in range(1_005):
            with trio.fail_after(seconds):
                assert await peer.response(await peer.request()) == (200, b"ok")
        await ticker.send.send(b"news")

        with trio.fail_after(seconds):
            assert await peer.until(lambda: peer.responses[stream].body == b"news")


async def test_closed_window_blocks_the_app(serve, seconds):
    """Defect 5: data for a closed HTTP/2 window is buffered without a limit."""
    sent = 0

    async def pour(scope, receive, send):
        nonlocal sent
        await send(START)
        while True:
            await send(body_message(bytes(16_384)))
            sent += 16_384

    async with serve(app_of(pour), drain_timeout=0.1) as served:
        peer = await connect_http2(served, INITIAL_WINDOW_SIZE=0)
        stream = await peer.request()
        assert await peer.until(lambda: peer.responses[stream].status)
        with trio.fail_after(seconds / 5):
            await trio.testing.wait_all_tasks_blocked(0.01)

        assert sent == 0


@pytest.mark.slow
async def test_pipelined_request_does_not_hide_eof(serve, seconds):
    """Defect 6: EOF is not noticed behind a pipelined request."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await served.get("/stream")
        await peer.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await read_until(peer, b"\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        await peer.aclose()
        with trio.fail_after(seconds / 2):
            await ticker.ended.wait()


@pytest.mark.slow
async def test_unread_upload_ends_with_its_response(serve, seconds):
    """Defect 7: a request body that the app does not read blocks the connection."""
    stuck = trio.Event()

    async def ignore(scope, receive, send):
        await stuck.wait()
        await answer(scope, receive, send)

    async with serve(app_of(ignore)) as served:
        peer = await trio.open_tcp_stream("127.0.0.1", served.port)
        served.streams.append(peer)
        await peer.send_all(b"POST / HTTP/1.1\r\nhost: x\r\n")
        await peer.send_all(b"content-length: 100000000\r\n\r\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pour_into, peer)
            await trio.testing.wait_all_tasks_blocked(0.01)
            stuck.set()
            with trio.fail_after(seconds):
                received = await read_until(peer, b"never")
            nursery.cancel_scope.cancel()

        assert received.endswith(b"ok\r\n0\r\n\r\n")


async def pour_into(peer):
    try:
        while True:
            await peer.send_all(bytes(65_536))
    except trio.BrokenResourceError:
        pass


async def test_response_before_the_end_of_an_upload_harms_no_stream(serve):
    """Defect 8: a body that arrives after the response ends the connection."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        stream = await peer.request(method="POST", body=...)
        response = peer.responses[stream]
        assert await peer.until(lambda: response.is_ended or response.body == b"ok")
        if response.reset is None:
            peer.h2.send_data(stream, b"late")
            await peer.flush()

        assert await peer.response(await peer.request()) == (200, b"ok")
