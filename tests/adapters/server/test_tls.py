"""TLS: streams over it, and peers that fail the handshake."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from support.asgi_apps import Ticker, answer, app_of, flood, until_disconnect
from support.http2 import Http2Peer
from support.http2_floods import FLOODS
from support.http2_wire import PREFACE, settings
from support.server import read_until


async def test_client_that_offers_http_2_gets_http_2(serve_tls, connect_tls):
    """ALPN selects HTTP/2 if the client offers it."""
    ticker = Ticker()
    async with serve_tls(ticker.app) as served:
        stream = await connect_tls(served, "h2", "http/1.1")
        peer = Http2Peer(stream)
        await peer.flush()
        stream_id = await peer.request("/stream")
        await ticker.send.send(b"news")

        assert await peer.until(lambda: peer.responses[stream_id].body == b"news")
        assert stream.selected_alpn_protocol() == "h2"


async def test_http_2_over_tls_does_not_depend_on_plain_http_2(serve_tls, connect_tls):
    """ALPN selects HTTP/2 also if it is off without TLS."""
    async with serve_tls(app_of(answer), http2=False) as served:
        peer = Http2Peer(await connect_tls(served, "h2"))
        await peer.flush()

        assert await peer.response(await peer.request()) == (200, b"ok")


async def test_client_that_offers_http_1_gets_http_1(serve_tls, connect_tls):
    """HTTP/1.1 over TLS answers, and does not delay the shutdown when idle."""
    async with serve_tls(app_of(answer)) as served:
        stream = await connect_tls(served, "http/1.1")
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")

        assert (await read_until(stream, b"ok")).startswith(b"HTTP/1.1 200")
        served.stop.set()
        with trio.fail_after(2):
            await served.gone.wait()


async def test_failed_handshake_is_not_logged(serve_tls, connect_tls, caplog):
    """A plain request to a TLS port closes its connection and no other."""
    async with serve_tls(app_of(answer)) as served:
        plain = await served.get("/")
        await read_until(plain, b"never")
        stream = await connect_tls(served, "http/1.1")
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")

        assert b"200" in await read_until(stream, b"ok")
        assert caplog.messages == []


async def test_handshake_times_out(serve_tls):
    """The head timeout applies to the handshake."""
    async with serve_tls(app_of(answer), head_timeout=0.1) as served:
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        served.streams.append(stream)

        assert await read_until(stream, b"never") == b""


async def test_handshake_does_not_delay_the_shutdown(serve_tls):
    """Draining closes a connection before its handshake."""
    async with serve_tls(app_of(answer), drain_timeout=5) as served:
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        served.streams.append(stream)
        await trio.testing.wait_all_tasks_blocked()
        served.stop.set()
        with trio.fail_after(2):
            await served.gone.wait()


@pytest.mark.slow
async def test_peer_that_reads_nothing_over_tls_is_disconnected(serve_tls, connect_tls):
    """The write timeout applies to the ciphertext."""
    disconnected = trio.Event()
    app = until_disconnect(flood, disconnected)
    async with serve_tls(app, write_timeout=0.2) as served:
        stream = await connect_tls(served, "http/1.1")
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        with trio.fail_after(5):
            await disconnected.wait()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["PING", "rapid reset", "large heads"])
async def test_flood_over_tls_ends_its_connection(serve_tls, connect_tls, name):
    """A flood ends like one without TLS, and other connections are served."""
    async with serve_tls(app_of(answer)) as served:
        flood = await connect_tls(served, "h2")
        with suppress(trio.BrokenResourceError), trio.fail_after(10):
            await flood.send_all(PREFACE + settings() + FLOODS[name])
            while await flood.receive_some():
                pass
        healthy = Http2Peer(await connect_tls(served, "h2"))
        await healthy.flush()

        assert await healthy.response(await healthy.request()) == (200, b"ok")
