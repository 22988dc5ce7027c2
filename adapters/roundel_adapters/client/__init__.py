"""Event streams as iterators, over httpx2 or httpx: async ones and synchronous ones."""

from __future__ import annotations

from importlib.util import find_spec

from .. import requires_extra
from .errors import StreamEnded
from .event_source import EventSource
from .http_clients import AsyncHttpClient, HttpClient
from .http_source import OnComment, OnState
from .subscriptions import IDLE_TIMEOUT, RETRY_STATUSES, connect, connect_sync

with requires_extra("client"):
    # Either is enough. It is imported by the caller only, which takes 0.1 s.
    if find_spec("httpx2") is None and find_spec("httpx") is None:
        raise ModuleNotFoundError(name="httpx2")

__all__ = [
    "IDLE_TIMEOUT",
    "RETRY_STATUSES",
    "AsyncHttpClient",
    "EventSource",
    "HttpClient",
    "OnComment",
    "OnState",
    "StreamEnded",
    "connect",
    "connect_sync",
]
