"""The extra `asgi`: a stream of an ASGI application, read without a socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import anyio

from roundel import Event, read_last_event_id
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.testing import AsgiClient, check_event_stream
from roundel_adapters.topics import Topics

topics = Topics(signals=False)
topics.publish("news", Event("hello"), snapshot=Event("hello"))


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    given = read_last_event_id(dict(scope["headers"]).get(b"last-event-id"))
    stream = topics.stream(["news"], last_event_id=given)
    await StreamResponse(stream)(scope, receive, send)


def publish(text: str) -> None:
    topics.publish("news", Event(text), snapshot=Event(text))


async def main() -> None:
    with closing(topics):
        async with AsgiClient(app).stream("/") as events:
            event = await events.next_event()
            assert event is not None
            assert event.data == "hello"
        client = AsgiClient(app, headers={"Cookie": "a=1"}, http_version="2")
        await check_event_stream(client, "/", publish=publish)


anyio.run(main)
