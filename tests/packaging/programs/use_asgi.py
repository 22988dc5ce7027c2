"""The extra `asgi`: a stream of an ASGI application, read without a socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import anyio

from roundel import Event
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.testing import AsgiClient
from roundel_adapters.topics import Topics

topics = Topics(signals=False)
topics.publish("news", Event("hello"), snapshot=Event("hello"))


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    await StreamResponse(topics.stream(["news"]))(scope, receive, send)


async def main() -> None:
    with closing(topics):
        async with AsgiClient(app).stream("/") as events:
            event = await events.next_event()
            assert event is not None
            assert event.data == "hello"


anyio.run(main)
