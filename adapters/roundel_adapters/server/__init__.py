"""Hypercorn on trio, made safe and fast for long streams."""

from __future__ import annotations

from .limits import ServerCounters, ServerLimits
from .listeners import BACKLOG, Listener, listen
from .serve import serve

__all__ = ["BACKLOG", "Listener", "ServerCounters", "ServerLimits", "listen", "serve"]
