"""The scenarios' application in aiohttp, and its server: `APP FD`."""

from __future__ import annotations

import importlib
import socket
import sys

from aiohttp import web

from roundel_adapters.aiohttp import stream_response

from . import shared

routes = web.RouteTableDef()


@web.middleware
async def set_caller(request, handler):
    shared.caller.set(request.headers.get("X-Caller", ""))
    return await handler(request)


@routes.get("/events")
async def events(request):
    query = shared.Query(request.query_string)
    return stream_response(
        shared.open_stream(query, request.headers.get("Last-Event-ID")),
        headers=shared.OWN_HEADERS,
        lifespan=shared.lifespan(),
        write_timeout=query.write_timeout,
    )


@routes.post("/publish/{topic}")
async def publish(request):
    shared.publish(request.match_info["topic"], await request.read())
    return web.Response()


@routes.get("/stats")
async def stats(_request):
    return web.json_response(shared.stats())


app = web.Application(middlewares=[set_caller])
app.add_routes(routes)


def main(name, fd):
    module, _, attribute = name.partition(":")
    served = getattr(importlib.import_module(module), attribute)
    web.run_app(served, sock=socket.socket(fileno=fd), print=None)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
