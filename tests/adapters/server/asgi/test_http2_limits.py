"""The limits of an HTTP/2 connection and of a stream."""

from __future__ import annotations

import pytest
import trio
from hyperframe.frame import ContinuationFrame, HeadersFrame

from support.asgi_apps import START, Ticker, answer, app_of, body_message
from support.http2 import connect_http2


async def test_header_list_has_a_limit(serve):
    """A header list above the limit closes the connection."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        await peer.request(a="x" * 17_000)

        assert not await peer.until(lambda: False)
        assert peer.goaway == 11
        assert peer.h2.remote_settings.max_header_list_size == 16_384


async def test_continuation_flood_has_a_limit(serve):
    """CONTINUATION frames above the limit of a head close the connection."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        await peer.stream.send_all(HeadersFrame(1, bytes(10_000)).serialize())
        await peer.stream.send_all(ContinuationFrame(1, bytes(10_000)).serialize())

        assert not await peer.until(lambda: False)
        assert peer.goaway == 11


async def test_streams_have_a_limit(serve):
    """The limit is sent as a setting, and exceeding it closes the connection."""
    ticker = Ticker()
    async with serve(ticker.app, max_streams=3) as served:
        peer = await connect_http2(served)
        peer.h2.remote_settings.max_concurrent_streams = 10
        for _ in range(4):
            await peer.request("/stream", flush=False)
        await peer.flush()

        assert not await peer.until(lambda: False)
        assert peer.goaway


async def test_flood_of_resets_ends_the_connection(serve):
    """A client that resets more streams than allowed is disconnected."""
    ticker = Ticker()
    async with serve(ticker.app, max_resets=20) as served:
        peer = await connect_http2(served)
        for _ in range(30):
            peer.h2.reset_stream(await peer.request("/stream", flush=False))
        await peer.flush()

        assert not await peer.until(lambda: False)
        assert peer.goaway == 11
        healthy = await connect_http2(served)
        assert await healthy.response(await healthy.request()) == (200, b"ok")


async def test_running_apps_have_a_limit(serve):
    """Applications of reset streams count up to twice the stream limit."""
    started, release = 0, trio.Event()

    async def linger(scope, receive, send):
        nonlocal started
        started += 1
        await release.wait()

    async with serve(app_of(linger), max_streams=5) as served:
        peer = await connect_http2(served)
        for _ in range(15):
            stream = await peer.request(flush=False)
            peer.h2.reset_stream(stream)
        await peer.flush()
        last = await peer.request()
        await peer.response(last)
        release.set()

        assert (started, peer.responses[last].reset) == (10, 7)


async def test_malformed_request_ends_one_stream(serve):
    """An invalid path resets its stream, and other streams continue."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        peer.h2.config.validate_outbound_headers = False
        bad = await peer.request("/\u00fc")
        long = await peer.request("/" + "x" * 9_000, method="POST", body=...)
        await peer.response(bad)

        assert peer.responses[bad].reset == 1
        assert await peer.response(long) == (414, b"")
        assert await peer.response(await peer.request()) == (200, b"ok")


async def test_closed_window_times_out(serve):
    """A stream whose window stays closed is reset, and its app gets a disconnect."""
    ended = trio.Event()

    async def pour(scope, receive, send):
        try:
            await send(START)
            await send(body_message(bytes(100_000)))
            assert (await receive())["more_body"] is False
            assert (await receive())["type"] == "http.disconnect"
        finally:
            ended.set()

    async with serve(app_of(pour), write_timeout=0.1) as served:
        peer = await connect_http2(
            served, acknowledges=False, INITIAL_WINDOW_SIZE=1_000
        )
        stream = await peer.request()
        await peer.response(stream)

        assert len(peer.responses[stream].body) == 1_000
        assert peer.responses[stream].reset == 8
        await ended.wait()


@pytest.mark.parametrize("reads", [True, False], ids=["read", "ignored"])
async def test_window_bounds_a_request_body(serve, reads):
    """A body that the app does not read stays with the client."""
    received = 0
    done = trio.Event()

    async def upload(scope, receive, send):
        nonlocal received
        if scope["method"] == "GET":
            await answer(scope, receive, send)
            return
        while reads:
            message = await receive()
            received += len(message["body"])
            if not message["more_body"]:
                break
        if not reads:
            await done.wait()
        await answer(scope, receive, send)

    async with serve(app_of(upload)) as served:
        peer = await connect_http2(served)
        stream = await peer.request(method="POST", body=...)
        size = 300_000
        while size and (window := peer.h2.local_flow_control_window(stream)):
            part = min(size, window, 16_384)
            peer.h2.send_data(stream, bytes(part), end_stream=part == size)
            size -= part
            await peer.flush()
            if reads:
                await peer.until(lambda: peer.h2.local_flow_control_window(stream) > 0)
        assert await peer.response(await peer.request()) == (200, b"ok")
        done.set()

        assert await peer.response(stream) == (200, b"ok")
        assert (300_000, 0) == (received, size) if reads else size > 200_000
