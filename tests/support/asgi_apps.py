"""ASGI applications for the tests of the server."""

from __future__ import annotations

import trio

START = {"type": "http.response.start", "status": 200, "headers": []}


def body_message(data, *, more=True):
    """Make the ASGI message that carries *data*."""
    return {"type": "http.response.body", "body": data, "more_body": more}


OVERSIZED_BODY = body_message(bytes(1 << 26))
"""A body message that no socket buffer holds."""


def app_of(handler):
    """Make an ASGI app whose requests go to *handler*."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await _complete_lifespan(receive, send)
        else:
            await handler(scope, receive, send)

    return app


async def _complete_lifespan(receive, send):
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


async def answer(scope, receive, send):
    """Respond with 200 and the body `ok`."""
    await send(START)
    await send(body_message(b"ok", more=False))


async def flood(scope, receive, send):
    """Send a body that never ends."""
    await send(START)
    while True:
        await send(OVERSIZED_BODY)


async def echo(scope, receive, send):
    """Respond with ``asgi``, the request line and the request body."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    content = f"asgi {scope['method']} {scope['path']} ".encode() + body
    headers = [(b"content-length", b"%d" % len(content))]
    await send({**START, "headers": headers})
    await send(body_message(content, more=False))


ECHO_APP = app_of(echo)


def until_disconnect(handler, disconnected: trio.Event):
    """Run *handler* until the peer disconnects, then set *disconnected*."""

    async def watched(scope, receive, send):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handler, scope, receive, send)
            while (await receive())["type"] != "http.disconnect":
                pass
            disconnected.set()
            nursery.cancel_scope.cancel()

    return app_of(watched)


class Ticker:
    """An app whose ``/stream`` sends what `send` is given, and counts open streams."""

    def __init__(self):
        self.open = 0
        self.ended = trio.Event()
        self.send, self._ticks = trio.open_memory_channel(10)
        self.app = app_of(self._handle)

    async def _handle(self, scope, receive, send):
        if scope["path"] != "/stream":
            await answer(scope, receive, send)
            return
        self.open += 1
        try:
            await until_disconnect(self._stream, self.ended)(scope, receive, send)
        finally:
            self.open -= 1

    async def _stream(self, scope, receive, send):
        await send(START)
        async for tick in self._ticks:
            await send(body_message(tick))
        await send(body_message(b"", more=False))
