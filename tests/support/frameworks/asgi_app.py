"""The scenarios' application in plain ASGI."""

from __future__ import annotations

import json

from roundel_adapters.asgi import StreamResponse

from ..asgi_apps import app_of
from . import shared


@app_of
async def app(scope, receive, send):
    headers = dict(scope["headers"])
    shared.caller.set(headers.get(b"x-caller", b"").decode())
    if scope["path"] == "/events":
        response = events(scope["query_string"], headers.get(b"last-event-id"))
        await response(scope, receive, send)
    elif scope["path"] == "/stats":
        await respond(send, json.dumps(shared.stats()).encode())
    else:
        shared.publish(scope["path"].removeprefix("/publish/"), await body_of(receive))
        await respond(send, b"")


def events(query_string, last_event_id):
    query = shared.Query(query_string)
    return StreamResponse(
        shared.open_stream(query, last_event_id),
        headers=shared.OWN_HEADERS,
        lifespan=shared.lifespan(),
        write_timeout=query.write_timeout,
    )


async def body_of(receive):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def respond(send, body):
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
