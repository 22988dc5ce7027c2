"""The end of an HTTP/2 stream, and of its connection, from either side."""

from __future__ import annotations

import trio

from support.asgi_apps import START, Ticker, answer, app_of, body_message
from support.http2 import connect_http2


async def test_stream_ends_cleanly_and_idle_connection_is_told_goodbye(serve):
    """Draining ends an idle HTTP/2 connection with a GOAWAY, not with a reset."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        await peer.response(await peer.request())
        served.stop.set()
        with trio.fail_after(2):
            await served.gone.wait()

        assert not await peer.until(lambda: False)
        assert peer.goaway == 0


async def test_request_while_draining_is_refused_for_elsewhere(serve):
    """A refused stream may be sent again by the client, and by nobody else."""
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


async def test_app_that_breaks_off_resets_its_stream_only(serve, caplog):
    """What is not whole must not look whole, and costs the others nothing."""
    caplog.set_level("CRITICAL", "roundel_adapters.server")

    async def break_off(scope, receive, send):
        if scope["path"] == "/ok":
            await answer(scope, receive, send)
            return
        await send(START)
        await send(body_message(b"half"))
        raise RuntimeError("a bug in an application")

    async with serve(app_of(break_off)) as served:
        peer = await connect_http2(served)
        broken = await peer.request("/broken")
        await peer.response(broken)

        assert (peer.responses[broken].body, peer.responses[broken].reset) == (
            b"half",
            2,
        )
        assert await peer.response(await peer.request("/ok")) == (200, b"ok")


async def test_peer_that_says_goodbye_is_let_go(serve):
    """A client's GOAWAY is the end of its connection."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await connect_http2(served)
        stream = await peer.request("/stream")
        await peer.until(lambda: peer.responses[stream].status)
        peer.h2.close_connection()
        await peer.flush()
        with trio.fail_after(2):
            await ticker.ended.wait()
