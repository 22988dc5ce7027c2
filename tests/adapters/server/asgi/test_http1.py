"""HTTP/1.1: pipelining, request bodies and ignored upgrades."""

from __future__ import annotations

import trio

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
