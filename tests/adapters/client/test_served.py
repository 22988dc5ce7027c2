"""Both clients over real sockets: they reconnect, resume, and end."""

from __future__ import annotations

import asyncio
import gc
import warnings
import zlib
from contextlib import aclosing
from functools import partial

import httpx2
import pytest
import trio

from roundel import stream_headers
from roundel_adapters.client import StreamEnded, connect, connect_sync
from support.asgi_apps import START, app_of, body_message
from support.stream_readers import LIBRARIES, WAYS

pytestmark = pytest.mark.slow

HEADERS = [(name.lower().encode(), value.encode()) for name, value in stream_headers()]


class Server:
    """An app with scripted responses that records its requests."""

    def __init__(self, *responses):
        self.responses = list(responses)
        self.requests = []
        self.headers = HEADERS
        self.app = app_of(self.respond)

    async def respond(self, scope, receive, send):
        self.requests.append({n.decode(): v.decode() for n, v in scope["headers"]})
        status, *chunks = self.responses.pop(0)
        await send({**START, "status": status, "headers": self.headers})
        for chunk in chunks:
            if chunk is ...:
                await trio.sleep_forever()
            await send(body_message(chunk))
        await send(body_message(b"", more=False))


def read_sync(url, **options):
    """Return the events of a stream and the reason of its end, by `connect_sync()`."""
    events = []
    with httpx2.Client() as client:
        try:
            for event in connect_sync(client, url, **options):
                events.append((event.data, event.id))
        except StreamEnded as end:
            return events, str(end)


async def read_async(url, **options):
    """Return the same by `connect()`."""
    events = []
    async with httpx2.AsyncClient() as client:
        try:
            async for event in connect(client, url, **options):
                events.append((event.data, event.id))
        except StreamEnded as end:
            return events, str(end)


async def read_all(way, served, **options):
    url = f"http://127.0.0.1:{served.port}/"
    if way == "sync":
        return await trio.to_thread.run_sync(partial(read_sync, url, **options))
    if way == "asyncio":
        return await trio.to_thread.run_sync(asyncio.run, read_async(url, **options))
    return await read_async(url, **options)


@WAYS
async def test_client_reconnects_until_a_204(way, serve):
    """A client reconnects after a clean end, resumes, and stops at a 204."""
    server = Server(
        (200, b"retry: 1\n\nid: e.1\ndata: a\n\n", b"id: e.2\nda"),
        (200, b"data: b\n\n"),
        (204,),
    )
    async with serve(server.app) as served:
        events, reason = await read_all(way, served, last_event_id="e.0")

    assert [("a", "e.1"), ("b", "e.1")] == events
    assert reason == "expected status 200, got 204"
    assert ["e.0", "e.1", "e.1"] == [r["last-event-id"] for r in server.requests]
    assert {"text/event-stream"} == {r["accept"] for r in server.requests}


@WAYS
async def test_headers_are_made_for_each_connection(way, serve):
    """The headers are made for each connection, so that a token can expire."""
    tokens = iter(["first", "second"])
    server = Server((200, b"retry: 1\n\n"), (401,))
    async with serve(server.app) as served:
        _, reason = await read_all(
            way, served, headers=lambda: {"Authorization": f"Bearer {next(tokens)}"}
        )

    assert ["Bearer first", "Bearer second"] == [
        request["authorization"] for request in server.requests
    ]
    assert reason.endswith("got 401")


@WAYS
async def test_idle_timeout(way, serve):
    """After *idle_timeout* without a byte the client reconnects."""
    server = Server((200, b"retry: 1\ndata: a\n\n", ...), (204,))
    async with serve(server.app, drain_timeout=0.1) as served:
        with trio.fail_after(10):
            events, _ = await read_all(way, served, idle_timeout=0.2)

    assert [("a", "")] == events
    assert len(server.requests) == 2


@WAYS
async def test_compressed_stream(way, serve):
    """A compressed stream gives each event when it arrives, and loses no byte."""
    compress = zlib.compressobj(wbits=31)
    pieces = [
        compress.compress(b"data: %d\n\n" % n) + compress.flush(zlib.Z_SYNC_FLUSH)
        for n in range(20)
    ]
    server = Server((200, *pieces, compress.flush()), (204,))
    server.headers = [*HEADERS, (b"content-encoding", b"gzip")]
    async with serve(server.app) as served:
        events, _ = await read_all(way, served, retry=1)

    assert [str(n) for n in range(20)] == [data for data, _ in events]


@LIBRARIES
async def test_close_over_http2(serve_tls, tls_contexts, library):
    """`close()` from another thread ends a read over HTTP/2."""
    tls = tls_contexts[1]
    tls.check_hostname = False
    server = Server((200, b"data: a\n\n", ...))
    async with serve_tls(server.app, drain_timeout=0.1) as served:
        with library.Client(http2=True, verify=tls) as client:
            versions = []
            client.event_hooks = {
                "response": [lambda response: versions.append(response.http_version)]
            }
            events = connect_sync(client, f"https://127.0.0.1:{served.port}/")
            first = await trio.to_thread.run_sync(next, events)
            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.to_thread.run_sync, list, events)
                    await trio.to_thread.run_sync(events.close)

    assert ("a", ["HTTP/2"]) == (first.data, versions)


@LIBRARIES
@pytest.mark.parametrize("run", ["trio", "asyncio"])
async def test_nothing_is_left_to_the_collector(serve, library, run):
    """After a `break` no generator is left, not even inside the HTTP library."""
    server = Server((200, b"data: a\n\n", b"data: b\n\n", ...), (204,))

    async def read_one(port):
        async with library.AsyncClient() as client:
            url = f"http://127.0.0.1:{port}/"
            async with aclosing(connect(client, url)) as events:
                async for event in events:
                    return event.data
        return None

    async with serve(server.app, drain_timeout=0.1) as served:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if run == "trio":
                read = await read_one(served.port)
            else:
                read = await trio.to_thread.run_sync(asyncio.run, read_one(served.port))
            gc.collect()

    assert "a" == read
    assert [] == [str(warning.message) for warning in caught]
