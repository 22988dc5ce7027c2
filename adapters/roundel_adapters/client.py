"""Event streams as async iterators, over httpx2, on trio and on asyncio."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import final

import anyio
import httpx2

from roundel import Event, Source, State

IDLE_TIMEOUT = 60.0
"""After how many seconds without a byte a peer is taken for dead: two pings' time."""


@final
class StreamEnded(Exception):  # noqa: N818, an end is no error until it is unexpected
    """The stream is over for good; the message says why."""


async def connect(
    client: httpx2.AsyncClient,
    url: str,
    *,
    headers: Callable[[], Mapping[str, str]] = dict,
    last_event_id: str = "",
    idle_timeout: float = IDLE_TIMEOUT,
) -> AsyncIterator[Event]:
    """Yield the events of *url*, over as many connections as it takes.

    It goes on as an EventSource does: whenever the connection ends it comes back,
    after the time that the server set, and says where it was. *headers* are made anew
    for each connection, since proofs expire. After *idle_timeout* seconds without a
    byte the connection counts as lost.

    Raises `StreamEnded` for an answer that is final: anything but 200 and an event
    stream (WHATWG HTML 9.2.3).
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
            sent = {**headers(), **dict(source.request_headers())}
            async with client.stream(
                "GET", url, headers=sent, timeout=idle_timeout
            ) as response:
                async for events in _connection(source, response):
                    for event in events:
                        yield event
        except httpx2.TransportError:
            source.receive_error(now=anyio.current_time())
    raise StreamEnded(source.reason)


async def _connection(
    source: Source, response: httpx2.Response
) -> AsyncIterator[list[Event]]:
    """Tell *source* of one connection, from the head to the end."""
    fields = response.headers.multi_items()
    source.receive_response(response.status_code, fields, now=anyio.current_time())
    pieces = response.aiter_bytes()
    while source.state is State.OPEN:
        piece = await anext(pieces, None)
        if piece is None:
            source.receive_eof(now=anyio.current_time())
        else:
            yield source.receive_data(piece, now=anyio.current_time())
