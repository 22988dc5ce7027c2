"""The extra `starlette`: a stream as the response of a Starlette endpoint."""

from __future__ import annotations

from contextlib import closing

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from roundel import Event
from roundel_adapters.starlette import EventStreamResponse, last_event_id
from roundel_adapters.testing import AsgiClient
from roundel_adapters.topics import Topics

topics = Topics(signals=False)
topics.publish("news", Event("hello"), snapshot=Event("hello"))


async def news(request: Request) -> EventStreamResponse:
    stream = topics.stream(["news"], last_event_id=last_event_id(request))
    return EventStreamResponse(stream)


app = Starlette(routes=[Route("/news", news)])


async def main() -> None:
    with closing(topics):
        async with AsgiClient(app).stream("/news") as events:
            event = await events.next_event()
            assert event is not None
            assert event.data == "hello"


anyio.run(main)
