"""The ASGI extension by which an application gives its event stream to the server.

A server that can write frames straight to the socket has `EVENTS` in the scope's
extensions. Behind ``http.response.start`` an application may then send one message of
that type, with the stream as *talker*, its *bell*, and what is held *within* it. With
that its own part is over: the server drives the stream, to its end or the peer's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

from hypercorn.typing import ASGISendEvent, HTTPScope

from ..context import Adopt

EVENTS = "roundel.events"

Send: TypeAlias = Callable[[ASGISendEvent | None], Awaitable[None]]


def offer(scope: HTTPScope) -> None:
    """Tell the application of it; HTTP/1.0 has no chunks, and gets none."""
    if scope["http_version"] == "1.1" and scope["method"] != "HEAD":
        scope["extensions"][EVENTS] = {}


def take(send: Send, adopt: Adopt) -> Send:
    """Return a *send* that knows the message."""

    async def send_or_adopt(event: ASGISendEvent | None) -> None:
        message = cast(dict[str, Any], event or {})
        if message.get("type") != EVENTS:
            await send(event)
            return
        # Hypercorn keeps the head back until there is a body.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        adopt(message["talker"], message["bell"], message["within"])

    return send_or_adopt
