"""An ASGI application with one stream, which other servers run in processes.

It writes to the file LOG when a response's lifespan is exited. NO_DRAIN leaves out the
drain.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import anyio

from roundel import Event, History, Stream
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.drain import Drain
from roundel_adapters.wakeup import Wakeup

from .asgi_apps import app_of

news = History("e", snapshot=Event("start"))
wakeup = Wakeup()
drain = None if "NO_DRAIN" in os.environ else Drain()


@contextmanager
def slot():
    try:
        yield
    finally:
        Path(os.environ["LOG"]).write_text("exited")


@app_of
async def app(scope, receive, send):
    stream = Stream(news, now=anyio.current_time())
    response = StreamResponse(stream, wakeup, lifespan=slot(), drain=drain)
    await response(scope, receive, send)
