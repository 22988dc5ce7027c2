"""TLS: the same streams, and peers that take its handshake for something else."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager

import pytest
import trio

from roundel_adapters import server as roundel_server
from support.certificates import Authority
from support.server import Served, read_until

from .asgi.test_http2 import Peer, Ticker
from .test_serve import answer, app_of, flood, until_disconnect

NAME = "roundel.test"


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    """Make the TLS contexts of a server, and of a client that trusts it."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue(NAME))
    return server, ssl.create_default_context(cafile=authority.file)


@pytest.fixture
def serve_tls(contexts):
    """Serve an app over TLS for the length of a block."""
    server, _ = contexts

    @asynccontextmanager
    async def serving(app, **limits):
        listeners = await roundel_server.listen("127.0.0.1", 0, tls=server)
        port = listeners[0].transport_listener.socket.getsockname()[1]
        served = Served(port, trio.Event(), trio.Event())
        async with trio.open_nursery() as nursery:
            await nursery.start(
                run, app, listeners, served, roundel_server.ServerLimits(**limits)
            )
            try:
                yield served
            finally:
                for stream in served.streams:
                    stream.socket.close()
                served.stop.set()

    return serving


async def run(app, listeners, served, limits, *, task_status):
    await roundel_server.serve(
        app,
        listeners,
        shutdown=served.stop.wait,
        limits=limits,
        task_status=task_status,
    )
    served.gone.set()


@pytest.fixture
def connect(contexts):
    """Connect a client that offers some protocols."""
    _, client = contexts

    async def connecting(served, *protocols):
        client.set_alpn_protocols(list(protocols))
        plain = await trio.open_tcp_stream("127.0.0.1", served.port)
        served.streams.append(plain)
        return trio.SSLStream(
            plain, client, server_hostname=NAME, https_compatible=True
        )

    return connecting


async def test_stream_over_tls_is_http_2_if_the_client_can(serve_tls, connect):
    """What ALPN agrees on is spoken, and streams go on."""
    ticker = Ticker()
    async with serve_tls(ticker.app) as served:
        stream = await connect(served, "h2", "http/1.1")
        peer = Peer(stream)
        await peer.flush()
        asked = await peer.ask("/stream")
        await ticker.send.send(b"news")

        assert await peer.until(lambda: peer.told[asked].body == b"news")
        assert stream.selected_alpn_protocol() == "h2"


async def test_whoever_offers_no_http_2_gets_http_1(serve_tls, connect):
    """HTTP/1.1 over TLS answers, idles and ends when told."""
    async with serve_tls(app_of(answer)) as served:
        stream = await connect(served, "http/1.1")
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")

        assert (await read_until(stream, b"ok")).startswith(b"HTTP/1.1 200")
        served.stop.set()
        with trio.fail_after(2):
            await served.gone.wait()


async def test_failed_handshake_is_no_one_elses(serve_tls, connect, caplog):
    """A peer that speaks no TLS is let go, without a word in the log."""
    async with serve_tls(app_of(answer)) as served:
        plain = await served.get("/")
        await read_until(plain, b"never")
        stream = await connect(served, "http/1.1")
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
async def test_peer_that_takes_nothing_is_cut_under_tls_too(serve_tls, connect):
    """The pace is that of the ciphertext."""
    over = trio.Event()
    app = until_disconnect(flood, over)
    async with serve_tls(app, write_timeout=0.2) as served:
        stream = await connect(served, "http/1.1")
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        with trio.fail_after(5):
            await over.wait()
