"""HTTP/1.1: pipelining, request bodies and ignored upgrades."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
import trio.testing

from roundel_adapters.server.asgi.http1 import EVENTS_BEFORE_YIELD
from support.asgi_apps import START, Ticker, answer, app_of, body_message
from support.server import read_until


async def send_raw(served, sent):
    """Send bytes on a new connection."""
    stream = await trio.open_tcp_stream("127.0.0.1", served.port)
    served.streams.append(stream)
    await stream.send_all(sent)
    return stream


async def echo(scope, receive, send):
    """Respond with the body of the request and its length."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    size = [(b"content-length", b"%d" % len(body))]
    await send({**START, "headers": size})
    await send(body_message(body, more=False))


async def test_upgrade_is_ignored(serve):
    """RFC 9110 7.8: a request with an Upgrade field gets a normal response."""
    async with serve(app_of(answer)) as served:
        for protocol in (b"websocket", b"h2c"):
            stream = await send_raw(
                served,
                b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\n"
                b"http2-settings: AAMAAABkAAQAAP__\r\nupgrade: %b\r\n\r\n" % protocol,
            )

            assert b"HTTP/1.1 200" in await read_until(stream, b"ok")


POST = b"POST / HTTP/%b\r\nhost: x\r\n%bcontent-length: 2\r\n\r\nhi"

HEADS = {
    "leading-crlf": (b"\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n", 200),
    "leading-crlfs": (b"\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n", 200),
    "leading-lf": (b"\nGET / HTTP/1.1\r\nhost: x\r\n\r\n", 200),
    "leading-space": (b" GET / HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    "close-crlf": (POST % (b"1.1", b"connection: close\r\n") + b"\r\n", 200),
    "close-request": (POST % (b"1.1", b"connection: close\r\n") * 2, 200),
    "http-1.0-crlf": (POST % (b"1.0", b"") + b"\r\n", 200),
    "http-1.0-garbage": (POST % (b"1.0", b"") + b"\0garbage", 200),
    "http-1.2": (b"GET / HTTP/1.2\r\nhost: x\r\n\r\n", 200),
    "http-0.9": (b"GET / HTTP/0.9\r\nhost: x\r\n\r\n", 505),
    "http-2.0": (b"GET / HTTP/2.0\r\nhost: x\r\n\r\n", 505),
    "http-9.9": (b"GET / HTTP/9.9\r\nhost: x\r\n\r\n", 505),
    "lower-case-method": (b"get / HTTP/1.1\r\nhost: x\r\n\r\n", 501),
    "mixed-case-method": (b"Get / HTTP/1.1\r\nhost: x\r\n\r\n", 501),
    "other-method": (b"PROPFIND / HTTP/1.1\r\nhost: x\r\n\r\n", 200),
    "host-empty": (b"GET / HTTP/1.1\r\nhost:\r\n\r\n", 200),
    "host-port": (b"GET / HTTP/1.1\r\nhost: a.example:8080\r\n\r\n", 200),
    "host-ipv6": (b"GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", 200),
    "host-escape": (b"GET / HTTP/1.1\r\nhost: a%20b\r\n\r\n", 200),
    "host-space": (b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", 400),
    "host-user": (b"GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", 400),
    "host-slash": (b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", 400),
    "host-comma-list": (b"GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", 400),
    "host-bad-port": (b"GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", 400),
    "host-bad-escape": (b"GET / HTTP/1.1\r\nhost: a%2\r\n\r\n", 400),
    "host-non-ascii": (b"GET / HTTP/1.1\r\nhost: \xe9\r\n\r\n", 400),
}


@pytest.mark.parametrize(("sent", "status"), HEADS.values(), ids=HEADS)
async def test_request_head(serve, sent, status):
    """RFC 9112 2.2, 2.3, 3.2 and 9.6: each request has exactly this one response."""
    async with serve(app_of(answer)) as served:
        stream = await send_raw(served, sent)
        await stream.send_eof()

        received = await read_until(stream, b"never")
        assert received.startswith(b"HTTP/1.1 %d " % status)
        assert received.count(b"HTTP/1.1 ") == 1


async def test_bytes_after_the_last_request_are_not_kept(serve):
    """They are read and dropped, and the response arrives."""
    async with serve(app_of(answer)) as served:
        stream = await send_raw(served, POST % (b"1.1", b"connection: close\r\n"))
        with suppress(trio.BrokenResourceError):
            await stream.send_all(bytes(1 << 20))

        assert b"200" in await read_until(stream, b"ok")


async def test_tiny_chunks_do_not_hold_the_loop(serve):
    """Other tasks run while 64 KiB of one-byte chunks are parsed."""
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with serve(app_of(echo)) as served, trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        stream = await send_raw(served, head)
        turns = 0
        await stream.send_all(b"1\r\nx\r\n" * 5_000 + b"0\r\n\r\n")
        await read_until(stream, b"x")
        nursery.cancel_scope.cancel()

    assert turns > 5_000 / EVENTS_BEFORE_YIELD / 2


async def test_pipelined_requests_are_answered_in_order(serve):
    """Pipelining works for any fragmentation of the requests."""
    async with serve(app_of(answer)) as served:
        stream = await send_raw(served, b"")
        request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"
        sent = request * 5 + b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        for start in range(0, len(sent), 7):
            await stream.send_all(sent[start : start + 7])

        assert (await read_until(stream, b"never")).count(b"200") == 6


async def test_expect_continue(serve):
    """`Expect: 100-continue` is answered with 100 before the body."""
    async with serve(app_of(echo)) as served:
        stream = await send_raw(
            served,
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n"
            b"expect: 100-continue\r\n\r\n",
        )
        assert b"HTTP/1.1 100" in await read_until(stream, b"\r\n\r\n")
        await stream.send_all(b"body")

        assert (await read_until(stream, b"body")).endswith(b"\r\n\r\nbody")


async def test_chunked_request_body(serve):
    """The application receives the parts of a chunked body in order."""
    async with serve(app_of(echo)) as served:
        stream = await send_raw(
            served, b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for number in range(3):
            await stream.send_all(b"3\r\n%d, \r\n" % number)
        await stream.send_all(b"3\r\nend\r\n0\r\n\r\n")

        assert (await read_until(stream, b"end")).endswith(b"0, 1, 2, end")


async def test_malformed_body_is_rejected_while_the_app_runs(serve):
    """The response of the app after the 400 is not sent."""
    rejected = trio.Event()

    async def respond_late(scope, receive, send):
        await rejected.wait()
        await answer(scope, receive, send)

    async with serve(app_of(respond_late)) as served:
        stream = await send_raw(
            served,
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno\r\n",
        )
        received = await read_until(stream, b"\r\n\r\n")
        rejected.set()

        assert b"400" in received
        assert await read_until(stream, b"never") == b""


async def test_head_of_a_stream_is_sent_before_its_first_event(serve):
    """A client's stream is open before the first event."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        stream = await served.get("/stream")

        assert b"200" in await read_until(stream, b"\r\n\r\n")
