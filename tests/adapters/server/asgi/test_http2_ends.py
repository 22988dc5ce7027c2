"""The end of an HTTP/2 stream and of its connection, from both sides."""

from __future__ import annotations

import trio

from support.asgi_apps import START, Ticker, answer, app_of, body_message
from support.http2 import connect_http2


async def test_idle_connection_gets_goaway_on_shutdown(serve):
    """Draining closes an idle HTTP/2 connection with GOAWAY."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        await peer.response(await peer.request())
        served.stop.set()
        with trio.fail_after(2):
            await served.gone.wait()

        assert not await peer.until(lambda: False)
        assert peer.goaway == 0


async def test_request_while_draining_gets_refused_stream(serve):
    """RFC 9113 8.7: a client may retry a refused stream elsewhere."""
    ticker = Ticker()
    async with serve(ticker.app, drain_timeout=5) as served:
        peer = await connect_http2(served)
        stream = await peer.request("/stream")
        await peer.until(lambda: peer.responses[stream].status)
        served.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        refused = await peer.request("/")
        await peer.response(refused)

        assert peer.responses[refused].reset == 7
        ticker.send.close()
        assert await peer.until(lambda: peer.responses[stream].is_ended)
        with trio.fail_after(2):
            await served.gone.wait()


async def test_exception_in_the_app_resets_its_stream(serve, caplog):
    """An incomplete response is reset, and other streams continue."""
    caplog.set_level("CRITICAL", "roundel_adapters.server")

    async def fail(scope, receive, send):
        if scope["path"] == "/ok":
            await answer(scope, receive, send)
            return
        await send(START)
        await send(body_message(b"half"))
        raise RuntimeError("a bug in an application")

    async with serve(app_of(fail)) as served:
        peer = await connect_http2(served)
        broken = await peer.request("/broken")
        await peer.response(broken)

        assert (peer.responses[broken].body, peer.responses[broken].reset) == (
            b"half",
            2,
        )
        assert await peer.response(await peer.request("/ok")) == (200, b"ok")


async def test_goaway_of_the_client_closes_the_connection(serve):
    """The applications of the connection get a disconnect."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await connect_http2(served)
        stream = await peer.request("/stream")
        await peer.until(lambda: peer.responses[stream].status)
        peer.h2.close_connection()
        await peer.flush()
        with trio.fail_after(2):
            await ticker.ended.wait()
