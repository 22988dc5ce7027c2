"""Event streams as responses of Starlette and of FastAPI, on asyncio and on trio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from roundel import read_last_event_id, stream_headers

from . import requires_extra
from .asgi import StreamResponse
from .drain import Drain
from .driver import EventStream, wakeup_of
from .live_stream import WRITE_TIMEOUT, Lifespan, replace_headers
from .wakeup import Wakeup

with requires_extra("starlette"):
    from starlette.background import BackgroundTask
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send


class EventStreamResponse(Response):
    """A response with the events of *stream*, for Starlette, FastAPI and Litestar.

    It ends with the stream or with the peer's disconnect, and closes the stream. `HEAD`
    gets the headers alone. The other arguments are those of `StreamResponse`, which
    sends the response. A stream of `Topics` has its own *wakeup* and *drain*.

    Args:
        headers: Headers of the response, as pairs or as a mapping. They replace those
            of `stream_headers()` that have the same name. FastAPI does not add the
            headers and cookies that dependencies set on their `Response` to a response
            that an endpoint returns: pass its `headers` here.
        background: Awaited when the response has ended, also after a disconnect.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        stream: EventStream,
        wakeup: Wakeup | None = None,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        background: BackgroundTask | None = None,
        lifespan: Lifespan | None = None,
        write_timeout: float = WRITE_TIMEOUT,
        drain: Drain | None = None,
        status_code: int = 200,
    ) -> None:
        # Not `Response.__init__()`: it renders a body, and counts its length.
        self.status_code = status_code
        self.body = b""
        self.background = background
        self.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in replace_headers(stream_headers(), headers)
        ]
        self._stream = stream
        self._wakeup = wakeup_of(stream, wakeup)
        self._lifespan = lifespan
        self._write_timeout = write_timeout
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to the request of *scope*, and then run the background task."""
        response = StreamResponse(
            self._stream,
            self._wakeup,
            # Middleware and dependencies may have changed them.
            headers=[
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in self.raw_headers
            ],
            lifespan=self._lifespan,
            write_timeout=self._write_timeout,
            drain=self._drain,
            status_code=self.status_code,
        )
        await response(scope, receive, send)
        if self.background is not None:
            await self.background()


def last_event_id(request: Request) -> str:
    """Return the last event id of *request*, ``""`` if it has none.

    It is the header ``Last-Event-ID``, or else the parameter ``lastEventId`` of the
    query, for clients that cannot set a header. Both are untrusted. As a dependency of
    FastAPI: ``Annotated[str, Depends(last_event_id)]``.
    """
    return read_last_event_id(
        request.headers.get("last-event-id"), request.query_params.get("lastEventId")
    )
