"""Runs the ASGI application of a request in a task, and queues what it receives."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TypeAlias, final

import trio
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, HTTPRequestEvent, Scope

from ..dispatcher.handoff import Send

log: logging.Logger = logging.getLogger("roundel_adapters.server")

OnReceived: TypeAlias = Callable[[int], Awaitable[None]]


@final
class ReceiveQueue:
    """Holds the part of a request that the application has not received.

    `put()` of a body waits while the queue holds more than *limit* bytes. The end of
    the connection or of the exchange does not wait, and wakes a waiting `put()`.
    *on_received* is called with the number of bytes that the application received.

    Hypercorn's queue holds ten messages of any size. If an application does not read
    them, the connection reads no more and does not notice its own end.
    """

    def __init__(
        self, *, limit: float = math.inf, on_received: OnReceived | None = None
    ) -> None:
        self._limit = limit
        self._on_received = on_received
        self._body = bytearray()
        self._is_consumed = False
        self.is_disconnected: bool = False
        """Whether the exchange or the connection has ended."""
        self.is_complete: bool = False
        """Whether the client has sent the whole request."""
        self._changed = trio.lowlevel.ParkingLot()

    async def put(self, event: ASGIReceiveEvent) -> None:
        """Add an event; after a part of a body, wait until there is room for more."""
        if event["type"] == "http.request":
            self._body += event["body"]
            self.is_complete = not event["more_body"]
        else:
            self.is_disconnected = True
        self._changed.unpark_all()
        while len(self._body) > self._limit and not self.is_disconnected:
            await self._changed.park()

    def discard(self) -> int:
        """Discard the rest of the body; return the number of discarded bytes."""
        size = len(self._body)
        self._body.clear()
        self._is_consumed = True
        return size

    async def receive(self) -> ASGIReceiveEvent:
        """Wait for the application's next event."""
        while not self._is_consumed:
            if self._body or self.is_complete:
                return await self._next_body_part()
            if self.is_disconnected:
                break
            await self._changed.park()
        while not self.is_disconnected:
            await self._changed.park()
        # An application that loops after a disconnect must let other tasks run.
        await trio.lowlevel.checkpoint()
        return {"type": "http.disconnect"}

    async def _next_body_part(self) -> HTTPRequestEvent:
        body = bytes(self._body)
        self._body.clear()
        self._is_consumed = self.is_complete
        self._changed.unpark_all()
        if body and self._on_received is not None:
            await self._on_received(len(body))
        more_body = not self._is_consumed
        return {"type": "http.request", "body": body, "more_body": more_body}


@final
class AppRunner:
    """Runs the applications of one connection."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.running: set[ReceiveQueue] = set()
        """The queues of the applications that run."""

    def start(
        self, app: AppWrapper, scope: Scope, receive_queue: ReceiveQueue, send: Send
    ) -> None:
        """Run *app* for a request; *send* is called with `None` when it has ended."""
        self.running.add(receive_queue)
        self._nursery.start_soon(self._run, app, scope, receive_queue, send)

    async def _run(
        self, app: AppWrapper, scope: Scope, receive_queue: ReceiveQueue, send: Send
    ) -> None:
        threads = trio.to_thread.run_sync, trio.from_thread.run
        try:
            # A client that is gone already needs no application.
            if receive_queue.is_disconnected:
                return
            await app(scope, receive_queue.receive, send, *threads)
        except* Exception:
            log.exception("application failed")
        finally:
            self.running.discard(receive_queue)
            await send(None)
