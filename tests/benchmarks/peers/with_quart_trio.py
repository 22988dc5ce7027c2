"""The recipe of the documentation of Quart, on Quart-Trio.

python with_quart_trio.py PORT

A memory channel a client and an endless response, on Hypercorn. The recipe has no ping.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import AsyncIterator

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import Response, make_response, request
from quart_trio import QuartTrio

app = QuartTrio(__name__)
channels: defaultdict[str, set[trio.MemorySendChannel[str]]] = defaultdict(set)


@app.get("/sub/<channel>")
async def subscribe(channel: str) -> Response:
    async def events() -> AsyncIterator[bytes]:
        send, receive = trio.open_memory_channel[str](1_000)
        channels[channel].add(send)
        try:
            yield b"event: hello\ndata: {}\n\n"
            async for data in receive:
                yield f"data: {data}\n\n".encode()
        finally:
            channels[channel].discard(send)

    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    response = await make_response(events(), headers)
    response.timeout = None
    return response


@app.post("/pub/<channel>")
async def publish(channel: str) -> str:
    data = await request.get_data(as_text=True)
    for send in channels[channel]:
        send.send_nowait(data)
    return "ok"


if __name__ == "__main__":
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.backlog = 4096
    config.keep_alive_max_requests = 10_000_000
    trio.run(serve, app, config)
