"""Drive an ASGI application without a socket, streams included.

Requests go straight into the application, bodies come back as they are sent, and a
test with `trio.testing.MockClock` waits for no second of a heartbeat.
"""

from __future__ import annotations

from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Mapping,
)
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeAlias, final
from urllib.parse import unquote

import attrs
import trio
from hypercorn.typing import Framework

from roundel import Event, Parser

ResponseHeaders: TypeAlias = Mapping[str, str]

RequestHeaders: TypeAlias = Mapping[str, str | list[str]]
"""What a request is headed by; a field with a list is sent once for each value."""

Body: TypeAlias = bytes | AsyncIterable[bytes]
"""The body of a request, whole or in pieces that are sent as the server takes them."""

_AHEAD = 1_000


@final
@attrs.frozen
class AsgiResponse:
    """A response that is over; the names of *headers* are in lower case."""

    status: int
    headers: ResponseHeaders
    body: bytes


@final
class AsgiOpenResponse:
    """A response that is read piece by piece; nothing is taken before it is read."""

    def __init__(self, exchange: _AsgiExchange) -> None:
        self._exchange = exchange

    @property
    def status(self) -> int:
        """The status of the response."""
        return self._exchange.status

    @property
    def headers(self) -> ResponseHeaders:
        """The header of the response, names in lower case."""
        return self._exchange.headers

    async def next_chunk(self) -> bytes | None:
        """Wait for the next piece of the body; `None` when it has ended."""
        return await self._exchange.next_chunk()


@final
class AsgiEventStream:
    """A response whose body is an event stream that goes on."""

    def __init__(self, exchange: _AsgiExchange) -> None:
        self._exchange = exchange
        self._parser = Parser()
        self._events: deque[Event] = deque()

    @property
    def status(self) -> int:
        """The status of the response."""
        return self._exchange.status

    @property
    def headers(self) -> ResponseHeaders:
        """The header of the response, names in lower case."""
        return self._exchange.headers

    @property
    def retry(self) -> int | None:
        """The reconnection time that the stream has set, in milliseconds."""
        return self._parser.retry

    @property
    def last_event_id(self) -> str:
        """What a client would present when it came back now."""
        return self._parser.last_event_id

    async def next_event(self) -> Event | None:
        """Wait for the next event; `None` when the stream has ended."""
        while not self._events:
            piece = await self._exchange.next_chunk()
            if piece is None:
                return None
            self._events.extend(self._parser.receive_data(piece))
        return self._events.popleft()

    def ready_events(self) -> list[Event]:
        """Return the events that have come already, without waiting."""
        for piece in self._exchange.ready_chunks():
            self._events.extend(self._parser.receive_data(piece))
        ready = list(self._events)
        self._events.clear()
        return ready


@final
class AsgiClient:
    """Sends requests to *app*; *headers* go with each of them."""

    def __init__(
        self, app: Framework, *, headers: RequestHeaders | None = None
    ) -> None:
        self._app = app
        self._headers = dict(headers or {})

    def __call__(self, headers: RequestHeaders) -> AsgiClient:
        """Return a client that sends these *headers* too."""
        return AsgiClient(self._app, headers={**self._headers, **headers})

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: RequestHeaders | None = None,
        body: Body = b"",
    ) -> AsgiResponse:
        """Send a request and wait for the whole answer."""
        async with self._exchange(method, target, headers, body) as exchange:
            pieces = [piece async for piece in exchange]
            return AsgiResponse(exchange.status, exchange.headers, b"".join(pieces))

    @asynccontextmanager
    async def open(
        self,
        method: str,
        target: str,
        *,
        headers: RequestHeaders | None = None,
        body: Body = b"",
    ) -> AsyncIterator[AsgiOpenResponse]:
        """Send a request while its answer is read; leaving the block disconnects."""
        async with self._exchange(method, target, headers, body, ahead=0) as exchange:
            yield AsgiOpenResponse(exchange)

    @asynccontextmanager
    async def stream(
        self, target: str, *, headers: RequestHeaders | None = None
    ) -> AsyncIterator[AsgiEventStream]:
        """Open an event stream; leaving the block is the peer's disconnect."""
        async with self._exchange("GET", target, headers, b"") as exchange:
            yield AsgiEventStream(exchange)

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        target: str,
        headers: RequestHeaders | None,
        body: Body,
        ahead: int = _AHEAD,
    ) -> AsyncIterator[_AsgiExchange]:
        exchange = _AsgiExchange(ahead)
        scope = _scope(method, target, {**self._headers, **(headers or {})})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(exchange.run, self._app, scope))
            nursery.start_soon(exchange.send_body, body)
            await exchange.started.wait()
            yield exchange
            exchange.disconnect()


@final
class _AsgiExchange:
    """One request and its response, from the server's side of ASGI.

    The application can be *ahead* of who reads its answer by so many pieces.
    """

    def __init__(self, ahead: int) -> None:
        self.status = 0
        self.headers: ResponseHeaders = {}
        self.started = trio.Event()
        self._sending = trio.CancelScope()
        self._requests, self._received = trio.open_memory_channel[dict[str, Any]](0)
        self._sender, self._pieces = trio.open_memory_channel[bytes](ahead)

    async def run(self, app: Framework, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)  # type: ignore[arg-type, call-arg, misc]
        finally:
            self._sender.close()
            self.started.set()

    async def send_body(self, body: Body) -> None:
        with self._sending:
            if isinstance(body, bytes):
                await self._requests.send(_request(body, more=False))
                return
            pieces = aiter(body)
            try:
                async for piece in pieces:
                    await self._requests.send(_request(piece, more=True))
            finally:
                if isinstance(pieces, AsyncGenerator):
                    await pieces.aclose()
            await self._requests.send(_request(b"", more=False))

    def disconnect(self) -> None:
        self._sending.cancel()
        self._requests.close()
        self._pieces.close()

    async def _receive(self) -> dict[str, Any]:
        try:
            return await self._received.receive()
        except trio.EndOfChannel:
            return {"type": "http.disconnect"}

    async def _send(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = _decoded(message["headers"])
            self.started.set()
        elif message["type"] == "http.response.body":
            # As with a socket, what is sent to a peer that is gone is lost.
            with suppress(trio.BrokenResourceError):
                await self._sender.send(message.get("body", b""))
            if not message.get("more_body", False):
                self._sender.close()

    async def next_chunk(self) -> bytes | None:
        try:
            return await self._pieces.receive()
        except trio.EndOfChannel:
            return None

    def ready_chunks(self) -> list[bytes]:
        pieces: list[bytes] = []
        while self._pieces.statistics().current_buffer_used:
            pieces.append(self._pieces.receive_nowait())
        return pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            yield piece


def _request(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> ResponseHeaders:
    return {name.decode().lower(): value.decode("latin-1") for name, value in headers}


def _scope(method: str, target: str, headers: RequestHeaders) -> dict[str, Any]:
    path, _, query = target.partition("?")
    fields = {"host": "roundel.test", **{n.lower(): v for n, v in headers.items()}}
    lines = [
        (name.encode(), value.encode("latin-1"))
        for name, values in fields.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": lines,
        "client": ("127.0.0.1", 1),
        "server": ("roundel.test", 80),
        "extensions": {},
        "state": {},
    }
