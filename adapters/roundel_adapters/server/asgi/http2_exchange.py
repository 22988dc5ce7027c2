"""One HTTP/2 stream: a request, its application and its state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

from h2.events import RequestReceived
from hypercorn.config import Config
from hypercorn.protocol.events import Event, Request
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import (
    AppWrapper,
    ASGIReceiveEvent,
    ASGISendEvent,
    ConnectionState,
    Scope,
)
from hypercorn.utils import filter_pseudo_headers

from ..context import ServerContext
from .app_task import OnReceived, ReceiveQueue
from .connection_context import ConnectionContext


@final
class Http2Exchange:
    """An open stream.

    *on_received* is called with the number of body bytes the application received.
    """

    def __init__(
        self,
        server: ServerContext,
        connection: ConnectionContext,
        stream_id: int,
        *,
        send: Callable[[Event], Awaitable[None]],
        on_received: OnReceived,
    ) -> None:
        self._apps = connection.apps
        self.receive_queue = ReceiveQueue(on_received=on_received)
        self.is_request_complete = False
        """Whether the client has sent the whole request."""
        self.is_response_complete = False
        """Whether the application has sent the whole response."""
        self.http = HTTPStream(
            server.app,
            server.config,
            server.worker_context,
            self,  # type: ignore[arg-type]
            connection.ssl,
            connection.client,
            connection.server,
            send,
            stream_id,
        )

    async def spawn_app(
        self,
        app: AppWrapper,
        _: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the application of a request; `HTTPStream` calls it."""
        self._apps.start(app, scope, self.receive_queue, send)
        return self.receive_queue.put


def decode_request(event: RequestReceived, state: ConnectionState) -> Request | None:
    """Return the request of *event*, or `None` if ASGI cannot represent it."""
    fields = [(bytes(name), bytes(value)) for name, value in event.headers]
    pseudo = {name: value for name, value in fields if name.startswith(b":")}
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    # A CONNECT request has no path.
    if not (method.isascii() and path.isascii() and path):
        return None
    return Request(
        stream_id=event.stream_id,
        headers=filter_pseudo_headers(fields),
        http_version="2",
        method=method.decode("ascii").upper(),
        raw_path=path,
        state=state,
    )
