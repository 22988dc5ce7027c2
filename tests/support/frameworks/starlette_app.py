"""The scenarios' application in Starlette."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from roundel_adapters.starlette import EventStreamResponse, last_event_id

from . import shared


async def events(request):
    if not shared.caller.get():
        # No middleware has set it.
        shared.caller.set(request.headers.get("x-caller", ""))
    query = shared.Query(request.url.query)
    return EventStreamResponse(
        shared.open_stream(query, last_event_id(request)),
        headers=shared.OWN_HEADERS,
        lifespan=shared.lifespan(),
        write_timeout=query.write_timeout,
    )


async def publish(request):
    shared.publish(request.path_params["topic"], await request.body())
    return Response()


def stats(request):
    return JSONResponse(shared.stats())


ROUTES = [
    Route("/events", events),
    Route("/publish/{topic}", publish, methods=["POST"]),
    Route("/stats", stats),
]

app = Starlette(routes=ROUTES)
