"""HTTP/2: event streams as good as over HTTP/1.1, many to a connection."""

from __future__ import annotations

import trio
from quart_trio import QuartTrio

from roundel import Event, History, Stream
from roundel_adapters.quart import stream_response
from roundel_adapters.wakeup import Wakeup
from support.asgi_apps import START, Ticker, answer, app_of, body_message
from support.http2 import connect_http2


async def test_request_is_answered_by_prior_knowledge(serve):
    """HTTP/2 works without TLS for whoever knows that it does."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)

        assert await peer.response(await peer.request()) == (200, b"ok")


async def test_stream_goes_on_beside_requests(serve):
    """An event stream and other requests share a connection."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await connect_http2(served)
        stream = await peer.request("/stream")
        for number in range(3):
            await ticker.send.send(b"%d;" % number)
            assert await peer.response(await peer.request("/")) == (200, b"ok")
        assert await peer.until(lambda: peer.responses[stream].body == b"0;1;2;")


async def test_reset_stream_is_noticed_and_no_other_is_touched(serve):
    """A browser that leaves one stream keeps the connection and the rest."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await connect_http2(served)
        left, kept = await peer.request("/stream"), await peer.request("/stream")
        await peer.until(lambda: peer.responses[kept].status)
        await peer.reset(left)
        with trio.fail_after(5):
            await ticker.ended.wait()
        await trio.testing.wait_all_tasks_blocked()
        await ticker.send.send(b"news")

        assert await peer.until(lambda: peer.responses[kept].body == b"news")
        assert ticker.open == 1


async def test_large_answer_passes_the_windows_in_turns(serve):
    """Two answers larger than the window arrive whole, side by side."""
    size = 1_000_000

    async def large(scope, receive, send):
        await send(START)
        await send(body_message(bytes(size)))
        await send(body_message(b"end", more=False))

    async with serve(app_of(large)) as served:
        peer = await connect_http2(served)
        asked = [await peer.request(), await peer.request()]
        for stream_id in asked:
            status, body = await peer.response(stream_id)
            assert (200, size + 3) == (status, len(body))


async def test_quart_stream_goes_on_over_http_2(serve):
    """The binding's streams are the same whatever version carries them."""
    app, history, bell = QuartTrio(__name__), History("e"), Wakeup()

    @app.get("/")
    async def stream():
        return stream_response(Stream(history, now=trio.current_time()), bell)

    async with serve(app, drain_timeout=0.1) as served:
        peer = await connect_http2(served)
        asked = await peer.request()
        await peer.until(lambda: peer.responses[asked].status)
        for number in range(3):
            history.append(Event(f"n{number}"), now=trio.current_time())
            bell.notify()
            expected = f"data: n{number}\n".encode()

            def is_told(expected=expected):
                return expected in peer.responses[asked].body

            assert await peer.until(is_told)
