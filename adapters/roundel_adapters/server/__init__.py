"""A server for long streams: Hypercorn on trio, with limits and a fast path."""

from __future__ import annotations

from .limits import ServerCounters, ServerLimits
from .listeners import BACKLOG, Listener, adopt_listener, listen, listen_unix
from .serve import serve

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
