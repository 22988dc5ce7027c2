"""The loop that drives a source over an `AsyncClient`, on trio and on asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, TypeVar, final

import attrs

from roundel import Event, State

from .. import requires_extra
from .http_source import HttpSource

with requires_extra("client"):
    import anyio

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

_MAX_BUFFERED_CHUNKS = 10_000


@final
@attrs.define(eq=False)
class AsyncDriver:
    """Sends the requests of a source, and reports what it receives."""

    _client: httpx2.AsyncClient
    _make_source: Callable[[], HttpSource]
    _source: HttpSource = attrs.field(init=False)

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the events of all connections; raise at the end."""
        # The time of the source is that of the running event loop.
        source = self._source = self._make_source()
        while source.state is not State.CLOSED:
            source.report()
            if source.state is State.WAITING:
                await anyio.sleep_until(source.deadline)
                source.handle_timeout()
                continue
            async with aclosing(self._connection()) as events:
                async for event in events:
                    yield event
        source.report()
        raise source.end

    async def _connection(self) -> AsyncGenerator[Event, None]:
        """Yield the events of one connection."""
        source = self._source
        # The idle timeout bounds the whole wait for a response or for bytes.
        limit = self._client.timeout
        request = source.request(timeout=(limit.connect, None, limit.write, limit.pool))
        response = await self._wait(
            self._client.send(request, stream=True, follow_redirects=True)
        )
        if response is None:
            return
        chunks = response.aiter_bytes()
        try:
            source.receive_response(response)
            while source.state is State.OPEN:
                for event in source.receive_data(await self._wait(anext(chunks, None))):
                    yield event
        finally:
            try:
                await _end(chunks)
            finally:
                # The connection is given up, and so are its errors.
                with suppress(Exception):
                    await response.aclose()

    async def _wait(self, awaitable: Awaitable[T]) -> T | None:
        """Wait for the HTTP library; report its error or a timeout to the source."""
        # The time starts here: a slow caller is no idle connection.
        with anyio.move_on_after(self._source.idle_timeout) as timeout:
            try:
                return await awaitable
            except Exception as error:
                if not self._source.receive_error(error):
                    raise
        if timeout.cancelled_caught:
            self._source.handle_timeout()
        return None


async def _end(chunks: AsyncGenerator[bytes, None]) -> None:
    """End *chunks* and the generators inside it, by a read that is cancelled.

    The HTTP library nests several generators. `aclose()` ends the outermost one only,
    and the garbage collector has to end the others, outside the task.
    """
    with anyio.CancelScope() as scope, suppress(Exception):
        scope.cancel()
        for _ in range(_MAX_BUFFERED_CHUNKS):
            if await anext(chunks, None) is None:
                break
    await chunks.aclose()
