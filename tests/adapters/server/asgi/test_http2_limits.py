"""The limits of an HTTP/2 connection and of a stream."""

from __future__ import annotations

import pytest
import trio

from support.asgi_apps import START, Ticker, answer, app_of, body_message
from support.http2 import connect_http2
from support.http2_wire import data, head, priority, reset, window_update, wire_server


async def test_header_list_has_a_limit(serve):
    """A header list above the limit is answered 431, and the connection continues."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        large = await peer.request(a="x" * 17_000, b="y")
        _, size = await peer.response(large), peer.h2.remote_settings

        assert peer.responses[large].status == 431
        assert size.max_header_list_size == 16_384
        for _ in range(2):
            # Both fields are in the HPACK table of the client now.
            assert await peer.response(await peer.request(b="y")) == (200, b"ok")


async def test_large_head_leaves_both_hpack_tables_equal(serve):
    """RFC 9113 10.5.1: fields behind a large one still enter the table."""

    async def echo_field(scope, receive, send):
        await send(START)
        value = dict(scope["headers"]).get(b"b", b"")
        await send(body_message(value, more=False))

    async with serve(app_of(echo_field)) as served:
        peer = await connect_http2(served)
        await peer.response(await peer.request(b="before"))
        for size in (5_000, 17_000, 70_000):
            await peer.response(await peer.request(a="x" * size, b=f"with {size}"))
            later = await peer.request(b=f"with {size}")

            assert await peer.response(later) == (200, f"with {size}".encode())


async def test_streams_have_a_limit(serve):
    """RFC 9113 5.1.2: a request above the limit is refused, the others continue."""
    ticker = Ticker()
    async with serve(ticker.app, max_streams=3) as served:
        peer = await connect_http2(served)
        peer.h2.remote_settings.max_concurrent_streams = 10
        kept = [await peer.request("/stream", flush=False) for _ in range(3)]
        refused = await peer.request("/stream")
        await peer.response(refused)
        await peer.reset(kept.pop())
        again = await peer.request("/")

        assert peer.responses[refused].reset == 7
        assert await peer.response(again) == (200, b"ok")
        assert [peer.responses[each].status for each in kept] == [200, 200]


async def test_finished_applications_do_not_count(serve):
    """RFC 9113 5.1.2: a stream is closed when its response has ended."""
    release = trio.Event()

    async def linger(scope, receive, send):
        await answer(scope, receive, send)
        await release.wait()

    async with serve(app_of(linger), max_streams=5) as served:
        peer = await connect_http2(served)
        for _ in range(30):
            assert await peer.response(await peer.request()) == (200, b"ok")
        release.set()


async def test_running_apps_have_a_limit(autojump_clock):
    """Applications that ignore the resets of their streams have a limit."""
    started = []

    async def linger(scope, receive, send):
        started.append(scope["path"])
        await trio.sleep_forever()

    async with wire_server(app_of(linger), max_streams=5) as server:
        for stream in range(1, 31, 2):
            await server.receive(head(stream))
            await server.receive(reset(stream))

        assert len(started) == 10
        assert server.resets() == dict.fromkeys(range(21, 31, 2), 7)


@pytest.mark.parametrize(
    "ending",
    [reset(1), data(1, b"x"), window_update(1, 0), priority(1, 1)],
    ids=["by the client", "by DATA", "by a window", "by a priority"],
)
async def test_application_of_a_reset_stream_does_not_start(ending, autojump_clock):
    """A request and its reset in one read cost no application."""
    started = []

    async def start(scope, receive, send):
        started.append(scope["path"])

    async with wire_server(app_of(start)) as server:
        for number in range(50):
            stream = (2 * number + 1).to_bytes(4, "big")
            request = head(1) + ending
            await server.receive(request.replace(b"\0\0\0\1", stream))

        assert started == []


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
