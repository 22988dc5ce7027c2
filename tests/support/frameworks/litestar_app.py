"""The scenarios' application in Litestar."""

from __future__ import annotations

from typing import Any

from litestar import HttpMethod, Litestar, Request, get, post, route

from roundel_adapters.asgi import StreamResponse

from . import shared


@route("/events", http_method=[HttpMethod.GET, HttpMethod.HEAD])
async def events(request: Request[Any, Any, Any]) -> StreamResponse:
    shared.caller.set(request.headers.get("x-caller", ""))
    query = shared.Query(request.url.query)
    return StreamResponse(
        shared.open_stream(query, request.headers.get("last-event-id")),
        headers=shared.OWN_HEADERS,
        lifespan=shared.lifespan(),
        write_timeout=query.write_timeout,
    )


@post("/publish/{topic:str}")
async def publish(topic: str, body: bytes) -> None:
    shared.publish(topic, body)


@get("/stats")
async def stats() -> dict[str, int]:
    return shared.stats()


app = Litestar([events, publish, stats])
