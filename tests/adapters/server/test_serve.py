"""The server: a peer affects no other peer, and the server shuts down in time."""

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


async def test_idle_connection_does_not_delay_the_shutdown(serve):
    """A request is answered, and draining closes the idle connection."""
    async with serve(app_of(answer)) as served:
        stream = await served.get("/")
        received = await read_until(stream, b"ok")
        served.stop.set()
        with trio.fail_after(2):
            await served.gone.wait()

        assert received.startswith(b"HTTP/1.1 200")


async def test_idle_connection_after_a_stream_does_not_delay_the_shutdown(serve):
    """Draining closes a connection that was kept alive after an event stream."""
    app = QuartTrio(__name__)

    @app.get("/")
    async def stream():
        ended = Stream(History("e"), now=trio.current_time())
        ended.close(CloseMessage(Event("over", "bye")))
        return stream_response(ended, Wakeup())

    async with serve(app) as served:
        peer = await served.get("/")
        await read_until(peer, b"0\r\n\r\n")
        served.stop.set()
        with trio.fail_after(2):
            await served.gone.wait()

        assert await read_until(peer, b"never") == b""


async def test_exception_in_one_connection_ends_no_other(serve, monkeypatch, caplog):
    """An exception in Hypercorn's code closes its connection and no other."""
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


async def test_blocked_write_does_not_delay_the_shutdown(serve):
    """The drain timeout also ends a write that is blocked already."""
    started = trio.Event()

    async def stuck(scope, receive, send):
        started.set()
        await flood(scope, receive, send)

    limits = {"write_timeout": 60, "drain_timeout": 0.3}
    async with serve(app_of(stuck), **limits) as served:
        await served.get("/")
        await started.wait()
        # The write has to wait for the peer.
        await trio.testing.wait_all_tasks_blocked(0.2)
        served.stop.set()
        with trio.fail_after(3):
            await served.gone.wait()


async def test_running_response_completes_while_the_server_drains(serve):
    """A request that was received before the drain is answered in full."""
    started, release = trio.Event(), trio.Event()

    async def slow(scope, receive, send):
        started.set()
        await release.wait()
        await answer(scope, receive, send)

    async with serve(app_of(slow)) as served:
        stream = await served.get("/")
        await started.wait()
        served.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        release.set()

        assert b"ok" in await read_until(stream, b"ok")


async def test_reset_by_the_peer_is_no_error(serve):
    """A reset ends the application, and the server continues."""
    disconnected = trio.Event()
    async with serve(until_disconnect(flood, disconnected)) as served:
        stream = await served.get("/")
        await stream.receive_some()
        reset_on_close = struct.pack("ii", 1, 0)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)
        await stream.aclose()
        with trio.fail_after(5):
            await disconnected.wait()
        healthy = await served.get("/")

        assert b"200" in await read_until(healthy, b"\r\n")


async def test_failed_startup_of_the_app_raises(serve):
    """`serve()` raises the message of a failed lifespan startup."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no store"})

    with pytest.raises(BaseExceptionGroup) as failure:
        async with serve(app):
            pass

    assert "no store" in repr(failure.value.exceptions)
