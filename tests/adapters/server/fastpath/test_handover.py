"""Connections that the fast loop hands to ASGI, and its timeouts."""

from __future__ import annotations

import pytest
import trio

from roundel_adapters.server.fastpath import connection
from support.asgi_apps import ECHO_APP, app_of, echo
from support.fastpath_app import (
    FakeFastpathApp,
    connect,
    post,
    post_chunked,
    request,
)
from support.http2 import connect_http2
from support.server import read_until, serving

pytestmark = pytest.mark.slow


@pytest.fixture
def fastpath():
    return FakeFastpathApp()


async def test_asgi_takes_over_with_all_bytes(fastpath):
    """The unsupported request and everything behind it is served by ASGI."""
    data = request("/other") + post(b"two")
    for size in (len(data), 7):
        async with serving(ECHO_APP, fastpath) as served:
            peer = await connect(served, post(b"one"))
            assert b"one" in await read_until(peer, b"one")
            for start in range(0, len(data), size):
                await peer.send_all(data[start : start + size])
            received = await read_until(peer, b"two")

            assert b"asgi GET /other" in received
            assert received.endswith(b"asgi POST /echo two")
    assert ["/echo"] * 2 == fastpath.done


async def test_pipelined_requests_are_answered_in_order(fastpath):
    """ASGI serves them, and the connection from then on."""
    async with serving(ECHO_APP, fastpath) as served:
        peer = await connect(served, post(b"one") + request() + post(b"two"))
        received = await read_until(peer, b"two")

    bodies = [b"asgi POST /echo one", b"asgi GET /echo", b"asgi POST /echo two"]
    places = [received.index(body) for body in bodies]
    assert sorted(places) == places
    assert [] == fastpath.calls


@pytest.mark.parametrize("chunks", [[b"hello"], [b"he", b"llo"], []])
async def test_chunked_body_is_served_by_asgi(fastpath, chunks):
    """The application that reads bodies in chunks is the ASGI one."""
    async with serving(ECHO_APP, fastpath) as served:
        peer = await connect(served, post_chunked(*chunks))
        body = b"asgi POST /echo " + b"".join(chunks)

        assert body in await read_until(peer, body)
    assert [] == fastpath.calls


async def test_http_2_by_prior_knowledge_is_served(fastpath):
    """RFC 9113 3.3: the preface is handed over."""
    async with serving(ECHO_APP, fastpath) as served:
        peer = await connect_http2(served)

        assert (200, b"asgi GET /echo ") == await peer.response(
            await peer.request("/echo")
        )


async def test_smuggled_request_is_not_served(fastpath):
    """RFC 9112 6.1: both lengths are an attack; nothing behind them is served."""
    data = post_chunked(b"x").replace(b"\r\n", b"\r\nContent-Length: 3\r\n", 1)
    async with serving(ECHO_APP, fastpath) as served:
        peer = await connect(served, data + request("/smuggled"))
        received = await read_until(peer, b"smuggled")

        assert b"smuggled" not in received


async def test_slow_body_is_handed_to_asgi(fastpath, monkeypatch):
    """The loop waits for a moment, and ASGI for as long as its application does."""
    monkeypatch.setattr(connection, "BODY_TIMEOUT", 0.05)
    started = trio.Event()

    async def app(scope, receive, send):
        started.set()
        await echo(scope, receive, send)

    data = post(b"hello")
    async with serving(app_of(app), fastpath) as served:
        peer = await connect(served, data[:-1])
        with trio.fail_after(10):
            await started.wait()
        await peer.send_all(data[-1:])
        body = b"asgi POST /echo hello"

        assert body in await read_until(peer, body)
    assert [] == fastpath.calls


async def test_incomplete_body_is_forgotten(fastpath, caplog):
    """Its handler does not run, and nothing is logged."""
    async with serving(ECHO_APP, fastpath) as served:
        peer = await connect(served, post(b"hello")[:-1])
        await peer.send_eof()

        assert b"" == await read_until(peer, b"never")
        assert [] == fastpath.calls
        assert [] == caplog.messages


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", b""),
        (request()[:9], b""),
        (request(), b""),
        (request(), request()[:9]),
    ],
)
async def test_idle_connection_is_closed(fastpath, first, then):
    """A head has its timeout, an idle connection has its own."""
    limits = {"head_timeout": 0.1, "keep_alive_timeout": 0.1}
    async with serving(ECHO_APP, fastpath, **limits) as served:
        peer = await connect(served, first)
        if then:
            await read_until(peer, b"\r\n\r\n")
            await peer.send_all(then)

        received = await read_until(peer, b"never")
        assert (b"200 OK" in received) == (first == request() and not then)


async def test_head_after_a_request_has_the_timeout_of_a_head(fastpath):
    """The longer timeout of an idle connection ends with the first byte."""
    async with serving(ECHO_APP, fastpath, head_timeout=0.1) as served:
        peer = await connect(served, request())
        await read_until(peer, b"\r\n\r\n")
        await peer.send_all(request()[:9])

        assert b"" == await read_until(peer, b"never")
