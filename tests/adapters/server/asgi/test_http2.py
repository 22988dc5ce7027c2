"""HTTP/2: many event streams and requests on one connection."""

from __future__ import annotations

import random

import pytest
import trio
from quart_trio import QuartTrio

from roundel import Event, History, Stream
from roundel_adapters.quart import stream_response
from roundel_adapters.wakeup import Wakeup
from support.asgi_apps import ECHO_APP, START, Ticker, answer, app_of, body_message
from support.http2 import connect_http2
from support.http2_wire import (
    POST,
    data,
    head,
    reset,
    settings,
    window_update,
    wire_server,
)
from support.server import read_until


async def test_http_2_by_prior_knowledge(serve):
    """RFC 9113 3.3: HTTP/2 works without TLS and without an upgrade."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)

        assert await peer.response(await peer.request()) == (200, b"ok")


async def test_plain_http_2_can_be_off(serve):
    """Its preface is answered with 505 over HTTP/1.1, and a request with 200."""
    async with serve(app_of(answer), http2=False) as served:
        peer = await connect_http2(served)
        received = await read_until(peer.stream, b"never")
        healthy = await served.get("/")

        assert received.startswith(b"HTTP/1.1 505")
        assert b"200" in await read_until(healthy, b"ok")


async def test_stream_continues_beside_requests(serve):
    """An event stream and other requests share a connection."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await connect_http2(served)
        stream = await peer.request("/stream")
        for number in range(3):
            await ticker.send.send(b"%d;" % number)
            assert await peer.response(await peer.request("/")) == (200, b"ok")
        assert await peer.until(lambda: peer.responses[stream].body == b"0;1;2;")


async def test_reset_ends_one_stream(serve):
    """A reset disconnects its application, and other streams continue."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await connect_http2(served)
        reset, kept = await peer.request("/stream"), await peer.request("/stream")
        await peer.until(lambda: peer.responses[kept].status)
        await peer.reset(reset)
        with trio.fail_after(5):
            await ticker.ended.wait()
        await trio.testing.wait_all_tasks_blocked()
        await ticker.send.send(b"news")

        assert await peer.until(lambda: peer.responses[kept].body == b"news")
        assert ticker.open == 1


async def test_expectation_is_answered_before_the_body(autojump_clock):
    """RFC 9110 10.1.1: a client with `Expect` gets 100 before it sends the body."""
    fields = [*POST, ("expect", "100-Continue")]
    async with wire_server(ECHO_APP) as server:
        await server.receive(head(1, fields, end=False))
        assert server.statuses() == {1: 100}
        await server.receive(data(1, b"x", end=True), head(3, fields))

        assert server.statuses() == {1: 200, 3: 200}


async def test_table_sizes_are_told_once(autojump_clock):
    """RFC 7541 4.2: a head tells the smallest size and the last one."""
    async with wire_server(ECHO_APP, max_overhead=10_000) as server:
        await server.receive((settings((1, 4_096)) + settings((1, 64))) * 1_000)
        await server.receive(settings((1, 0)), settings((1, 1 << 20)), head(1))

        block = server.sent("Headers")[0].data
        assert block.startswith(b"\x20\x3f\xe1\x1f")
        assert server.statuses() == {1: 200}


async def test_large_responses_share_the_window(serve):
    """Two responses above the window size arrive in full, interleaved."""
    size = 1_000_000

    async def large(scope, receive, send):
        await send(START)
        await send(body_message(bytes(size)))
        await send(body_message(b"end", more=False))

    async with serve(app_of(large)) as served:
        peer = await connect_http2(served)
        stream_ids = [await peer.request(), await peer.request()]
        for stream_id in stream_ids:
            status, body = await peer.response(stream_id)
            assert (200, size + 3) == (status, len(body))


@pytest.mark.parametrize("seed", range(10))
async def test_windows_in_any_order_wake_each_stream(seed, autojump_clock):
    """Window updates, settings and resets in any order let each response end."""
    draw = random.Random(seed)

    async def pour(scope, receive, send):
        await send(START)
        await send(body_message(bytes(10_000), more=False))

    async with wire_server(app_of(pour), max_overhead=1 << 20) as server:
        await server.receive(settings((4, 0)), *map(head, range(1, 41, 2)))
        left = set(range(1, 41, 2))
        for _ in range(5):
            left.discard(reset_one := draw.choice(sorted(left)))
            updates = [window_update(s, draw.randrange(1, 4_000)) for s in left]
            updates += [window_update(0, draw.randrange(1, 9_000)), reset(reset_one)]
            updates += [settings((4, draw.randrange(2_000)))]
            draw.shuffle(updates)
            await server.receive_now(*updates)
        await server.receive(settings((4, 10_000)))
        for _ in range(200):
            await server.receive(window_update(0, 1_000))

        ended = {
            each.stream_id for each in server.sent("Data") if "END_STREAM" in each.flags
        }
        assert ended >= left
        assert not server.connection._streams.exchanges


async def test_quart_stream_over_http_2(serve):
    """`stream_response()` works over HTTP/2."""
    app, history, wakeup = QuartTrio(__name__), History("e"), Wakeup()

    @app.get("/")
    async def stream():
        return stream_response(Stream(history, now=trio.current_time()), wakeup)

    async with serve(app, drain_timeout=0.1) as served:
        peer = await connect_http2(served)
        stream_id = await peer.request()
        await peer.until(lambda: peer.responses[stream_id].status)
        for number in range(3):
            history.append(Event(f"n{number}"), now=trio.current_time())
            wakeup.notify()
            expected = f"data: n{number}\n".encode()

            def is_received(expected=expected):
                return expected in peer.responses[stream_id].body

            assert await peer.until(is_received)
