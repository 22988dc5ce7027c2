"""A Quart-Trio application for long streams and uploads, on our server.

Its request bodies have back-pressure, and the server writes its event streams.
"""

from __future__ import annotations

from typing import cast, final

from . import requires_extra

with requires_extra("quart-trio"):
    import trio
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
    from quart.typing import ResponseTypes
    from quart.utils import encode_headers
    from quart.wrappers.request import Request
    from quart_trio import QuartTrio
    from quart_trio.asgi import TrioASGIHTTPConnection

    from .quart import EventStreamBody, send_stream
    from .request_body import PulledBody, PulledRequest
    from .server.dispatcher.handoff import EXTENSION, is_direct


def prepare(app: QuartTrio) -> None:
    """Give *app* request bodies with back-pressure, and hand its streams to the server.

    A view iterates over `request.body`, and the sender waits for it. Quart's own bound
    of the size is off, so that each view sets its own. A server with the extension of
    `server.dispatcher.handoff` drives the streams of `stream_response()` itself,
    unless middleware is around *app*: then the response takes the usual way. Another
    server that cancels a stream lets it say its last words.
    """
    app.config["MAX_CONTENT_LENGTH"] = None
    app.request_class = PulledRequest
    app.asgi_http_class = _HandOffConnection


@final
class _HandOffConnection(TrioASGIHTTPConnection):
    _disconnected: bool
    _server_send: ASGISendCallable

    async def __call__(
        self, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        # From 0.13 on Quart-Trio wraps it, so that it is not the server's own.
        self._server_send = send
        await super().__call__(receive, send)

    def _create_request_from_scope(self, send: ASGISendCallable) -> Request:
        try:
            return super()._create_request_from_scope(send)
        except (IndexError, ValueError):
            # Quart cannot parse a target such as `?` or `http://[`: there is no such
            # route.
            self.scope = {**self.scope, "path": "/ "}
            return super()._create_request_from_scope(send)

    async def handle_messages(  # type: ignore[override]
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        await cast(PulledBody, request.body).receive_from(receive)
        self._disconnected = True
        nursery.cancel_scope.cancel()

    async def _send_response(
        self, send: ASGISendCallable, response: ResponseTypes
    ) -> None:
        body = response.response
        if not (isinstance(body, EventStreamBody) and self._can_hand_off()):
            if not await send_stream(self.scope, send, response):
                await super()._send_response(send, response)
            return
        start = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": encode_headers(response.headers),
        }
        hand_off = {
            "type": EXTENSION,
            "stream": body.stream,
            "wakeup": body.wakeup,
            "lifespan": body.lifespan,
        }
        await send(cast(ASGISendEvent, start))
        await send(cast(ASGISendEvent, hand_off))

    def _can_hand_off(self) -> bool:
        """Return whether there is no middleware between the server and the view."""
        app = self.app
        # Quart's way to add middleware is `app.asgi_app = Middleware(app.asgi_app)`.
        is_wrapped = "asgi_app" in vars(app) or any(
            getattr(type(app), name) is not getattr(QuartTrio, name)
            for name in ("asgi_app", "__call__")
        )
        return not is_wrapped and is_direct(self.scope, app=app, send=self._server_send)
