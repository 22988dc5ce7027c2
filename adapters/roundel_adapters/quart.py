"""Event streams as Quart-Trio responses, and request bodies with back-pressure."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, nullcontext
from typing import cast, final

import attrs
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart import Response, request
from quart.typing import ResponseTypes
from quart.utils import encode_headers
from quart.wrappers.request import Request
from quart.wrappers.response import ResponseBody
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection

from roundel import stream_headers

from .driver import EventStream, iter_chunks
from .request_body import PulledBody, PulledRequest
from .server.dispatcher.handoff import EXTENSION, is_direct
from .wakeup import Wakeup


def stream_response(
    stream: EventStream,
    wakeup: Wakeup,
    *,
    lifespan: AbstractContextManager[object] | None = None,
) -> Response:
    """Return *stream* as the response to the current request.

    It ends with the stream or with the peer's disconnect. *lifespan* is entered when
    the body starts and exited when it ends. Acquire the stream's resources there and
    not in the view: Quart never starts the body of a response whose peer has already
    disconnected. `HEAD` gets the headers alone, without *lifespan*.
    """
    response = Response(
        b""
        if request.method == "HEAD"
        else _EventStreamBody(stream, wakeup, lifespan or nullcontext())
    )
    response.headers.clear()
    response.headers.extend(stream_headers(request.http_version))
    # The default is RESPONSE_TIMEOUT, 60 s.
    response.timeout = None
    return response


@final
@attrs.define(eq=False)
class _EventStreamBody(ResponseBody):
    stream: EventStream
    wakeup: Wakeup
    lifespan: AbstractContextManager[object]
    _chunks: AsyncGenerator[bytes, None] = attrs.field(init=False)

    async def __aenter__(self) -> AsyncGenerator[bytes, None]:
        self.lifespan.__enter__()
        self._chunks = iter_chunks(self.stream, self.wakeup)
        return self._chunks

    async def __aexit__(self, *exc: object) -> None:
        self.stream.close()
        self.lifespan.__exit__(None, None, None)
        await self._chunks.aclose()


def prepare(app: QuartTrio) -> None:
    """Give *app* request bodies with back-pressure, and hand its streams to the server.

    A view iterates over `request.body`, and the sender waits for it. Quart's own bound
    of the size is off, so that each view sets its own. A server with the extension of
    `server.dispatcher.handoff` drives the streams of `stream_response()` itself,
    unless middleware is around *app*: then the response takes the usual way.
    """
    app.config["MAX_CONTENT_LENGTH"] = None
    app.request_class = PulledRequest
    app.asgi_http_class = _HandOffConnection


@final
class _HandOffConnection(TrioASGIHTTPConnection):
    _disconnected: bool

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
        if not (isinstance(body, _EventStreamBody) and self._can_hand_off(send)):
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

    def _can_hand_off(self, send: ASGISendCallable) -> bool:
        """Return whether there is no middleware between the server and the view."""
        app = self.app
        # Quart's way to add middleware is `app.asgi_app = Middleware(app.asgi_app)`.
        is_wrapped = "asgi_app" in vars(app) or any(
            getattr(type(app), name) is not getattr(QuartTrio, name)
            for name in ("asgi_app", "__call__")
        )
        return not is_wrapped and is_direct(self.scope, app=app, send=send)
