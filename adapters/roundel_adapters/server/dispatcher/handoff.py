"""The ASGI extension by which an application hands its event stream to the server.

A server that can write a stream straight to the socket lists `EXTENSION` in the
scope's extensions. After ``http.response.start`` the application may send one message
of that type, with its `stream`, the stream's `wakeup`, and the `lifespan` context
manager that is entered for the length of the stream. The server drives the stream from
then on, and the application returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias, cast

from hypercorn.typing import ASGISendEvent, HTTPScope

from ...driver import EventStream
from ...wakeup import Wakeup

EXTENSION = "roundel.events"

Send: TypeAlias = Callable[[ASGISendEvent | None], Awaitable[None]]
HandOff: TypeAlias = Callable[
    [EventStream, Wakeup, AbstractContextManager[object]], None
]


def advertise(scope: HTTPScope) -> None:
    """Add the extension to *scope*, unless the response cannot be chunked.

    HTTP/1.0 has no chunked bodies, and a response to HEAD has no body.
    """
    if scope["http_version"] == "1.1" and scope["method"] != "HEAD":
        scope["extensions"][EXTENSION] = {}


def with_hand_off(send: Send, hand_off: HandOff) -> Send:
    """Wrap *send* so that the extension's message calls *hand_off*."""

    async def send_or_hand_off(event: ASGISendEvent | None) -> None:
        message = cast(dict[str, Any], event or {})
        if message.get("type") != EXTENSION:
            await send(event)
            return
        # Hypercorn sends the head together with the first part of the body.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        hand_off(message["stream"], message["wakeup"], message["lifespan"])

    return send_or_hand_off
