"""A client that calls an ASGI application without a socket, streams included.

It runs on trio and on asyncio, and needs the extra `asgi`. With
`trio.testing.MockClock` a test waits for no heartbeat.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias, final
from urllib.parse import unquote

import anyio
import attrs
from anyio import create_memory_object_stream
from anyio.streams.memory import MemoryObjectReceiveStream

from roundel import Event, Parser

if TYPE_CHECKING:
    from hypercorn.typing import Framework

RequestHeaders: TypeAlias = Mapping[str, str | list[str]]
"""Headers of a request; a header with a list is sent once for each value."""

Body: TypeAlias = bytes | AsyncIterable[bytes]
"""Body of a request: bytes, or chunks that are sent as the application reads them."""

_BUFFERED_CHUNKS = 1_000
"""Chunks that an application can send before the test has read one."""


@final
@attrs.frozen
class AsgiResponse:
    """A complete response; the names of *headers* are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@final
@attrs.frozen
class AsgiOpenResponse:
    """A response that is read by chunks; the application waits for each read.

    The names of *headers* are in lower case.
    """

    status: int
    headers: Mapping[str, str]
    _chunks: MemoryObjectReceiveStream[bytes]

    async def next_chunk(self) -> bytes | None:
        """Wait for the next chunk of the body; return `None` at its end."""
        return await anext(self._chunks, None)


@final
@attrs.frozen
class AsgiEventStream:
    """A response whose body is an event stream.

    The names of *headers* are in lower case.
    """

    status: int
    headers: Mapping[str, str]
    _chunks: MemoryObjectReceiveStream[bytes]
    _parser: Parser = attrs.field(factory=Parser, init=False)
    _events: deque[Event] = attrs.field(factory=deque, init=False)

    @property
    def retry(self) -> int | None:
        """The reconnection time that the stream set, in milliseconds."""
        return self._parser.retry

    @property
    def last_event_id(self) -> str:
        """The id that a reconnecting client presents."""
        return self._parser.last_event_id

    async def next_event(self) -> Event | None:
        """Wait for the next event; return `None` at the stream's end."""
        while not self._events:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                return None
            self._events.extend(self._parser.receive_data(chunk))
        return self._events.popleft()

    def ready_events(self) -> list[Event]:
        """Return the events that have arrived, without waiting."""
        while self._chunks.statistics().current_buffer_used:
            chunk = self._chunks.receive_nowait()
            self._events.extend(self._parser.receive_data(chunk))
        ready = list(self._events)
        self._events.clear()
        return ready


@final
@attrs.frozen
class AsgiClient:
    """Sends requests to *app*, each with the given *headers*."""

    _app: Framework
    _headers: RequestHeaders = attrs.field(factory=dict, kw_only=True)

    def with_headers(self, headers: RequestHeaders) -> AsgiClient:
        """Return a client that also sends these *headers*."""
        return AsgiClient(self._app, headers={**self._headers, **headers})

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: RequestHeaders | None = None,
        body: Body = b"",
    ) -> AsgiResponse:
        """Send a request and wait for the complete response."""
        async with self._exchange(method, target, headers, body) as exchange:
            chunks = [chunk async for chunk in exchange.chunks]
            return AsgiResponse(exchange.status, exchange.headers, b"".join(chunks))

    @asynccontextmanager
    async def open(
        self,
        method: str,
        target: str,
        *,
        headers: RequestHeaders | None = None,
        body: Body = b"",
    ) -> AsyncIterator[AsgiOpenResponse]:
        """Send a request while reading its response; leaving the block disconnects."""
        async with self._exchange(method, target, headers, body, 0) as exchange:
            yield AsgiOpenResponse(exchange.status, exchange.headers, exchange.chunks)

    @asynccontextmanager
    async def stream(
        self, target: str, *, headers: RequestHeaders | None = None
    ) -> AsyncIterator[AsgiEventStream]:
        """Open an event stream; leaving the block disconnects."""
        async with self._exchange("GET", target, headers, b"") as exchange:
            yield AsgiEventStream(exchange.status, exchange.headers, exchange.chunks)

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        target: str,
        headers: RequestHeaders | None,
        body: Body,
        buffered_chunks: int = _BUFFERED_CHUNKS,
    ) -> AsyncIterator[_AsgiExchange]:
        exchange = _AsgiExchange(buffered_chunks)
        scope = _scope(method, target, {**self._headers, **(headers or {})})
        with exchange:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(exchange.run, self._app, scope)
                tasks.start_soon(exchange.send_body, body)
                await exchange.started.wait()
                yield exchange
                exchange.disconnect()


@final
class _AsgiExchange:
    """One request and its response, on the server's side of ASGI."""

    def __init__(self, buffered_chunks: int) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.started = anyio.Event()
        self._sending = anyio.CancelScope()
        self._requests, self._received = create_memory_object_stream[dict[str, Any]](0)
        self._sent, self.chunks = create_memory_object_stream[bytes](buffered_chunks)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        for end in (self._requests, self._received, self._sent, self.chunks):
            end.close()

    async def run(self, app: Framework, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)  # type: ignore[arg-type, call-arg, misc]
        finally:
            self._sent.close()
            self.started.set()

    async def send_body(self, body: Body) -> None:
        with self._sending:
            if isinstance(body, bytes):
                await self._requests.send(_request_message(body, more=False))
                return
            chunks = aiter(body)
            try:
                async for chunk in chunks:
                    await self._requests.send(_request_message(chunk, more=True))
            finally:
                if isinstance(chunks, AsyncGenerator):
                    await chunks.aclose()
            await self._requests.send(_request_message(b"", more=False))

    def disconnect(self) -> None:
        self._sending.cancel()
        self._requests.close()
        self.chunks.close()

    async def _receive(self) -> dict[str, Any]:
        return await anext(self._received, {"type": "http.disconnect"})

    async def _send(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {
                name.decode().lower(): value.decode("latin-1")
                for name, value in message["headers"]
            }
            self.started.set()
        elif message["type"] == "http.response.body":
            # After a disconnect the data is lost, as with a socket.
            with suppress(anyio.BrokenResourceError):
                await self._sent.send(message.get("body", b""))
            if not message.get("more_body", False):
                self._sent.close()


def _request_message(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def _scope(method: str, target: str, headers: RequestHeaders) -> dict[str, Any]:
    path, _, query = target.partition("?")
    lowered = {"host": "roundel.test", **{n.lower(): v for n, v in headers.items()}}
    encoded = [
        (name.encode(), value.encode("latin-1"))
        for name, values in lowered.items()
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
        "headers": encoded,
        "client": ("127.0.0.1", 1),
        "server": ("roundel.test", 80),
        "extensions": {},
        "state": {},
    }
