"""State that all connections of a server share."""

from __future__ import annotations

from typing import Any, final

import attrs
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState

from .dispatcher.dispatcher import StreamDispatcher
from .limits import ServerCounters, ServerLimits
from .paced_stream import ShutdownDeadline
from .timeouts import IdleConnections, IdleTimeouts
from .work_budget import WorkBudget

HTTP2_WORK = 16
"""Work of all HTTP/2 connections in one turn of the event loop, in units of 20 µs."""


@final
@attrs.frozen(kw_only=True)
class ServerContext:
    """Holds the application, the limits and the shared services of a server.

    *dispatcher* is `None` on systems without epoll. *state* is the ASGI lifespan
    state. *has_plain_http2* says whether HTTP/2 is served without TLS.
    """

    app: AppWrapper
    config: Config
    limits: ServerLimits
    counters: ServerCounters
    worker_context: WorkerContext = attrs.field(factory=lambda: WorkerContext(None))
    shutdown_deadline: ShutdownDeadline = attrs.field(factory=ShutdownDeadline)
    timeouts: IdleTimeouts = attrs.field(factory=IdleTimeouts)
    idle_connections: IdleConnections = attrs.field(factory=IdleConnections)
    dispatcher: StreamDispatcher | None = None
    state: dict[str, Any] = attrs.field(factory=dict)
    has_plain_http2: bool = True
    http2_budget: WorkBudget = attrs.field(factory=lambda: WorkBudget(HTTP2_WORK))

    @property
    def is_draining(self) -> bool:
        """Whether the server rejects new requests."""
        return self.worker_context.terminated.is_set()

    def connection_state(self) -> ConnectionState:
        """Copy the lifespan state for the requests of one connection."""
        return ConnectionState(self.state.copy())
