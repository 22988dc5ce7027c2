"""Event streams as async iterators, over httpx2, on trio and on asyncio."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import final

import anyio
import httpx2

from roundel import Event, Source, State

IDLE_TIMEOUT = 60.0
"""Seconds without a byte after which a connection is lost; the service pings at 25."""


@final
class StreamEnded(Exception):  # noqa: N818, an end is an error only if unexpected
    """The stream has ended and the client does not reconnect; the message says why."""


async def connect(
    client: httpx2.AsyncClient,
    url: str,
    *,
    headers: Callable[[], Mapping[str, str]] = dict,
    last_event_id: str = "",
    idle_timeout: float = IDLE_TIMEOUT,
) -> AsyncIterator[Event]:
    """Yield the events of *url*, over any number of connections.

    It behaves as an EventSource: after a lost connection it waits for the server's
    reconnection time and presents its last event id. *headers* is called for each
    connection, because credentials expire. *idle_timeout* is in seconds.

    Raises `StreamEnded` for a final response: any but a 200 with an event stream
    (WHATWG HTML 9.2.3).
    """
    source = Source(
        now=anyio.current_time(), random=random.random, last_event_id=last_event_id
    )
    while source.state is not State.CLOSED:
        if source.state is State.WAITING:
            await anyio.sleep(source.deadline - anyio.current_time())
            source.handle_timeout(anyio.current_time())
            continue
        try:
            request_headers = {**headers(), **dict(source.request_headers())}
            async with client.stream(
                "GET", url, headers=request_headers, timeout=idle_timeout
            ) as response:
                status, fields = response.status_code, response.headers.multi_items()
                source.receive_response(status, fields, now=anyio.current_time())
                chunks = response.aiter_bytes()
                while source.state is State.OPEN:
                    chunk = await anext(chunks, None)
                    if chunk is None:
                        source.receive_eof(now=anyio.current_time())
                        break
                    for event in source.receive_data(chunk, now=anyio.current_time()):
                        yield event
        except httpx2.TransportError:
            source.receive_error(now=anyio.current_time())
    raise StreamEnded(source.reason)
