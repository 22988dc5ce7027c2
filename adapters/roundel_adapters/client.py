"""Event streams as async iterators, over any client with the shape of httpx."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import final

import httpx2
import trio

from roundel import Event, Parser

READ_TIMEOUT = 60.0
"""After how many seconds of silence a peer counts as dead: twice a ping and more."""

DEFAULT_RETRY = 3_000
"""The reconnection time before a server sets one, in milliseconds."""


@final
class StreamEnded(Exception):  # noqa: N818, an end is no error until it is unexpected
    """The server has ended the stream for good, or answered with something else."""


async def connect(
    client: httpx2.AsyncClient,
    url: str,
    *,
    headers: Callable[[], Mapping[str, str]] = dict,
    last_event_id: str = "",
) -> AsyncIterator[Event]:
    """Yield the events of *url*, for as long as it takes, as an EventSource does.

    Whenever the connection ends it is opened again, after the time that the server
    set, and says where it was. *headers* are made anew for each connection, since
    proofs expire. Raises `StreamEnded` for an answer that is no event stream
    (WHATWG HTML 9.2.3: anything but 200 and the right type is final).
    """
    parser = Parser(last_event_id)
    retry = DEFAULT_RETRY
    while True:
        sent = {"Accept": "text/event-stream", **headers()}
        if parser.last_event_id:
            sent["Last-Event-ID"] = parser.last_event_id
        parser = Parser(parser.last_event_id)
        try:
            async with client.stream(
                "GET", url, headers=sent, timeout=READ_TIMEOUT
            ) as response:
                _check(response)
                async for piece in response.aiter_raw():
                    for event in parser.receive_data(piece):
                        yield event
        except httpx2.TransportError:
            pass
        retry = retry if parser.retry is None else parser.retry
        await trio.sleep(max(retry, 100) / 1_000)


def _check(response: httpx2.Response) -> None:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code != 200 or kind != "text/event-stream":
        raise StreamEnded(
            f"expected 200 and text/event-stream, got {response.status_code} and "
            f"{kind or 'no type'}"
        )
