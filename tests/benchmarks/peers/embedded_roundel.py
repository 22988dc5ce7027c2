"""A bounded log for many readers: resume, limits and a last word, with Roundel.

uvicorn embedded_roundel:app
"""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from roundel import Event, History
from roundel_adapters.starlette import EventStreamResponse, last_event_id
from roundel_adapters.topics import Topics

topics = Topics(lambda name, epoch: History(epoch, capacity=1_000))


async def events(request: Request) -> Response:
    stream = topics.stream(
        "log",
        last_event_id=last_event_id(request),
        hello=lambda resume: Event(resume.outcome, "hello"),
        gap=lambda name, outcome: Event(outcome, "gap"),
    )
    return EventStreamResponse(stream, write_timeout=5.0)


async def publish(request: Request) -> Response:
    data = (await request.body()).decode()
    count, turn = (int(request.query_params[name]) for name in ("count", "turn"))
    for number in range(count):
        topics.publish("log", Event(f"{data} {number}"))
        if number % turn == turn - 1:
            await asyncio.sleep(0)
    return Response(status_code=202)


app = Starlette(
    routes=[Route("/events", events), Route("/publish", publish, methods=["POST"])]
)
