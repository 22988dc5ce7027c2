"""The loop that drives a `Source` over an HTTP library, on trio and on asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from email.utils import formatdate
from typing import TYPE_CHECKING, TypeAlias, TypeVar, final

import attrs

from roundel import Event, Source, State

from .. import requires_extra
from .errors import StreamEnded, describe, is_loss, rejected_response

with requires_extra("client"):
    import anyio

if TYPE_CHECKING:
    import httpx2

OnState: TypeAlias = Callable[[State, str, float], object]
OnComment: TypeAlias = Callable[[str], object]
T = TypeVar("T")

_MAX_PORT = 65_535
_MAX_BUFFERED_CHUNKS = 10_000


@final
@attrs.define(eq=False, kw_only=True)
class SourceDriver:
    """Makes the requests of a `Source`, and reports what it receives."""

    # Of either library: the methods used here are the same.
    _client: httpx2.AsyncClient
    _method: str
    _url: str
    _content: str | bytes | None
    _headers: Callable[[], Mapping[str, str]]
    _idle_timeout: float
    _on_state: OnState
    _on_comment: OnComment | None
    _source: Source = attrs.field(init=False)
    _was_open: bool = attrs.field(default=False, init=False)
    _status: int = attrs.field(default=0, init=False)

    async def events(
        self, make_source: Callable[..., Source]
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of all connections; raise at the end."""
        source = self._source = make_source(now=anyio.current_time())
        while source.state is not State.CLOSED:
            self._report()
            if source.state is State.WAITING:
                await anyio.sleep_until(source.deadline)
                source.handle_timeout(max(anyio.current_time(), source.deadline))
                continue
            async with aclosing(self._connection()) as events:
                async for event in events:
                    yield event
        self._report()
        raise StreamEnded(source.reason, self._status)

    async def _connection(self) -> AsyncGenerator[Event, None]:
        """Yield the events of one connection."""
        response = await self._wait(
            self._client.send(self._request(), stream=True, follow_redirects=True)
        )
        if response is None:
            return
        chunks = response.aiter_bytes()
        try:
            self._receive_response(response)
            while self._source.state is State.OPEN:
                data = await self._wait(anext(chunks, None))
                for event in self._parse(data or b""):
                    yield event
                if data is None and self._source.state is State.OPEN:
                    self._source.receive_eof(now=anyio.current_time())
        finally:
            try:
                await _end(chunks)
            finally:
                # The connection is given up, and so are its errors.
                with suppress(Exception):
                    await response.aclose()

    def _request(self) -> httpx2.Request:
        # A read has the idle timeout.
        limit = self._client.timeout
        timeout = limit.connect, None, limit.write, limit.pool
        request = self._client.build_request(
            self._method,
            self._url,
            content=self._content,
            headers=self._headers(),
            timeout=timeout,
        )
        # A header that is set replaces the caller's, and is sent in this encoding.
        request.headers.encoding = "utf-8"
        for name, value in self._source.request_headers(utf_8=True):
            request.headers[name] = value
        if (request.url.port or 0) > _MAX_PORT:
            # trio would connect to the remainder.
            raise ValueError(f"expected a port up to {_MAX_PORT}: {self._url}")
        return request

    async def _wait(self, awaitable: Awaitable[T]) -> T | None:
        """Wait for the HTTP library; report its error or a timeout to the source."""
        # The time starts here: a slow caller is no idle connection.
        with anyio.move_on_after(self._idle_timeout) as timeout:
            try:
                return await awaitable
            except Exception as error:
                if not self._receive_error(error):
                    raise
        if timeout.cancelled_caught:
            # The source's deadline is earlier: it begins with the latest byte.
            deadline = max(anyio.current_time(), self._source.deadline)
            self._source.handle_timeout(deadline)
        return None

    def _parse(self, data: bytes) -> Iterator[Event]:
        """Yield the events of *data*, and report its comments, in their order."""
        # `bytes.splitlines()` splits at CR, LF and CRLF only, as the format does.
        pieces = [data] if self._on_comment is None else data.splitlines(keepends=True)
        for piece in pieces:
            if self._source.state is not State.OPEN:
                return
            yield from self._source.receive_data(piece, now=anyio.current_time())
            if self._on_comment is not None:
                for comment in self._source.comments:
                    self._on_comment(comment)

    def _receive_response(self, response: httpx2.Response) -> None:
        self._status = response.status_code
        headers = response.headers.multi_items()
        if "date" not in response.headers:
            # RFC 9110 6.6.1: a recipient with a clock adds it.
            headers.append(("Date", formatdate(usegmt=True)))
        self._source.receive_response(self._status, headers, now=anyio.current_time())
        if self._source.state is State.OPEN:
            self._was_open = True
            self._report()

    def _receive_error(self, error: Exception) -> bool:
        """Report *error* to the source; return whether a reconnect may help."""
        if (response := rejected_response(error)) is not None:
            self._receive_response(response)
        elif not is_loss(error, was_open=self._was_open):
            self._source.close(describe(error))
            self._report()
            if not str(error):
                error.add_note(self._source.reason)
            return False
        else:
            self._source.receive_error(describe(error), now=anyio.current_time())
        return True

    def _report(self) -> None:
        source = self._source
        waits = source.state is State.WAITING
        delay = max(source.deadline - anyio.current_time(), 0.0) if waits else 0.0
        self._on_state(source.state, source.reason, delay)


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
