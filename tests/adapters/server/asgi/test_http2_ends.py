"""The end of an HTTP/2 stream, and of its connection, from either side."""

from __future__ import annotations

import trio

from ..test_serve import answer, app_of
from .test_http2 import START, Ticker, connect, piece


async def test_stream_ends_cleanly_and_idle_connection_is_told_goodbye(serve):
    """Draining ends an idle HTTP/2 connection with a GOAWAY, not with a reset."""
    async with serve(app_of(answer)) as served:
        peer = await connect(served)
        await peer.answer(await peer.ask())
        served.stop.set()
        with trio.fail_after(2):
            await served.gone.wait()

        assert not await peer.until(lambda: False)
        assert peer.goaway == 0


async def test_request_while_draining_is_refused_for_elsewhere(serve):
    """A refused stream may be sent again by the client, and by nobody else."""
    ticker = Ticker()
    async with serve(ticker.app, drain_timeout=5) as served:
        peer = await connect(served)
        stream = await peer.ask("/stream")
        await peer.until(lambda: peer.told[stream].status)
        served.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        refused = await peer.ask("/")
        await peer.answer(refused)

        assert peer.told[refused].reset == 7
        ticker.send.close()
        assert await peer.until(lambda: peer.told[stream].is_ended)
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
        await send(piece(b"half"))
        raise RuntimeError("a bug in an application")

    async with serve(app_of(break_off)) as served:
        peer = await connect(served)
        broken = await peer.ask("/broken")
        await peer.answer(broken)

        assert (peer.told[broken].body, peer.told[broken].reset) == (b"half", 2)
        assert await peer.answer(await peer.ask("/ok")) == (200, b"ok")


async def test_peer_that_says_goodbye_is_let_go(serve):
    """A client's GOAWAY is the end of its connection."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await connect(served)
        stream = await peer.ask("/stream")
        await peer.until(lambda: peer.told[stream].status)
        peer.h2.close_connection()
        await peer.flush()
        with trio.fail_after(2):
            await ticker.ended.wait()
