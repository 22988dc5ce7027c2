"""What an HTTP/2 peer may cost, on one connection and on one stream."""

from __future__ import annotations

import pytest
import trio
from hyperframe.frame import ContinuationFrame, HeadersFrame

from support.asgi_apps import START, Ticker, answer, app_of, body_message
from support.http2 import connect_http2


async def test_header_list_has_a_bound(serve):
    """HTTP/2 has no 431 of a connection: the list is refused with it."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        await peer.request(a="x" * 17_000)

        assert not await peer.until(lambda: False)
        assert peer.goaway == 11
        assert peer.h2.remote_settings.max_header_list_size == 16_384


async def test_head_without_end_has_a_bound(serve):
    """A flood of CONTINUATION frames ends where a head has to."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        await peer.stream.send_all(HeadersFrame(1, bytes(10_000)).serialize())
        await peer.stream.send_all(ContinuationFrame(1, bytes(10_000)).serialize())

        assert not await peer.until(lambda: False)
        assert peer.goaway == 11


async def test_streams_of_a_connection_have_a_bound(serve):
    """The setting is announced, and whoever ignores it loses the connection."""
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
    """Opening and taking back at once is work for us and none for the peer."""
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


async def test_app_that_lingers_counts_though_its_stream_is_reset(serve):
    """A peer cannot have more at work than twice its streams."""
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


async def test_malformed_request_costs_its_stream_only(serve):
    """A path that is none is refused, beside a stream that goes on."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        peer.h2.config.validate_outbound_headers = False
        bad = await peer.request("/\u00fc")
        long = await peer.request("/" + "x" * 9_000, method="POST", body=...)
        await peer.response(bad)

        assert peer.responses[bad].reset == 1
        assert await peer.response(long) == (414, b"")
        assert await peer.response(await peer.request()) == (200, b"ok")


async def test_window_that_stays_closed_ends_its_stream(serve):
    """A peer that reads, but not this stream, loses it; the app is told."""
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
async def test_upload_is_bounded_by_what_the_app_has_received(serve, reads):
    """A body that nobody reads stays with the client, and blocks no other stream."""
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
