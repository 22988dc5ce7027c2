"""Endpoints of each framework that returns a stream, for the type checkers.

mypy checks this module with the packages, in strict mode.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends
from litestar import Litestar, get
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from roundel import History, Stream
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.starlette import EventStreamResponse, last_event_id
from roundel_adapters.topics import Topics
from roundel_adapters.wakeup import Wakeup

topics = Topics()
router = APIRouter()


async def starlette_endpoint(request: Request) -> EventStreamResponse:
    """Return a stream with each option."""
    return EventStreamResponse(
        topics.stream(["badge", "log"], last_event_id=last_event_id(request)),
        headers={"X-App": "1"},
        background=BackgroundTask(print, "ended"),
        write_timeout=5.0,
    )


def bare_endpoint(request: Request) -> Response:
    """Return a stream without topics, as any response."""
    stream = Stream(History("e"), now=0.0)
    return EventStreamResponse(stream, Wakeup(), headers=[("X-App", "1")])


dispatch: Callable[[Request], Awaitable[Response]] = starlette_endpoint
routes = [Route("/", starlette_endpoint), Route("/bare", bare_endpoint)]


@router.get("/", response_class=EventStreamResponse)
async def fastapi_endpoint(
    last_event_id: Annotated[str, Depends(last_event_id)],
) -> EventStreamResponse:
    """Return a stream from FastAPI, with a dependency."""
    return EventStreamResponse(topics.stream("badge", last_event_id=last_event_id))


@get("/")
async def litestar_endpoint() -> StreamResponse:
    """Return a stream from Litestar."""
    return StreamResponse(topics.stream("badge"))


app = Litestar([litestar_endpoint])
