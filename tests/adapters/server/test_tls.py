"""TLS: the same streams, and peers that take its handshake for something else."""

from __future__ import annotations

import pytest
import trio

from support.asgi_apps import Ticker, answer, app_of, flood, until_disconnect
from support.http2 import Http2Peer
from support.server import read_until


async def test_stream_over_tls_is_http_2_if_the_client_can(serve_tls, connect_tls):
    """What ALPN agrees on is spoken, and streams go on."""
    ticker = Ticker()
    async with serve_tls(ticker.app) as served:
        stream = await connect_tls(served, "h2", "http/1.1")
        peer = Http2Peer(stream)
        await peer.flush()
        asked = await peer.request("/stream")
        await ticker.send.send(b"news")

        assert await peer.until(lambda: peer.responses[asked].body == b"news")
        assert stream.selected_alpn_protocol() == "h2"


async def test_whoever_offers_no_http_2_gets_http_1(serve_tls, connect_tls):
    """HTTP/1.1 over TLS answers, idles and ends when told."""
    async with serve_tls(app_of(answer)) as served:
        stream = await connect_tls(served, "http/1.1")
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")

        assert (await read_until(stream, b"ok")).startswith(b"HTTP/1.1 200")
        served.stop.set()
        with trio.fail_after(2):
            await served.gone.wait()


async def test_failed_handshake_is_no_one_elses(serve_tls, connect_tls, caplog):
    """A peer that speaks no TLS is let go, without a word in the log."""
    async with serve_tls(app_of(answer)) as served:
        plain = await served.get("/")
        await read_until(plain, b"never")
        stream = await connect_tls(served, "http/1.1")
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")

        assert b"200" in await read_until(stream, b"ok")
        assert caplog.messages == []


async def test_handshake_that_drags_on_is_cut(serve_tls):
    """A handshake has the time of a head."""
    async with serve_tls(app_of(answer), head_timeout=0.1) as served:
        silent = await trio.open_tcp_stream("127.0.0.1", served.port)
        served.streams.append(silent)

        assert await read_until(silent, b"never") == b""


async def test_handshake_does_not_hold_the_end_up(serve_tls):
    """Who has not begun is not waited for."""
    async with serve_tls(app_of(answer), drain_timeout=5) as served:
        silent = await trio.open_tcp_stream("127.0.0.1", served.port)
        served.streams.append(silent)
        await trio.testing.wait_all_tasks_blocked()
        served.stop.set()
        with trio.fail_after(2):
            await served.gone.wait()


@pytest.mark.slow
async def test_peer_that_takes_nothing_is_cut_under_tls_too(serve_tls, connect_tls):
    """The pace is that of the ciphertext."""
    over = trio.Event()
    app = until_disconnect(flood, over)
    async with serve_tls(app, write_timeout=0.2) as served:
        stream = await connect_tls(served, "http/1.1")
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        with trio.fail_after(5):
            await over.wait()
