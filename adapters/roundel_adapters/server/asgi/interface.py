"""Interfaces between a connection, its HTTP protocol and the ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, final

import attrs
from hypercorn.config import Config
from hypercorn.events import Event
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, Scope

from ..context import ServerContext
from ..dispatcher.handoff import HandOff
from .app_task import AppRunner

Address: TypeAlias = tuple[str, int] | None


@final
@attrs.frozen(kw_only=True)
class ConnectionContext:
    """Holds what a protocol needs of one connection.

    *send* writes bytes and reports the protocol's state; *receive* returns the next
    bytes, or ``b""`` at EOF. *hand_off* gives the socket to an event stream; it is
    `None` where the socket cannot be given away.
    """

    apps: AppRunner
    send: Callable[[Event], Awaitable[None]]
    receive: Callable[[], Awaitable[bytes]]
    hand_off: HandOff | None
    ssl: bool
    client: Address
    server: Address


class HttpProtocol(Protocol):
    """One version of HTTP on one connection."""

    @property
    def is_mid_head(self) -> bool:
        """Whether the peer has sent a part of a request's head."""
        ...

    @property
    def is_unread(self) -> bool:
        """Whether the peer may still be sending a request that was answered."""
        ...

    async def initiate(self) -> None:
        """Send the connection preface, if the protocol has one."""
        ...

    async def handle(self, event: Event) -> None:
        """Handle received bytes (`RawData`) or the end of the connection (`Closed`)."""
        ...


class AppSpawner(Protocol):
    """The part of Hypercorn's task group that `HTTPStream` uses."""

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start *app* and return the function that passes it received events."""
        ...


def http_stream(
    server: ServerContext,
    connection: ConnectionContext,
    spawner: AppSpawner,
    send: Callable[[StreamEvent], Awaitable[None]],
    stream_id: int,
) -> HTTPStream:
    """Create Hypercorn's state machine of one request and its response."""
    return HTTPStream(
        server.app,
        server.config,
        server.worker_context,
        spawner,  # type: ignore[arg-type]
        connection.ssl,
        connection.client,
        connection.server,
        send,
        stream_id,
    )
