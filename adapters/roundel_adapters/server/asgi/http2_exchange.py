"""One HTTP/2 stream: a request, its application and how far both are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

from h2.events import RequestReceived
from hypercorn.config import Config
from hypercorn.protocol.events import Event, Request
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
from .interface import ConnectionContext, http_stream


@final
class Http2Exchange:
    """A stream that is open; *taken* hears what its application has received."""

    def __init__(
        self,
        site: ServerContext,
        link: ConnectionContext,
        stream_id: int,
        *,
        send: Callable[[Event], Awaitable[None]],
        taken: OnReceived,
    ) -> None:
        self._apps = link.apps
        self.inbox = ReceiveQueue(taken=taken)
        self.is_asked = False
        """Whether the peer has sent the whole request."""
        self.is_answered = False
        """Whether the whole response has been sent."""
        self.http = http_stream(site, link, self, send, stream_id)

    async def spawn_app(
        self,
        app: AppWrapper,
        _: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the application of the request, as `HTTPStream` asks for it."""
        self._apps.start(app, scope, self.inbox, send)
        return self.inbox.put


def request_of(event: RequestReceived, state: ConnectionState) -> Request | None:
    """Return the request that *event* begins, or `None` if it cannot be served."""
    fields = [(bytes(name), bytes(value)) for name, value in event.headers]
    pseudo = {name: value for name, value in fields if name.startswith(b":")}
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    # A CONNECT has no path, and ASGI has no way to pass one on.
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
