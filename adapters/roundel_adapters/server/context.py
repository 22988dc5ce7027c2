"""What a protocol is given: its server, and its connection to one peer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias, final

import attrs
from hypercorn.config import Config
from hypercorn.events import Event
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    AppWrapper,
    ASGIReceiveEvent,
    ASGISendEvent,
    ConnectionState,
    Scope,
)

from ..driver import EventStream
from ..wakeup import Wakeup
from .asgi.app_task import AppRunner
from .dispatcher.dispatcher import StreamDispatcher
from .fastpath.interface import App
from .limits import ServerCounters, ServerLimits
from .paced_stream import ShutdownDeadline
from .timeouts import TimeoutQueue

Address = tuple[str, int] | None
Adopt: TypeAlias = Callable[[EventStream, Wakeup, AbstractContextManager[object]], None]


@final
@attrs.frozen(kw_only=True)
class ServerContext:
    """What all connections of a server share.

    *short* is the application for the short way, and *board* serves the streams
    whose connections were given to it, where there is one.
    """

    app: AppWrapper
    config: Config
    limits: ServerLimits
    counters: ServerCounters
    context: WorkerContext = attrs.field(factory=lambda: WorkerContext(None))
    shutdown_deadline: ShutdownDeadline = attrs.field(factory=ShutdownDeadline)
    timeouts: TimeoutQueue = attrs.field(factory=TimeoutQueue)
    fastpath: App | None = None
    dispatcher: StreamDispatcher | None = None
    state: dict[str, Any] = attrs.field(factory=dict)

    @property
    def is_draining(self) -> bool:
        """Whether no new request is taken."""
        return self.context.terminated.is_set()

    def connection_state(self) -> ConnectionState:
        """Return what a connection's requests see of the lifespan's state."""
        return ConnectionState(self.state.copy())


@final
@attrs.frozen(kw_only=True)
class ConnectionContext:
    """The way to one peer: *send* bytes and news of the connection, *receive* bytes.

    *adopt* hands the connection over to a stream, where that can be done.
    """

    apps: AppRunner
    send: Callable[[Event], Awaitable[None]]
    receive: Callable[[], Awaitable[bytes]]
    adopt: Adopt | None
    ssl: bool
    client: Address
    server: Address


class HttpProtocol(Protocol):
    """The version of HTTP that a connection speaks."""

    @property
    def is_mid_head(self) -> bool:
        """Whether a request has begun whose head is not complete."""
        ...

    @property
    def is_unread(self) -> bool:
        """Whether the peer is still sending what nobody will read."""
        ...

    async def initiate(self) -> None:
        """Begin."""
        ...

    async def handle(self, event: Event) -> None:
        """Take in bytes, or the end of the connection."""
        ...


class AppSpawner(Protocol):
    """Who starts the application of a request."""

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start it, and return where its request goes."""
        ...


def http_stream(
    server: ServerContext,
    connection: ConnectionContext,
    spawner: AppSpawner,
    send: Callable[[StreamEvent], Awaitable[None]],
    stream_id: int,
) -> HTTPStream:
    """Make Hypercorn's side of a request and its response."""
    return HTTPStream(
        server.app,
        server.config,
        server.context,
        spawner,  # type: ignore[arg-type]
        connection.ssl,
        connection.client,
        connection.server,
        send,
        stream_id,
    )
