"""A server for long streams: Hypercorn on trio, with limits and a fast path."""

from __future__ import annotations

from .limits import ServerCounters, ServerLimits
from .listeners import BACKLOG, Listener, listen
from .serve import serve

__all__ = ["BACKLOG", "Listener", "ServerCounters", "ServerLimits", "listen", "serve"]
