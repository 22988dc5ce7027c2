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

from ..driver import Talker
from ..wakeup import Bell
from .asgi.app_task import Apps
from .dispatcher.dispatcher import Switchboard
from .fastpath.interface import App
from .limits import Counters, Limits
from .paced_stream import LastCall
from .timeouts import Watchman

Address = tuple[str, int] | None
Adopt: TypeAlias = Callable[[Talker, Bell, AbstractContextManager[object]], None]


@final
@attrs.frozen(kw_only=True)
class Site:
    """What all connections of a server share.

    *short* is the application for the short way, and *board* serves the streams
    whose connections were given to it, where there is one.
    """

    app: AppWrapper
    config: Config
    limits: Limits
    counters: Counters
    context: WorkerContext = attrs.field(factory=lambda: WorkerContext(None))
    last_call: LastCall = attrs.field(factory=LastCall)
    watchman: Watchman = attrs.field(factory=Watchman)
    short: App | None = None
    board: Switchboard | None = None
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
class Link:
    """The way to one peer: *send* bytes and news of the connection, *receive* bytes.

    *adopt* hands the connection over to a stream, where that can be done.
    """

    apps: Apps
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


class Starter(Protocol):
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
    site: Site,
    link: Link,
    starter: Starter,
    send: Callable[[StreamEvent], Awaitable[None]],
    stream_id: int,
) -> HTTPStream:
    """Make Hypercorn's side of a request and its response."""
    return HTTPStream(
        site.app,
        site.config,
        site.context,
        starter,  # type: ignore[arg-type]
        link.ssl,
        link.client,
        link.server,
        send,
        stream_id,
    )
