"""Event streams as Flask responses: one thread for each stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from . import requires_extra
from .drain import Drain
from .driver import EventStream
from .live_stream import WRITE_TIMEOUT, Lifespan
from .wakeup import Wakeup
from .wsgi import WsgiBody, wsgi_headers

with requires_extra("flask"):
    from flask import Response, request


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

    It behaves as `roundel_adapters.wsgi.WsgiStreamResponse`, which documents the
    arguments. The functions of the stream, such as *hello*, can use `request`, `g` and
    `session`. Flask's teardown functions run when the view has returned, so that an
    open stream holds no database connection of the view.
    """
    body = WsgiBody(
        request.environ,
        stream,
        wakeup,
        lifespan=lifespan,
        write_timeout=write_timeout,
        drain=drain,
    )
    # The bytes are ready to send; Werkzeug must not collect them.
    response = Response(body, direct_passthrough=True)
    response.headers.clear()
    response.headers.extend(wsgi_headers(headers))
    return response
