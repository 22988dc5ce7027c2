"""Event streams as Quart responses, on trio (Quart-Trio) and on asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack
from typing import final

import attrs

from roundel import stream_headers

from . import requires_extra
from .drain import Drain
from .driver import EventStream, iter_chunks, wakeup_of
from .live_stream import Lifespan, responding
from .wakeup import Wakeup

with requires_extra("quart"):
    from quart import Response, request
    from quart.wrappers.response import ResponseBody


def stream_response(
    stream: EventStream,
    wakeup: Wakeup | None = None,
    *,
    lifespan: Lifespan | None = None,
    drain: Drain | None = None,
) -> Response:
    """Return *stream* as the response to the current request.

    It ends with the stream or with the peer's disconnect. A stream of `Topics` has its
    own *wakeup* and *drain*. *lifespan* is entered when the body starts and exited when
    it ends. Acquire the stream's resources there and not in the view: Quart never
    starts the body of a response whose peer has already disconnected. `HEAD` gets the
    headers alone, without *lifespan*.
    """
    body = EventStreamBody(
        stream,
        wakeup_of(stream, wakeup),
        responding(stream, wakeup, lifespan=lifespan, drain=drain),
    )
    response = Response(b"" if request.method == "HEAD" else body)
    response.headers.clear()
    response.headers.extend(stream_headers(request.http_version))
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
    _resources: ExitStack = attrs.field(factory=ExitStack, init=False)
    _chunks: AsyncGenerator[bytes, None] = attrs.field(init=False)

    async def __aenter__(self) -> AsyncGenerator[bytes, None]:
        self._resources.enter_context(self.lifespan)
        self._chunks = iter_chunks(self.stream, self.wakeup)
        return self._chunks

    async def __aexit__(self, *exc: object) -> None:
        self._resources.close()
        await self._chunks.aclose()
