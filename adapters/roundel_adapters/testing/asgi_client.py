"""A client that calls an ASGI application without a socket, streams included.

It runs on trio and on asyncio, and needs the extra `asgi`. With
`trio.testing.MockClock` a test waits for no heartbeat.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias, final

import attrs

from roundel import Event

from .. import requires_extra
from .event_reader import EventReader
from .messages import RequestHeaders, ResponseHeaders, request_fields

with requires_extra("asgi"):
    from anyio.streams.memory import MemoryObjectReceiveStream

    from .asgi_exchange import AsgiExchange, Body, http_scope
    from .asgi_lifespan import LifespanFailed, run_lifespan

__all__ = [
    "AsgiApp",
    "AsgiClient",
    "AsgiEventStream",
    "AsgiOpenResponse",
    "AsgiResponse",
    "Body",
    "HttpVersion",
    "LifespanFailed",
]

AsgiApp: TypeAlias = Callable[..., Awaitable[object]]
"""An ASGI application of any framework."""

HttpVersion: TypeAlias = Literal["1.0", "1.1", "2", "3"]
"""The version of HTTP that an application sees in its scope."""

_BUFFERED_CHUNKS = 1_000
"""Chunks that an application can send before the test has read one."""


@final
@attrs.frozen
class AsgiResponse:
    """A complete response."""

    status: int
    headers: ResponseHeaders
    body: bytes


@final
@attrs.frozen
class AsgiOpenResponse:
    """A response that is read by chunks; the application waits for each read."""

    status: int
    headers: ResponseHeaders
    _chunks: MemoryObjectReceiveStream[bytes]

    async def next_chunk(self) -> bytes | None:
        """Wait for the next chunk of the body; return `None` at its end."""
        return await anext(self._chunks, None)


@final
@attrs.frozen
class AsgiEventStream:
    """A response whose body is an event stream."""

    status: int
    headers: ResponseHeaders
    _chunks: MemoryObjectReceiveStream[bytes]
    _reader: EventReader = attrs.field(factory=EventReader, init=False)

    @property
    def retry(self) -> int | None:
        """The reconnection time that the stream set, in milliseconds."""
        return self._reader.retry

    @property
    def last_event_id(self) -> str:
        """The id that a reconnecting client presents: of the last event it has read."""
        return self._reader.last_event_id

    async def next_event(self) -> Event | None:
        """Wait for the next event; return `None` at the stream's end."""
        while (event := self._reader.next()) is None:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                return None
            self._reader.receive_data(chunk)
        return event

    def ready_events(self) -> list[Event]:
        """Return the events that have arrived, without waiting."""
        while self._chunks.statistics().current_buffer_used:
            self._reader.receive_data(self._chunks.receive_nowait())
        return self._reader.take_all()


@final
@attrs.frozen
class AsgiClient:
    """Sends requests to an ASGI *app*, each with the given *headers*.

    An exception of the application is raised in the test. *http_version* is what the
    application sees in its scope.
    """

    # Pyright knows no aliases but explicit ones.
    _app: AsgiApp = attrs.field(alias="app")
    _headers: RequestHeaders = attrs.field(factory=dict, alias="headers", kw_only=True)
    _http_version: HttpVersion = attrs.field(
        default="1.1", alias="http_version", kw_only=True
    )
    _state: Mapping[str, object] = attrs.field(
        factory=dict, alias="state", kw_only=True, repr=False
    )

    def with_headers(self, headers: RequestHeaders) -> AsgiClient:
        """Return a client that also sends these *headers*."""
        return attrs.evolve(self, headers={**self._headers, **headers})

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[AsgiClient]:
        """Run the application's startup, and its shutdown when the block is left.

        Yields a client whose requests have the state that the startup has made. Raises
        `LifespanFailed` if the application reports a failure, and its exception if it
        raises one, as an application without a lifespan does.
        """
        async with run_lifespan(self._app) as state:
            yield attrs.evolve(self, state=state)

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
    ) -> AsyncIterator[AsgiExchange]:
        fields = request_fields(self._headers, headers)
        scope = http_scope(method, target, fields, self._http_version, self._state)
        exchange = AsgiExchange(buffered_chunks)
        async with exchange.run(self._app, scope, body):
            yield exchange
