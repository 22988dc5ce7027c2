"""The peer aiohttp-sse, on uvloop.

python with_aiohttp_sse.py PORT

A queue a client, as its documentation does it; its own ping every 15 seconds.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict

import uvloop
from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response

channels: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)


async def subscribe(request: web.Request) -> EventSourceResponse:
    queue: asyncio.Queue[str] = asyncio.Queue()
    clients = channels[request.match_info["channel"]]
    async with sse_response(request, ping_interval=15) as response:
        clients.add(queue)
        try:
            await response.send("{}", event="hello")
            while response.is_connected():
                await response.send(await queue.get())
        finally:
            clients.discard(queue)
    return response


async def publish(request: web.Request) -> web.Response:
    data = await request.text()
    for queue in channels[request.match_info["channel"]]:
        queue.put_nowait(data)
    return web.Response(text="ok")


async def serve(port: int) -> None:
    app = web.Application()
    app.router.add_get("/sub/{channel}", subscribe)
    app.router.add_post("/pub/{channel}", publish)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
