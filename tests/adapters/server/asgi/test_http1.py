"""HTTP/1.1: requests in turn, and what is answered without being made."""

from __future__ import annotations

import trio

from support.asgi_apps import START, Ticker, answer, app_of, body_message
from support.server import read_until


async def say(served, sent):
    """Send bytes on a connection of their own."""
    stream = await trio.open_tcp_stream("127.0.0.1", served.port)
    served.streams.append(stream)
    await stream.send_all(sent)
    return stream


async def echo(scope, receive, send):
    """Answer with the body of the request, and its length."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    size = [(b"content-length", b"%d" % len(body))]
    await send({**START, "headers": size})
    await send(body_message(body, more=False))


async def test_upgrades_are_not_made(serve):
    """A request for an upgrade is answered as the request it also is."""
    async with serve(app_of(answer)) as served:
        for protocol in (b"websocket", b"h2c"):
            stream = await say(
                served,
                b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\n"
                b"http2-settings: AAMAAABkAAQAAP__\r\nupgrade: %b\r\n\r\n" % protocol,
            )

            assert b"HTTP/1.1 200" in await read_until(stream, b"ok")


async def test_requests_sent_ahead_are_answered_in_turn(serve):
    """Pipelining works, however the requests are cut into pieces."""
    async with serve(app_of(answer)) as served:
        stream = await say(served, b"")
        request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"
        sent = request * 5 + b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        for start in range(0, len(sent), 7):
            await stream.send_all(sent[start : start + 7])

        assert (await read_until(stream, b"never")).count(b"200") == 6


async def test_body_is_invited_and_answered(serve):
    """Who asks before sending its body is told to go on."""
    async with serve(app_of(echo)) as served:
        stream = await say(
            served,
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n"
            b"expect: 100-continue\r\n\r\n",
        )
        assert b"HTTP/1.1 100" in await read_until(stream, b"\r\n\r\n")
        await stream.send_all(b"body")

        assert (await read_until(stream, b"body")).endswith(b"\r\n\r\nbody")


async def test_body_in_pieces_is_whole(serve):
    """However a body comes, its app gets it in order and no further."""
    async with serve(app_of(echo)) as served:
        stream = await say(
            served, b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for number in range(3):
            await stream.send_all(b"3\r\n%d, \r\n" % number)
        await stream.send_all(b"3\r\nend\r\n0\r\n\r\n")

        assert (await read_until(stream, b"end")).endswith(b"0, 1, 2, end")


async def test_broken_body_is_refused_though_its_app_goes_on(serve):
    """What the app says after the refusal is said to nobody."""
    refused = trio.Event()

    async def go_on(scope, receive, send):
        await refused.wait()
        await answer(scope, receive, send)

    async with serve(app_of(go_on)) as served:
        stream = await say(
            served,
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno\r\n",
        )
        received = await read_until(stream, b"\r\n\r\n")
        refused.set()

        assert b"400" in received
        assert await read_until(stream, b"never") == b""


async def test_head_of_a_stream_does_not_wait_for_its_first_event(serve):
    """A page's stream is open before there is news."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        stream = await served.get("/stream")

        assert b"200" in await read_until(stream, b"\r\n\r\n")
