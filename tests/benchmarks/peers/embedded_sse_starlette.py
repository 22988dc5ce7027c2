"""A bounded log for many readers: resume, limits and a last word, with sse-starlette.

uvicorn embedded_sse_starlette:app

It follows the README of sse-starlette: a memory channel a stream, filled by a
`data_sender_callable`, a `send_timeout`, and cooperative shutdown. The README has no
replay; here it is a ring that the streams share.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from functools import partial
from itertools import islice
from random import randrange

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

EPOCH = f"{randrange(1 << 48):x}"
CAPACITY = 1_000

Channel = MemoryObjectSendStream[ServerSentEvent]

ring: deque[ServerSentEvent] = deque(maxlen=CAPACITY)
channels: set[Channel] = set()
published = 0


def missed_after(given: str | None) -> tuple[str, list[ServerSentEvent]]:
    """Return how a reader is resumed, and the events that it misses."""
    if not given:
        return "snapshot", []
    epoch, _, offset = given.partition(".")
    if epoch != EPOCH or not offset.isdecimal() or int(offset) > published:
        return "reset", []
    count = published - int(offset)
    if count > len(ring):
        return "snapshot", []
    return "replayed", list(islice(ring, len(ring) - count, None))


async def send_events(
    channel: Channel, given: str | None, shutdown: anyio.Event
) -> None:
    outcome, missed = missed_after(given)
    async with channel:
        # The buffer has room for the ring, so that none of this waits.
        channel.send_nowait(ServerSentEvent(outcome, event="hello"))
        for event in missed:
            channel.send_nowait(event)
        channels.add(channel)
        try:
            await shutdown.wait()
            bye = json.dumps({"reason": "drain"})
            retry = randrange(5_000, 10_000)
            await channel.send(ServerSentEvent(bye, event="bye", retry=retry))
        finally:
            channels.discard(channel)


async def events(request: Request) -> Response:
    shutdown = anyio.Event()
    channel, received = anyio.create_memory_object_stream[ServerSentEvent](CAPACITY + 1)
    given = request.headers.get("last-event-id")
    return EventSourceResponse(
        received,
        data_sender_callable=partial(send_events, channel, given, shutdown),
        send_timeout=5.0,
        shutdown_event=shutdown,
        shutdown_grace_period=1.0,
    )


async def publish(request: Request) -> Response:
    global published
    data = (await request.body()).decode()
    count, turn = (int(request.query_params[name]) for name in ("count", "turn"))
    for number in range(count):
        published += 1
        event = ServerSentEvent(f"{data} {number}", id=f"{EPOCH}.{published}")
        ring.append(event)
        for channel in list(channels):
            try:
                channel.send_nowait(event)
            except (anyio.WouldBlock, anyio.BrokenResourceError):
                # The reader is too slow. It reconnects, and resumes from the ring.
                channels.discard(channel)
                channel.close()
        if number % turn == turn - 1:
            await asyncio.sleep(0)
    return Response(status_code=202)


app = Starlette(
    routes=[Route("/events", events), Route("/publish", publish, methods=["POST"])]
)
