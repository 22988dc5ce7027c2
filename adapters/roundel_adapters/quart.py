"""Event streams as Quart-Trio responses, and request bodies that are pulled."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import cast, final

import trio
from hypercorn.typing import ASGIReceiveCallable
from quart import Response, request
from quart.wrappers.request import Request
from quart.wrappers.response import ResponseBody
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers.request import TrioBody, TrioRequest

from roundel import stream_headers

from .bell import Bell
from .pump import Talker, frames


def stream_response(
    stream: Talker,
    bell: Bell,
    *,
    within: AbstractContextManager[object] | None = None,
) -> Response:
    """Answer the current request with *stream*; it ends with it or with the peer.

    *within* is entered when the body starts and left when it ends, however it ends.
    Claim what a stream costs there and not in the view: a response whose peer is
    gone before the body starts is never begun, and would never give it back. `HEAD`
    is answered with the head alone, without ever entering it.
    """
    head_only = request.method == "HEAD"
    response = Response(
        b"" if head_only else _Body(stream, bell, within or nullcontext())
    )
    response.headers.clear()
    response.headers.extend(stream_headers(request.http_version))
    # Quart ends a response after RESPONSE_TIMEOUT (60 s) unless it is told not to.
    response.timeout = None
    return response


@final
class _Body(ResponseBody):
    def __init__(
        self, stream: Talker, bell: Bell, within: AbstractContextManager[object]
    ) -> None:
        self._stream = stream
        self._frames = frames(stream, bell)
        self._within = within
        self._exit = ExitStack()

    async def __aenter__(self) -> AsyncGenerator[bytes, None]:
        self._exit.enter_context(self._within)
        return self._frames

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._stream.close()
        self._exit.close()
        await self._frames.aclose()


def pull_bodies(app: QuartTrio) -> None:
    """Let *app* read no more of a request's body than its view has asked for.

    Quart reads on whether or not anybody takes it, into memory without a bound or
    up to one that fails the request. Here the sender waits instead. A view has to
    iterate over `request.body`; how much it takes is the view's own bound.
    """
    app.config["MAX_CONTENT_LENGTH"] = None
    app.request_class = _PulledRequest
    app.asgi_http_class = _PullingConnection


@final
class _PulledBody(TrioBody):
    def __init__(
        self, expected_content_length: int | None, max_content_length: int | None
    ) -> None:
        super().__init__(expected_content_length, max_content_length)
        self._taken = Bell()

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self._taken.ring()
        return data

    async def wait_taken(self) -> None:
        while self._data:
            await self._taken.wait()


@final
class _PulledRequest(TrioRequest):
    body_class = _PulledBody


@final
class _PullingConnection(TrioASGIHTTPConnection):
    async def handle_messages(  # type: ignore[override]
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        body = cast(_PulledBody, request.body)
        while (message := await receive())["type"] == "http.request":
            body.append(message.get("body", b""))
            if not message.get("more_body", False):
                body.set_complete()
            await body.wait_taken()
        nursery.cancel_scope.cancel()
