"""One request to an ASGI application and its response, on the server's side."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, TypeAlias, final
from urllib.parse import unquote

from .. import requires_extra
from .messages import HOST, ResponseHeaders

with requires_extra("asgi"):
    import anyio
    from anyio.streams.memory import MemoryObjectReceiveStream

Body: TypeAlias = bytes | AsyncIterable[bytes]
"""Body of a request: bytes, or chunks that are sent as the application reads them."""

_Message: TypeAlias = MutableMapping[str, Any]


@final
class AsgiExchange:
    """One request and its response.

    The application can send *buffered_chunks* before `chunks` is read.
    """

    def __init__(self, buffered_chunks: int) -> None:
        self.status: int = 0
        self.headers: ResponseHeaders = ResponseHeaders()
        self._started = anyio.Event()
        self._sending = anyio.CancelScope()
        self._requests, self._received = anyio.create_memory_object_stream[_Message](0)
        self.chunks: MemoryObjectReceiveStream[bytes]
        self._sent, self.chunks = anyio.create_memory_object_stream[bytes](
            buffered_chunks
        )

    @asynccontextmanager
    async def run(
        self,
        app: Callable[..., Awaitable[object]],
        scope: Mapping[str, object],
        body: Body,
    ) -> AsyncIterator[None]:
        """Run *app*; leaving the block disconnects, and waits for its end."""
        # Without a group, so that a failed assertion in the block is reported as such.
        with sole_error(), self._closed_streams():
            async with running(
                partial(self._run_app, app, dict(scope)),
                partial(self._send_body, body),
            ):
                await self._started.wait()
                yield
                self._disconnect()

    @contextmanager
    def _closed_streams(self) -> Iterator[None]:
        try:
            yield
        finally:
            for end in (self._requests, self._received, self._sent, self.chunks):
                end.close()

    async def _run_app(
        self, app: Callable[..., Awaitable[object]], scope: dict[str, object]
    ) -> None:
        # An exception before the response cancels the wait for it.
        await app(scope, self._receive, self._send)
        self._sent.close()
        self._started.set()

    async def _send_body(self, body: Body) -> None:
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

    def _disconnect(self) -> None:
        self._sending.cancel()
        self._requests.close()
        self.chunks.close()

    async def _receive(self) -> _Message:
        return await anext(self._received, {"type": "http.disconnect"})

    async def _send(self, message: _Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = ResponseHeaders(
                (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
                for name, value in message.get("headers", ())
            )
            self._started.set()
        elif message["type"] == "http.response.body":
            # After a disconnect the data is lost, as with a socket.
            with suppress(anyio.BrokenResourceError):
                await self._sent.send(message.get("body", b""))
            if not message.get("more_body", False):
                self._sent.close()


@asynccontextmanager
async def running(
    *functions: Callable[[], Coroutine[object, object, None]],
) -> AsyncIterator[Callable[[], None]]:
    """Run *functions* beside the block, and wait for their end.

    Yields a function that cancels them. An exception of theirs cancels the block.
    """
    if _runs_asyncio():
        # Not a group of anyio: a fixture of pytest-asyncio leaves the block in another
        # task than it has entered it, and a cancel scope does not allow that.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(function()) for function in functions]
            yield lambda: _cancel(tasks)
        return
    async with anyio.create_task_group() as tasks_of_trio:
        for function in functions:
            tasks_of_trio.start_soon(function)
        yield tasks_of_trio.cancel_scope.cancel


def _runs_asyncio() -> bool:
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        return True
    return False


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


@contextmanager
def sole_error() -> Iterator[None]:
    """Raise the only exception of a task group in the block without its group."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        error: BaseException = group.exceptions[0]
        context = error.__context__
        try:
            raise error
        finally:
            # Otherwise the group, which is a copy of the error, is reported too.
            error.__context__ = context
            del error


def http_scope(
    method: str,
    target: str,
    fields: Sequence[tuple[str, str]],
    http_version: str,
    state: Mapping[str, object],
) -> dict[str, object]:
    """Return the scope of a request."""
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": http_version,
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in fields],
        "client": ("127.0.0.1", 1),
        "server": (HOST, 80),
        "extensions": {},
        # ASGI: each request gets a copy of the state of the lifespan.
        "state": dict(state),
    }


def _request_message(body: bytes, *, more: bool) -> _Message:
    return {"type": "http.request", "body": body, "more_body": more}
