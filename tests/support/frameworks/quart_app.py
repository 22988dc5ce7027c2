"""The scenarios' application in Quart on asyncio, and in Quart-Trio."""

from __future__ import annotations

from quart import Quart, request
from quart_trio import QuartTrio

from roundel_adapters import quart, quart_trio
from roundel_adapters.quart import stream_response

from . import shared


def add_routes(app):
    """Add the scenarios' routes to *app*."""

    @app.before_request
    async def set_caller():
        shared.caller.set(request.headers.get("X-Caller", ""))

    @app.get("/events")
    async def events():
        query = shared.Query(request.query_string)
        return stream_response(
            shared.open_stream(query, request.headers.get("Last-Event-ID")),
            headers=shared.OWN_HEADERS,
            lifespan=shared.lifespan(),
            write_timeout=query.write_timeout,
        )

    @app.post("/publish/<topic>")
    async def publish(topic):
        shared.publish(topic, await request.get_data())
        return ""

    @app.get("/stats")
    async def stats():
        return shared.stats()

    return app


app = add_routes(Quart(__name__))
prepared_app = add_routes(Quart(__name__))
quart.prepare(prepared_app)
trio_app = add_routes(QuartTrio(__name__))
quart_trio.prepare(trio_app)
