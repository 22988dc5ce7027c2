"""The peer FastAPI with the event source of its own, on uvicorn.

python with_fastapi.py PORT

A queue a client; the framework's own ping every 15 seconds.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterable

import uvicorn
from fastapi import FastAPI, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

app = FastAPI()
channels: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)


@app.get("/sub/{channel}", response_class=EventSourceResponse)
async def subscribe(channel: str) -> AsyncIterable[ServerSentEvent]:
    queue: asyncio.Queue[str] = asyncio.Queue()
    channels[channel].add(queue)
    try:
        yield ServerSentEvent(raw_data="{}", event="hello")
        while True:
            yield ServerSentEvent(raw_data=await queue.get())
    finally:
        channels[channel].discard(queue)


@app.post("/pub/{channel}")
async def publish(channel: str, request: Request) -> str:
    data = (await request.body()).decode()
    for queue in channels[channel]:
        queue.put_nowait(data)
    return "ok"


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        backlog=4096,
    )
