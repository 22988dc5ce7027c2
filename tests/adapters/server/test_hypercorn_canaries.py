"""Each hole of stock Hypercorn's that ours closes: one story, run on both.

On stock Hypercorn a story has to fail. When an upgrade makes one pass there, its
patch can go, and the strict mark says so.
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
    """Serve *app* on Hypercorn as it comes; it knows nothing of our limits."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    config.graceful_timeout = drain_timeout
    # Its guard against floods of resets would end the story before its hole is met.
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
    """Serve an app with ours, and then with Hypercorn as it comes."""
    return request.param


@pytest.fixture
def patience(serve):
    """For how many seconds to wait for what ours does soon, and stock never."""
    return 1 if serve is stock else 10


@pytest.mark.slow
async def test_peer_that_takes_nothing_is_cut(serve, patience):
    """Trap 1: a write to it does not last for ever, and its app is told."""
    over = trio.Event()
    async with serve(until_disconnect(flood, over), write_timeout=0.2) as served:
        await served.get("/")
        with trio.fail_after(patience):
            await over.wait()


async def test_error_in_one_connection_ends_no_other(serve):
    """Trap 2: a peer that overfills Hypercorn's tree of priorities harms itself."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        for stream_id in range(1, 2_100, 2):
            peer.h2.prioritize(stream_id)
        await peer.flush()
        await peer.until(lambda: SettingsAcknowledged in peer.event_types)
        healthy = await served.get("/")

        assert b"ok" in await read_until(healthy, b"ok")


@pytest.mark.slow
async def test_streams_that_are_taken_back_leave_nothing_behind(serve, monkeypatch):
    """Trap 3: a page that opens and leaves streams can go on doing so."""
    monkeypatch.setattr(stock, "max_requests", 100_000)
    ticker = Ticker()
    async with serve(ticker.app, max_resets=5_000) as served:
        peer = await connect_http2(served)
        for _ in range(33):
            asked = [await peer.request("/stream", flush=False) for _ in range(90)]
            await peer.flush()
            await peer.until(
                lambda asked=asked: all(peer.responses[s].status for s in asked)
            )
            for stream in asked:
                peer.h2.reset_stream(stream)
            await peer.flush()

        assert await peer.response(await peer.request()) == (200, b"ok")


@pytest.mark.slow
async def test_stream_outlives_any_number_of_requests_beside_it(serve, patience):
    """Trap 4: the thousandth request does not silence the stream."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await connect_http2(served)
        stream = await peer.request("/stream")
        for _ in range(1_005):
            with trio.fail_after(patience):
                assert await peer.response(await peer.request()) == (200, b"ok")
        await ticker.send.send(b"news")

        with trio.fail_after(patience):
            assert await peer.until(lambda: peer.responses[stream].body == b"news")


async def test_closed_window_stops_the_app(serve, patience):
    """Trap 5: what an HTTP/2 peer does not take is not kept for it."""
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
        with trio.fail_after(patience / 5):
            await trio.testing.wait_all_tasks_blocked(0.01)

        assert sent == 0


@pytest.mark.slow
async def test_request_sent_ahead_does_not_hide_the_end(serve, patience):
    """Trap 6: the end of a peer is seen though it has asked for more."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await served.get("/stream")
        await peer.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await read_until(peer, b"\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        await peer.aclose()
        with trio.fail_after(patience / 2):
            await ticker.ended.wait()


@pytest.mark.slow
async def test_upload_that_nobody_reads_ends_with_its_answer(serve, patience):
    """An app may answer without having read; the connection ends all the same."""
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
            with trio.fail_after(patience):
                received = await read_until(peer, b"never")
            nursery.cancel_scope.cancel()

        assert received.endswith(b"ok\r\n0\r\n\r\n")


async def pour_into(peer):
    try:
        while True:
            await peer.send_all(bytes(65_536))
    except trio.BrokenResourceError:
        pass


async def test_answer_before_the_end_of_an_upload_harms_no_stream(serve):
    """What comes of a request after its HTTP/2 answer is no error."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        stream = await peer.request(method="POST", body=...)
        told = peer.responses[stream]
        assert await peer.until(lambda: told.is_ended or told.body == b"ok")
        if told.reset is None:
            peer.h2.send_data(stream, b"late")
            await peer.flush()

        assert await peer.response(await peer.request()) == (200, b"ok")
