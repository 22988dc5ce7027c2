"""A server for long streams: Hypercorn on trio, with limits and a fast path."""

from __future__ import annotations

from .. import requires_extra

with requires_extra("server"):
    from .limits import ServerCounters, ServerLimits
    from .listeners import Listener, adopt_listener, listen, listen_unix
    from .serve import serve
    from .sockets import BACKLOG

__all__ = [
    "BACKLOG",
    "Listener",
    "ServerCounters",
    "ServerLimits",
    "adopt_listener",
    "listen",
    "listen_unix",
    "serve",
]
