"""The ASGI extension by which an application hands its event stream to the server.

A server that can write a stream straight to the socket lists `EXTENSION` in the
scope's extensions, with the *app* that it calls and the *send* that it gives to it.
After ``http.response.start`` the application may send one message of that type, with
its `stream`, the stream's `wakeup`, and the `lifespan` context manager that is entered
for the length of the stream. The server drives the stream from then on, and the
application returns.

Only an application without middleware may do so (`is_direct()`). Middleware that wraps
*send* cannot know the message: it drops the message or fails. Middleware that wraps the
application alone, such as a tracing span, would end at the hand-off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
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


def advertise(scope: HTTPScope, *, app: object, send: Send) -> None:
    """Add the extension to *scope*, unless the response cannot be chunked.

    HTTP/1.0 has no chunked bodies, and a response to HEAD has no body.
    """
    if scope["http_version"] == "1.1" and scope["method"] != "HEAD":
        scope["extensions"][EXTENSION] = {"app": app, "send": send}


def is_direct(scope: Mapping[str, Any], *, app: object, send: object) -> bool:
    """Return whether the server calls *app* itself, and *send* is the server's own."""
    extension = (scope.get("extensions") or {}).get(EXTENSION)
    if extension is None:
        return False
    return extension["app"] is app and extension["send"] is send


def forward(scope: Mapping[str, Any], *, wrapper: object, app: object) -> None:
    """Let *app* hand off its streams, called by *wrapper* with the same arguments."""
    extension = (scope.get("extensions") or {}).get(EXTENSION)
    if extension is not None and extension["app"] is wrapper:
        extension["app"] = app


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
