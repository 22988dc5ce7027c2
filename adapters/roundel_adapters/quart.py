"""Event streams as Quart-Trio responses, and request bodies that are pulled."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Any, cast, final

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart import Response, request
from quart.typing import ResponseTypes
from quart.utils import encode_headers
from quart.wrappers.request import Request
from quart.wrappers.response import ResponseBody
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers.request import TrioRequest

from roundel import stream_headers

from .driver import EventStream, iter_chunks
from .server.dispatcher.handoff import EXTENSION
from .wakeup import Wakeup


def stream_response(
    stream: EventStream,
    wakeup: Wakeup,
    *,
    lifespan: AbstractContextManager[object] | None = None,
) -> Response:
    """Answer the current request with *stream*; it ends with it or with the peer.

    *within* is entered when the body starts and left when it ends, however it ends.
    Claim what a stream costs there and not in the view: a response whose peer is
    gone before the body starts is never begun, and would never give it back. `HEAD`
    is answered with the head alone, without ever entering it.
    """
    head_only = request.method == "HEAD"
    response = Response(
        b""
        if head_only
        else _EventStreamBody(stream, wakeup, lifespan or nullcontext())
    )
    response.headers.clear()
    response.headers.extend(stream_headers(request.http_version))
    # Quart ends a response after RESPONSE_TIMEOUT (60 s) unless it is told not to.
    response.timeout = None
    return response


@final
class _EventStreamBody(ResponseBody):
    def __init__(
        self,
        stream: EventStream,
        wakeup: Wakeup,
        lifespan: AbstractContextManager[object],
    ) -> None:
        self.stream = stream
        self.wakeup = wakeup
        self.lifespan = lifespan
        self._chunks = iter_chunks(stream, wakeup)
        self._exit = ExitStack()

    async def __aenter__(self) -> AsyncGenerator[bytes, None]:
        self._exit.enter_context(self.lifespan)
        return self._chunks

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stream.close()
        self._exit.close()
        await self._chunks.aclose()


def prepare(app: QuartTrio) -> None:
    """Let *app* pull the bodies of requests, and give its event streams away.

    Quart reads a body on whether or not anybody takes it, into memory without a bound
    or up to one that fails the request. Here the sender waits instead. A view has to
    iterate over `request.body`; how much it takes is the view's own bound. A response
    of `stream_response()` is left to a server that can drive it for less.
    """
    app.config["MAX_CONTENT_LENGTH"] = None
    app.request_class = _PulledRequest
    app.asgi_http_class = _PullingASGIConnection


@final
class _PulledBody:
    """A body as Quart wants one, of which no more is read than somebody takes.

    It is no child of Quart's, whose insides are others in each version.
    """

    def __init__(
        self, expected_content_length: int | None, max_content_length: int | None
    ) -> None:
        self._piece = b""
        self._is_whole = False
        self._read: bytes | None = None
        self._changed = Wakeup()

    def __aiter__(self) -> _PulledBody:
        return self

    async def __anext__(self) -> bytes:
        while not self._piece:
            if self._is_whole:
                raise StopAsyncIteration
            await self._changed.wait()
        piece, self._piece = self._piece, b""
        self._changed.notify()
        return piece

    def __await__(self) -> Generator[Any, Any, bytes]:
        return self._all().__await__()

    async def _all(self) -> bytes:
        if self._read is None:
            self._read = b"".join([piece async for piece in self])
        return self._read

    def clear(self) -> None:
        """Forget what was read as a whole."""
        self._read = None

    def set_result(self, data: bytes) -> None:
        """Be *data*, and whole."""
        self._piece, self._is_whole = data, True

    async def give(self, piece: bytes, *, is_last: bool) -> None:
        """Add the next *piece*, and wait until somebody has taken it."""
        self._piece, self._is_whole = piece, is_last
        self._changed.notify()
        while self._piece:
            await self._changed.wait()


@final
class _PulledRequest(TrioRequest):
    body_class = _PulledBody  # type: ignore[assignment]


@final
class _PullingASGIConnection(TrioASGIHTTPConnection):
    _disconnected: bool

    async def handle_messages(  # type: ignore[override]
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        body = cast(_PulledBody, request.body)
        while (message := await receive())["type"] == "http.request":
            is_last = not message.get("more_body", False)
            await body.give(message.get("body", b""), is_last=is_last)
        self._disconnected = True
        nursery.cancel_scope.cancel()

    async def _send_response(
        self, send: ASGISendCallable, response: ResponseTypes
    ) -> None:
        extensions = self.scope.get("extensions") or {}
        body = response.response
        if not (isinstance(body, _EventStreamBody) and EXTENSION in extensions):
            await super()._send_response(send, response)
            return
        headers = encode_headers(response.headers)
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        hand_off = {"type": EXTENSION, "stream": body.stream, "wakeup": body.wakeup}
        await send(cast(ASGISendEvent, start))
        await send(cast(ASGISendEvent, {**hand_off, "lifespan": body.lifespan}))
