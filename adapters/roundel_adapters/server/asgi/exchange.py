"""One request and its application; on HTTP/2, one stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

from hypercorn.config import Config
from hypercorn.protocol.events import Event
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, HTTPScope

from ..dispatcher.handoff import HandOff, Send, advertise, with_hand_off
from .app_task import ReceiveQueue
from .connection_context import ConnectionContext


@final
class HttpExchange:
    """An open request: *send* is called with the parts of its response.

    The application may give an event stream to *hand_off*.
    """

    def __init__(
        self,
        connection: ConnectionContext,
        stream_id: int,
        *,
        send: Callable[[Event], Awaitable[None]],
        receive_queue: ReceiveQueue,
        hand_off: HandOff | None = None,
    ) -> None:
        self._apps = connection.apps
        self._hand_off = hand_off
        self.receive_queue = receive_queue
        self.http: HTTPStream = HTTPStream(
            connection.context.app,
            connection.context.config,
            connection.context.worker_context,
            self,  # type: ignore[arg-type]
            connection.ssl,
            connection.client,
            connection.server,
            send,
            stream_id,
        )

    async def spawn_app(
        self, app: AppWrapper, _: Config, scope: HTTPScope, send: Send
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the application; `HTTPStream` calls it once."""
        # Without this reference cycle, the request needs no garbage collection.
        self.http.task_group = None  # type: ignore[assignment]
        if self._hand_off is not None:
            send = with_hand_off(send, self._hand_off)
            # Hypercorn's wrapper of ASGI applications has the application as `app`.
            advertise(scope, app=getattr(app, "app", app), send=send)
        self._apps.start(app, scope, self.receive_queue, send)
        return self.receive_queue.put
