"""Serving: what one peer does is never another peer's loss."""

from __future__ import annotations

import logging
import socket
import struct

import pytest
import trio
from quart_trio import QuartTrio

from roundel import CloseMessage, Event, History, Stream
from roundel_adapters.quart import stream_response
from roundel_adapters.wakeup import Wakeup
from support.asgi_apps import answer, app_of, flood, until_disconnect
from support.server import read_until

pytestmark = pytest.mark.slow


async def test_request_is_answered_and_the_server_ends_when_told(serve):
    """A plain request works, and an idle connection does not hold the end up."""
    async with serve(app_of(answer)) as served:
        stream = await served.get("/")
        received = await read_until(stream, b"ok")
        served.stop.set()
        with trio.fail_after(2):
            await served.gone.wait()

        assert received.startswith(b"HTTP/1.1 200")


async def test_kept_alive_connection_does_not_hold_the_end_up(serve):
    """A peer that would go on, after a stream that ended, is not waited for."""
    app = QuartTrio(__name__)

    @app.get("/")
    async def stream():
        made = Stream(History("e"), now=trio.current_time())
        made.close(CloseMessage(Event("over", "bye")))
        return stream_response(made, Wakeup())

    async with serve(app) as served:
        peer = await served.get("/")
        await read_until(peer, b"0\r\n\r\n")
        served.stop.set()
        with trio.fail_after(2):
            await served.gone.wait()

        assert await read_until(peer, b"never") == b""


async def test_failure_of_one_connection_is_not_the_servers(serve, monkeypatch, caplog):
    """An error out of Hypercorn's own code costs its connection and no more."""
    caplog.set_level(logging.CRITICAL, "roundel_adapters.server")
    from hypercorn.protocol.h11 import H11Protocol

    handle = H11Protocol.handle

    async def fail(self, event):
        if b"GET /fail" in getattr(event, "data", b""):
            raise RuntimeError("a bug in a protocol")
        await handle(self, event)

    monkeypatch.setattr(H11Protocol, "handle", fail)
    async with serve(app_of(answer)) as served:
        broken = await served.get("/fail")
        assert await read_until(broken, b"\r\n") == b""
        healthy = await served.get("/")

        assert b"200" in await read_until(healthy, b"ok")


async def test_peer_that_takes_nothing_is_cut_after_the_write_timeout(serve):
    """A stalled reader is cut, and its application is told."""
    over = trio.Event()
    async with serve(until_disconnect(flood, over), write_timeout=0.2) as served:
        await served.get("/")
        with trio.fail_after(5):
            await over.wait()

        assert not served.gone.is_set()


async def test_peer_that_takes_nothing_does_not_hold_the_end_up(serve):
    """The drain's bound holds for writes that are stuck already."""
    started = trio.Event()

    async def stuck(scope, receive, send):
        started.set()
        await flood(scope, receive, send)

    limits = {"write_timeout": 60, "drain_timeout": 0.3}
    async with serve(app_of(stuck), **limits) as served:
        await served.get("/")
        await started.wait()
        # Until the write waits for a peer that will never read.
        await trio.testing.wait_all_tasks_blocked(0.2)
        served.stop.set()
        with trio.fail_after(3):
            await served.gone.wait()


async def test_running_answer_may_end_while_the_server_drains(serve):
    """A request that came in time is answered in full."""
    reached, go_on = trio.Event(), trio.Event()

    async def slow(scope, receive, send):
        reached.set()
        await go_on.wait()
        await answer(scope, receive, send)

    async with serve(app_of(slow)) as served:
        stream = await served.get("/")
        await reached.wait()
        served.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()

        assert b"ok" in await read_until(stream, b"ok")


async def test_peer_that_resets_is_forgotten(serve):
    """A reset is no error of the server's."""
    over = trio.Event()
    async with serve(until_disconnect(flood, over)) as served:
        stream = await served.get("/")
        await stream.receive_some()
        reset_on_close = struct.pack("ii", 1, 0)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)
        await stream.aclose()
        with trio.fail_after(5):
            await over.wait()
        healthy = await served.get("/")

        assert b"200" in await read_until(healthy, b"\r\n")


async def test_app_that_cannot_start_stops_the_server(serve):
    """A failed start-up is told to whoever started the server."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no store"})

    with pytest.raises(BaseExceptionGroup) as failure:
        async with serve(app):
            pass

    assert "no store" in repr(failure.value.exceptions)
