"""Binary data on a stream, as base64: a sound wave on a canvas, with Starlette.

uvicorn --app-dir docs/examples binary_samples:app --port 8000
hypercorn -w 0 -b 127.0.0.1:8000 docs/examples/binary_samples.py
granian --interface asgi --working-dir docs/examples --port 8000 binary_samples:app
"""

import math
from base64 import b64encode
from contextlib import asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from roundel import Event, History
from roundel_adapters.starlette import EventStreamResponse, last_event_id
from roundel_adapters.topics import Topics

HTML = """<!doctype html>
<title>Samples</title>
<link rel="icon" href="data:,">
<canvas id="plot" width="256" height="256"></canvas>
<script>
  const draw = ({ data }) => {
    const samples = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    const plane = plot.getContext("2d");
    plane.fillStyle = "#b3261e";
    plane.clearRect(0, 0, 256, 256);
    samples.forEach((sample, x) => plane.fillRect(x, 255 - sample, 2, 2));
    plot.dataset.samples = samples.length;
  };
  new EventSource("/events").addEventListener("samples", draw);
</script>
"""

topics = Topics(lambda name, epoch: History(epoch, capacity=0))


def binary_event(data: bytes, event_type: str) -> Event:
    """Return an event with *data* as base64: an event stream is UTF-8 text."""
    return Event(b64encode(data).decode("ascii"), event_type)


async def play():
    shift = 0.0
    while True:
        samples = bytes(int(128 + 127 * math.sin(x / 20 + shift)) for x in range(256))
        topics.publish("wave", binary_event(samples, "samples"))
        shift += 0.2
        await anyio.sleep(0.1)


async def page(request):
    return HTMLResponse(HTML)


async def events(request):
    return EventStreamResponse(
        topics.stream("wave", last_event_id=last_event_id(request))
    )


@asynccontextmanager
async def lifespan(app):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(play)
        yield
        tasks.cancel_scope.cancel()


app = Starlette(routes=[Route("/", page), Route("/events", events)], lifespan=lifespan)
