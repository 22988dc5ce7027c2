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

__all__ = [
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
    "WsgiApp",
    "WsgiClient",
    "WsgiEventStream",
    "WsgiOpenResponse",
    "WsgiResponse",
]


def __getattr__(name: str) -> object:
    # Loaded at the first use, so that the WSGI client needs no anyio.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".asgi_client", __name__), name)
