"""Event streams as Quart responses, on trio (Quart-Trio) and on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import ExitStack, suppress
from inspect import signature
from math import inf
from types import TracebackType
from typing import cast, final

import attrs

from roundel import stream_headers

from . import requires_extra
from .drain import Drain
from .driver import EventStream, iter_chunks, wakeup_of
from .live_stream import (
    WRITE_TIMEOUT,
    ContextStream,
    Lifespan,
    drain_of,
    replace_headers,
    responding,
)
from .wakeup import Wakeup

with requires_extra("quart"):
    import anyio
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable
    from quart import Quart, Response, request
    from quart.asgi import ASGIHTTPConnection
    from quart.typing import ResponseTypes
    from quart.wrappers.request import Request
    from quart.wrappers.response import ResponseBody

    from .asgi import Send, StreamResponse

_WAITS_FOR_DISCONNECT = (
    "request_task" in signature(ASGIHTTPConnection.handle_messages).parameters
)
"""Whether Quart, from 0.23 on, waits for the disconnect after each response."""


def stream_response(
    stream: EventStream,
    wakeup: Wakeup | None = None,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    lifespan: Lifespan | None = None,
    write_timeout: float = WRITE_TIMEOUT,
    drain: Drain | None = None,
) -> Response:
    """Return *stream* as the response to the current request.

    It ends with the stream or with the peer's disconnect, and closes the stream. `HEAD`
    gets the headers alone, without *lifespan*. The clock is that of the event loop. The
    functions of the stream, such as *hello*, can use `request`, `session` and `g`.

    Args:
        wakeup: Call its `notify()` after each append to one of the stream's topics and
            after its `close()`. A stream of `Topics` has its own.
        headers: Names and values to send in addition to `stream_headers()`; they
            replace those of the same name.
        lifespan: Entered when the body starts and exited when it ends. Acquire the
            stream's resources there and not in the view: Quart never starts the body of
            a response whose peer has already disconnected.
        write_timeout: Seconds after which a response to a peer that does not read ends,
            on asyncio; `math.inf` for never. Hypercorn's trio worker does not let a
            write be cancelled, and `roundel_adapters.server` has its own timeout.
        drain: Ends the stream with a close message when the server has to stop. A
            stream of `Topics` has its own.
    """
    body = EventStreamBody(
        ContextStream(stream),
        wakeup_of(stream, wakeup),
        lifespan=lifespan,
        drain=drain_of(stream, drain),
        write_timeout=write_timeout,
    )
    response = Response(b"" if request.method == "HEAD" else body)
    response.headers.clear()
    response.headers.extend(
        replace_headers(stream_headers(request.http_version), headers)
    )
    # The default is RESPONSE_TIMEOUT, 60 s.
    response.timeout = None
    return response


def prepare(app: Quart) -> None:
    """Let the streams of *app*, on asyncio, say their last words if they are cancelled.

    Hypercorn gives its worker processes no signal. It cancels their requests after its
    graceful timeout, and then Quart's own connection sends nothing more.

    Raises `TypeError` for an app with a connection class of its own, such as that of
    Quart-Trio; `quart_trio.prepare()` is for that one.
    """
    if app.asgi_http_class not in (ASGIHTTPConnection, _Connection):
        name = app.asgi_http_class.__name__
        raise TypeError(f"app: expected Quart on asyncio, got one with {name}")
    app.asgi_http_class = _Connection


@final
@attrs.define(eq=False)
class EventStreamBody(ResponseBody):
    """The body of an event stream."""

    stream: EventStream
    wakeup: Wakeup
    own_lifespan: Lifespan | None = attrs.field(alias="lifespan", kw_only=True)
    drain: Drain | None = attrs.field(kw_only=True)
    write_timeout: float = attrs.field(kw_only=True)
    _resources: ExitStack = attrs.field(factory=ExitStack, init=False)
    _timeout: asyncio.Timeout | None = attrs.field(default=None, init=False)
    _chunks: AsyncGenerator[bytes, None] = attrs.field(init=False)

    @property
    def lifespan(self) -> Lifespan:
        """The lifespan of the response; it closes the stream at its end."""
        return responding(
            self.stream, self.wakeup, lifespan=self.own_lifespan, drain=self.drain
        )

    async def __aenter__(self) -> AsyncGenerator[bytes, None]:
        self._resources.enter_context(self.lifespan)
        self._chunks = iter_chunks(self.stream, self.wakeup)
        with suppress(RuntimeError):  # On trio.
            asyncio.get_running_loop()
            if self.write_timeout < inf:
                self._timeout = await asyncio.timeout(None).__aenter__()
                return self._timed_chunks(self._timeout)
        return self._chunks

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Before all waits: a server that cancels the response may stop soon.
        self._resources.close()
        await self._chunks.aclose()
        if self._timeout:
            try:
                await self._timeout.__aexit__(exc_type, exc, traceback)
            except TimeoutError as error:
                # Quart expects it of a response. From 0.23 on it waits for the
                # disconnect then, and a peer that reads nothing does not disconnect.
                if _WAITS_FOR_DISCONNECT:
                    raise ConnectionAbortedError("the peer does not read") from error
                raise

    async def _timed_chunks(
        self, limit: asyncio.Timeout
    ) -> AsyncGenerator[bytes, None]:
        """Yield the chunks, and limit the time until the next one is asked for."""
        loop = asyncio.get_running_loop()
        async for chunk in self._chunks:
            limit.reschedule(loop.time() + self.write_timeout)
            yield chunk
            limit.reschedule(None)


async def send_stream(
    scope: Mapping[str, object], send: object, response: ResponseTypes
) -> bool:
    """Send *response* with its last words, if it is a stream; return whether it is.

    Quart's own loop over a body cannot send anything in a task that is cancelled.
    """
    body = response.response
    if not isinstance(body, EventStreamBody):
        return False
    respond = StreamResponse(
        body.stream,
        body.wakeup,
        headers=list(response.headers.items()),
        lifespan=body.own_lifespan,
        write_timeout=body.write_timeout,
        drain=body.drain,
    )
    await respond(scope, _receive_nothing, cast(Send, send))
    return True


async def _receive_nothing() -> Mapping[str, object]:
    # Quart waits for the disconnect, and cancels the response.
    await anyio.sleep_forever()
    raise AssertionError("unreachable")


class _ResponseEnded(Exception):  # noqa: N818, not an error
    """Raised in the task of a response, so that Quart does not wait for more."""


@final
class _Connection(ASGIHTTPConnection):
    _streaming: asyncio.Task[object] | None = None

    async def __call__(
        self, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        try:
            await self._respond(receive, send)
        except asyncio.CancelledError:
            # Quart has left the task of the response alone.
            if self._streaming is not None:
                self._streaming.cancel()
                await asyncio.wait([self._streaming])
            raise

    async def _respond(
        self, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        try:
            await super().__call__(receive, send)
        except* _ResponseEnded:
            pass

    async def handle_request(self, request: Request, send: ASGISendCallable) -> None:
        await super().handle_request(request, send)
        # Also after a write timeout: nothing is left to wait for.
        raise _ResponseEnded

    async def _send_response(
        self, send: ASGISendCallable, response: ResponseTypes
    ) -> None:
        self._streaming = asyncio.current_task()
        if not await send_stream(self.scope, send, response):
            await super()._send_response(send, response)
