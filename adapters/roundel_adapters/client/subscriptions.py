"""Subscriptions as iterators, for async tasks and for threads."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, cast

from roundel import Event

from .. import requires_extra
from .async_driver import AsyncDriver
from .cancellation import CancellationToken
from .event_source import EventSource
from .http_clients import AsyncHttpClient, HttpClient
from .http_source import HttpSource, OnComment, OnState, RequestOptions
from .sync_driver import SyncDriver

with requires_extra("client"):
    import anyio

if TYPE_CHECKING:
    import httpx2

IDLE_TIMEOUT = 60.0
"""Seconds without a byte after which a connection is lost; the service pings at 25."""

RETRY_STATUSES = frozenset({502, 503, 504})
"""Statuses that a proxy sends while the server behind it restarts."""


def connect(
    client: AsyncHttpClient,
    url: str,
    *,
    method: str = "GET",
    content: str | bytes | None = None,
    headers: Callable[[], Mapping[str, str]] = dict,
    last_event_id: str = "",
    retry: int = 3_000,
    min_retry: int = 100,
    max_retry: int = 600_000,
    max_backoff: float = 60.0,
    retry_statuses: Collection[int] = RETRY_STATUSES,
    max_event_size: int = 1 << 20,
    idle_timeout: float = IDLE_TIMEOUT,
    on_state: OnState = lambda state, reason, delay: None,
    on_comment: OnComment | None = None,
) -> AsyncGenerator[Event, None]:
    """Return an iterator over the events of *url*, over any number of connections.

    It behaves as an EventSource: after a lost connection it waits for the server's
    reconnection time and presents its last event id. It follows redirects, up to the
    client's limit. Use it in ``async with aclosing(...)`` if you leave its loop early.

    Raises `StreamEnded` for a final response, which is any but a 200 with an event
    stream (WHATWG HTML 9.2.3), and for an event over *max_event_size*. Raises the HTTP
    library's error if a reconnect cannot help: a wrong URL or header, and before the
    first open stream a wrong certificate or a name that does not resolve. Every other
    loss is reported by *on_state*.

    Args:
        client: An `AsyncClient` of httpx2 or httpx.
        url: The URL, or a path if the client has a base URL.
        method: The method of each request.
        content: The body of each request.
        headers: Called for each connection, because credentials expire.
        last_event_id: The id at which to resume.
        retry: Reconnection time in milliseconds, until the server sets another.
        min_retry: Lower bound of the reconnection time in milliseconds.
        max_retry: Upper bound of the reconnection time in milliseconds, and of a
            ``Retry-After``.
        max_backoff: Longest random part of a delay in seconds.
        retry_statuses: Statuses after which it reconnects.
        max_event_size: Longest event in bytes.
        idle_timeout: Seconds without a byte after which a connection is lost.
        on_state: Called with each new state, the reason of the last loss, and the
            seconds until the next request.
        on_comment: Called with each comment, in its order among the events.
    """
    if not hasattr(client, "aclose"):
        raise TypeError(f"expected an AsyncClient, got {client!r}: use connect_sync()")
    http = cast("httpx2.AsyncClient", client)
    make_source = partial(
        HttpSource,
        RequestOptions(http, url, method, content, headers),
        now=anyio.current_time,
        idle_timeout=idle_timeout,
        on_state=on_state,
        on_comment=on_comment,
        last_event_id=last_event_id,
        retry=retry,
        min_retry=min_retry,
        max_retry=max_retry,
        max_backoff=max_backoff,
        retry_statuses=retry_statuses,
        max_event_size=max_event_size,
    )
    return AsyncDriver(http, make_source).events()


def connect_sync(
    client: HttpClient,
    url: str,
    *,
    method: str = "GET",
    content: str | bytes | None = None,
    headers: Callable[[], Mapping[str, str]] = dict,
    last_event_id: str = "",
    retry: int = 3_000,
    min_retry: int = 100,
    max_retry: int = 600_000,
    max_backoff: float = 60.0,
    retry_statuses: Collection[int] = RETRY_STATUSES,
    max_event_size: int = 1 << 20,
    idle_timeout: float = IDLE_TIMEOUT,
    on_state: OnState = lambda state, reason, delay: None,
    on_comment: OnComment | None = None,
) -> EventSource:
    """Return `connect()` for threads and scripts: a synchronous iterator of events.

    Arguments, events and errors are those of `connect()`. *client* is a `Client` of
    httpx2 or httpx. *on_state* and *on_comment* are called in the thread that iterates.
    `EventSource.close()` ends the iterator from any thread.

    The idle timeout is that of a read of the socket. Over HTTP/2 each frame of the
    connection renews it, and `close()` ends the connection for all its requests: use a
    client with ``http2=True`` for one stream only.
    """
    if hasattr(client, "aclose"):
        raise TypeError(f"expected a Client, got {client!r}: use connect()")
    http = cast("httpx2.Client", client)
    make_source = partial(
        HttpSource,
        RequestOptions(http, url, method, content, headers),
        now=time.monotonic,
        idle_timeout=idle_timeout,
        on_state=on_state,
        on_comment=on_comment,
        last_event_id=last_event_id,
        retry=retry,
        min_retry=min_retry,
        max_retry=max_retry,
        max_backoff=max_backoff,
        retry_statuses=retry_statuses,
        max_event_size=max_event_size,
    )
    token = CancellationToken()
    return EventSource(SyncDriver(http, make_source, token).events(), token)
