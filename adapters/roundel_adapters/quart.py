"""Event streams as Quart-Trio responses."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import final

from quart import Response, request
from quart.wrappers.response import ResponseBody

from roundel import Stream, stream_headers

from .bell import Bell
from .pump import frames


def stream_response(
    stream: Stream,
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
        self, stream: Stream, bell: Bell, within: AbstractContextManager[object]
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
