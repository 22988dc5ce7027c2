"""One request and the application that answers it, as tasks."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import final

import trio
from hypercorn.typing import (
    AppWrapper,
    ASGIReceiveEvent,
    ASGISendEvent,
    HTTPRequestEvent,
    Scope,
)

log = logging.getLogger("roundel_adapters.server")

Send = Callable[[ASGISendEvent | None], Awaitable[None]]
OnReceived = Callable[[int], Awaitable[None]]


@final
class ReceiveQueue:
    """What has come of a request and has not been received by its application.

    Whoever puts into it waits while more than *limit* bytes are there; the end of
    the peer or of the exchange never waits, and frees who does. *taken* is told how
    many bytes the application has received. Stock Hypercorn has a queue of ten
    messages here: an application that does not read its request then keeps the
    connection from noticing anything, even its own end.
    """

    def __init__(
        self, *, limit: float = math.inf, on_received: OnReceived | None = None
    ) -> None:
        self._limit = limit
        self._taken = on_received
        self._body = bytearray()
        self._is_whole = self._is_told = self._is_over = False
        self._changed = trio.lowlevel.ParkingLot()

    async def put(self, event: ASGIReceiveEvent) -> None:
        """Add what has come; for bodies, wait until there is room for more."""
        if event["type"] == "http.request":
            self._body += event["body"]
            self._is_whole = not event["more_body"]
        else:
            self._is_over = True
        self._changed.unpark_all()
        while len(self._body) > self._limit and not self._is_over:
            await self._changed.park()

    def discard(self) -> int:
        """Forget what has not been received, and return how many bytes that was."""
        size = len(self._body)
        self._body.clear()
        self._is_told = True
        return size

    async def receive(self) -> ASGIReceiveEvent:
        """Wait for the next message to the application."""
        while not self._is_told:
            if self._body or self._is_whole:
                return await self._next_piece()
            if self._is_over:
                break
            await self._changed.park()
        while not self._is_over:
            await self._changed.park()
        # An application may ask for ever.
        await trio.lowlevel.checkpoint()
        return {"type": "http.disconnect"}

    async def _next_piece(self) -> HTTPRequestEvent:
        body = bytes(self._body)
        self._body.clear()
        self._is_told = self._is_whole
        self._changed.unpark_all()
        if body and self._taken is not None:
            await self._taken(len(body))
        return {"type": "http.request", "body": body, "more_body": not self._is_told}


@final
class AppRunner:
    """The applications that run for one connection."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.running = 0

    def start(
        self, app: AppWrapper, scope: Scope, receive_queue: ReceiveQueue, send: Send
    ) -> None:
        """Run *app* for a request; *send* gets `None` when it has ended."""
        self.running += 1
        self._nursery.start_soon(self._run, app, scope, receive_queue, send)

    async def _run(
        self, app: AppWrapper, scope: Scope, receive_queue: ReceiveQueue, send: Send
    ) -> None:
        to_thread, from_thread = trio.to_thread.run_sync, trio.from_thread.run
        try:
            await app(scope, receive_queue.receive, send, to_thread, from_thread)
        except* trio.Cancelled:
            raise
        except* Exception:
            log.exception("an application failed")
        finally:
            self.running -= 1
            await send(None)
