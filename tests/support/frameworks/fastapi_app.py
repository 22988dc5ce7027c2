"""The scenarios' application in FastAPI, with dependencies."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request, Response

from roundel_adapters.starlette import EventStreamResponse, last_event_id

from . import shared

app = FastAPI()


async def set_caller(x_caller: Annotated[str, Header()] = ""):
    shared.caller.set(x_caller)


def add_headers(response: Response):
    for name, value in shared.OWN_HEADERS:
        response.headers[name] = value


@app.api_route(
    "/events",
    methods=["GET", "HEAD"],
    response_class=EventStreamResponse,
    dependencies=[Depends(set_caller), Depends(add_headers)],
)
async def events(
    request: Request,
    response: Response,
    last_event_id: Annotated[str, Depends(last_event_id)],
) -> EventStreamResponse:
    query = shared.Query(request.url.query)
    return EventStreamResponse(
        shared.open_stream(query, last_event_id),
        headers=response.headers,
        lifespan=shared.lifespan(),
        write_timeout=query.write_timeout,
    )


@app.post("/publish/{topic}")
async def publish(topic: str, request: Request) -> None:
    shared.publish(topic, await request.body())


@app.get("/stats")
def stats() -> dict[str, int]:
    return shared.stats()
