"""Event streams as Quart responses, on trio (Quart-Trio) and on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import ExitStack, suppress
from math import inf
from types import TracebackType
from typing import final

import attrs

from roundel import stream_headers

from . import requires_extra
from .drain import Drain
from .driver import EventStream, iter_chunks, wakeup_of
from .live_stream import ContextStream, Lifespan, replace_headers, responding
from .wakeup import Wakeup

with requires_extra("quart"):
    from quart import Response, request
    from quart.wrappers.response import ResponseBody

WRITE_TIMEOUT = 30.0
"""Default timeout of one write in seconds."""


def stream_response(
    stream: EventStream,
    wakeup: Wakeup | None = None,
    *,
    headers: Iterable[tuple[str, str]] = (),
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
        responding(stream, wakeup, lifespan=lifespan, drain=drain),
        write_timeout,
    )
    response = Response(b"" if request.method == "HEAD" else body)
    response.headers.clear()
    response.headers.extend(
        replace_headers(stream_headers(request.http_version), headers)
    )
    # The default is RESPONSE_TIMEOUT, 60 s.
    response.timeout = None
    return response


@final
@attrs.define(eq=False)
class EventStreamBody(ResponseBody):
    """The body of an event stream; *lifespan* closes the stream at its end."""

    stream: EventStream
    wakeup: Wakeup
    lifespan: Lifespan
    write_timeout: float = WRITE_TIMEOUT
    _resources: ExitStack = attrs.field(factory=ExitStack, init=False)
    _timeout: asyncio.Timeout | None = attrs.field(default=None, init=False)
    _chunks: AsyncGenerator[bytes, None] = attrs.field(init=False)

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
            # It raises a TimeoutError, which Quart expects of a response.
            await self._timeout.__aexit__(exc_type, exc, traceback)

    async def _timed_chunks(
        self, limit: asyncio.Timeout
    ) -> AsyncGenerator[bytes, None]:
        """Yield the chunks, and limit the time until the next one is asked for."""
        loop = asyncio.get_running_loop()
        async for chunk in self._chunks:
            limit.reschedule(loop.time() + self.write_timeout)
            yield chunk
            limit.reschedule(None)
