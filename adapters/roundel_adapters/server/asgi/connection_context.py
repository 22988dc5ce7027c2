"""What the HTTP protocols need of one connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, final

import attrs
from hypercorn.events import Event

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

    context: ServerContext
    apps: AppRunner
    send: Callable[[Event], Awaitable[None]]
    receive: Callable[[], Awaitable[bytes]]
    hand_off: HandOff | None
    ssl: bool
    client: Address
    server: Address
