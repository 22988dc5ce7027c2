"""The client over real sockets: it comes back, says where it was, and knows the end."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
import trio

from roundel import stream_headers
from roundel_adapters.client import StreamEnded, connect
from support.asgi_apps import app_of

pytestmark = pytest.mark.slow

HEAD = [(name.lower().encode(), value.encode()) for name, value in stream_headers()]


class Server:
    """An app that answers the next of its scripted responses, and notes requests."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []
        self.app = app_of(self.answer)

    async def answer(self, scope, receive, send):
        self.requests.append({n.decode(): v.decode() for n, v in scope["headers"]})
        status, *pieces = self.answers.pop(0)
        start = {"type": "http.response.start", "status": status, "headers": HEAD}
        await send(start)
        for piece in pieces:
            if piece is ...:
                await trio.sleep_forever()
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def follow(served, **options):
    """Collect what a stream tells until it is over, and why it was."""
    events = []
    async with httpx2.AsyncClient() as client:
        try:
            url = f"http://127.0.0.1:{served.port}/"
            async for event in connect(client, url, **options):
                events.append((event.data, event.id))
        except StreamEnded as end:
            return events, str(end)


async def test_client_comes_back_where_it_was_until_it_is_told_to_stay(serve):
    """A clean end is no end: only a 204 is, and nothing comes twice."""
    server = Server(
        (200, b"retry: 1\n\nid: e.1\ndata: a\n\n", b"id: e.2\nda"),
        (200, b"data: b\n\n"),
        (204,),
    )
    async with serve(server.app) as served:
        events, why = await follow(served, last_event_id="e.0")

    assert [("a", "e.1"), ("b", "e.1")] == events
    assert why == "expected status 200, got 204"
    assert ["e.0", "e.1", "e.1"] == [r["last-event-id"] for r in server.requests]
    assert {"text/event-stream"} == {r["accept"] for r in server.requests}


async def test_proof_is_made_anew_for_each_connection(serve):
    """A token that has expired meanwhile is not presented again."""
    tokens = iter(["first", "second"])
    server = Server((200, b"retry: 1\n\n"), (401,))
    async with serve(server.app) as served:
        _, why = await follow(
            served, headers=lambda: {"Authorization": f"Bearer {next(tokens)}"}
        )

    assert ["Bearer first", "Bearer second"] == [
        request["authorization"] for request in server.requests
    ]
    assert why.endswith("got 401")


async def test_silent_peer_is_left_and_come_back_to(serve):
    """A connection that is dead without saying so is noticed."""
    server = Server((200, b"retry: 1\ndata: a\n\n", ...), (204,))
    async with serve(server.app, drain_timeout=0.1) as served:
        with trio.fail_after(10):
            events, _ = await follow(served, idle_timeout=0.2)

    assert [("a", "")] == events
    assert len(server.requests) == 2


async def test_client_works_on_asyncio_too(serve):
    """The same client serves programs of the other kind."""
    server = Server((200, b"retry: 1\ndata: a\n\n"), (204,))
    async with serve(server.app) as served:
        events, _ = await trio.to_thread.run_sync(asyncio.run, follow(served))

    assert [("a", "")] == events
