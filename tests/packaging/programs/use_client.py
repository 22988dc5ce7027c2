"""The extra `client`: events, and a notification, over a transport in memory."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import httpx2

from roundel_adapters.client import StreamEnded, connect, connect_sync
from roundel_service.client import AsyncBadgeClient, BadgeClient, UnexpectedResponse

URL = "https://push.example/"


def respond(request: httpx2.Request) -> httpx2.Response:
    if request.method == "POST":
        return httpx2.Response(404)
    if "Last-Event-ID" in request.headers:
        return httpx2.Response(204)
    head = {"Content-Type": "text/event-stream"}
    return httpx2.Response(200, headers=head, text="retry: 1\nid: 1\ndata: hello\n\n")


async def read(client: httpx2.AsyncClient) -> None:
    received: list[str | int | None] = []
    try:
        async with aclosing(connect(client, URL)) as events:
            async for event in events:
                received.append(event.data)
    except StreamEnded as end:
        received.append(end.status)
    assert received == ["hello", 204], received


async def notify(client: httpx2.AsyncClient) -> None:
    status = 0
    async with AsyncBadgeClient(URL, key="a-producer-key-16", client=client) as badges:
        try:
            await badges.notify("alice", "hello")
        except UnexpectedResponse as error:
            status = error.status
    assert status == 404, status


async def main() -> None:
    transport = httpx2.MockTransport(respond)
    async with httpx2.AsyncClient(transport=transport) as client:
        await read(client)
        await notify(client)


def main_sync() -> None:
    with httpx2.Client(transport=httpx2.MockTransport(respond)) as client:
        with connect_sync(client, URL) as events:
            assert next(events).data == "hello"
        status = 0
        with BadgeClient(URL, key="a-producer-key-16", client=client) as badges:
            try:
                badges.notify("alice", "hello")
            except UnexpectedResponse as error:
                status = error.status
        assert status == 404, status


anyio.run(main)
main_sync()
