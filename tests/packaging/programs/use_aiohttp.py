"""The extra `aiohttp`: a stream as the response of a handler, over a socket."""

from __future__ import annotations

import asyncio
from contextlib import closing

import aiohttp
from aiohttp import web

from roundel import Event
from roundel_adapters.aiohttp import stream_response
from roundel_adapters.topics import Topics

topics = Topics(signals=False)
topics.publish("news", Event("hello"), snapshot=Event("hello"))


async def news(request: web.Request) -> web.StreamResponse:
    return stream_response(topics.stream(["news"]))


async def main() -> None:
    app = web.Application()
    app.router.add_get("/news", news)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    with closing(topics):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{host}:{port}/news") as response,
        ):
            async for line in response.content:
                if line == b"data: hello\n":
                    break
    await runner.cleanup()


asyncio.run(main())
