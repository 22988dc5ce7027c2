"""Tests without sockets: clients of ASGI and WSGI applications.

`AsgiClient` needs the extra ``asgi`` and runs on trio and on asyncio, also in virtual
time. `WsgiClient` needs only the core.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .messages import RequestHeaders, ResponseHeaders
from .wsgi_client import (
    WsgiApp,
    WsgiClient,
    WsgiEventStream,
    WsgiOpenResponse,
    WsgiResponse,
)

if TYPE_CHECKING:
    from .asgi_client import (
        AsgiApp,
        AsgiClient,
        AsgiEventStream,
        AsgiOpenResponse,
        AsgiResponse,
        Body,
        HttpVersion,
        LifespanFailed,
    )
    from .stream_check import STREAM_PROMISES, StreamPromise, check_event_stream
    from .stream_probe import StreamViolation

__all__ = [
    "STREAM_PROMISES",
    "AsgiApp",
    "AsgiClient",
    "AsgiEventStream",
    "AsgiOpenResponse",
    "AsgiResponse",
    "Body",
    "HttpVersion",
    "LifespanFailed",
    "RequestHeaders",
    "ResponseHeaders",
    "StreamPromise",
    "StreamViolation",
    "WsgiApp",
    "WsgiClient",
    "WsgiEventStream",
    "WsgiOpenResponse",
    "WsgiResponse",
    "check_event_stream",
]

_CHECKS = {
    "STREAM_PROMISES",
    "StreamPromise",
    "StreamViolation",
    "check_event_stream",
}


def __getattr__(name: str) -> object:
    # Loaded at the first use, so that the WSGI client needs no anyio.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = ".stream_check" if name in _CHECKS else ".asgi_client"
    return getattr(import_module(module, __name__), name)
