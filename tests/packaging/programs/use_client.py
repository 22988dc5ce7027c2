"""The extra `client`: events of an endpoint, over a transport in memory."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import httpx2

from roundel_adapters.client import StreamEnded, connect


def respond(request: httpx2.Request) -> httpx2.Response:
    if "Last-Event-ID" in request.headers:
        return httpx2.Response(204)
    head = {"Content-Type": "text/event-stream"}
    return httpx2.Response(200, headers=head, text="retry: 1\nid: 1\ndata: hello\n\n")


async def main() -> None:
    received: list[str | int | None] = []
    transport = httpx2.MockTransport(respond)
    async with httpx2.AsyncClient(transport=transport) as client:
        try:
            async with aclosing(connect(client, "https://push.example/")) as events:
                async for event in events:
                    received.append(event.data)
        except StreamEnded as end:
            received.append(end.status)
    assert received == ["hello", 204], received


anyio.run(main)
