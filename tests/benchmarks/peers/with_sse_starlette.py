"""The peer sse-starlette, on uvicorn with uvloop and httptools.

python with_sse_starlette.py PORT

A queue a client, as its documentation does it; its own ping every 15 seconds.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator

import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

channels: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)


async def events(channel: str) -> AsyncIterator[ServerSentEvent]:
    queue: asyncio.Queue[str] = asyncio.Queue()
    channels[channel].add(queue)
    try:
        yield ServerSentEvent("{}", event="hello")
        while True:
            yield ServerSentEvent(await queue.get())
    finally:
        channels[channel].discard(queue)


async def subscribe(request: Request) -> EventSourceResponse:
    return EventSourceResponse(events(request.path_params["channel"]), ping=15)


async def publish(request: Request) -> PlainTextResponse:
    data = (await request.body()).decode()
    for queue in channels[request.path_params["channel"]]:
        queue.put_nowait(data)
    return PlainTextResponse("ok")


app = Starlette(
    routes=[
        Route("/sub/{channel}", subscribe),
        Route("/pub/{channel}", publish, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        backlog=4096,
    )
