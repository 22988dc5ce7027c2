"""Event streams as ASGI applications, for any framework, on trio and on asyncio.

Streams are not handed to the server (`server/dispatcher/handoff.py`). Every framework
has middleware between application and server that may reject a non-standard message,
and the response has already started then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from typing import TypeAlias, final

from roundel import stream_headers

from . import requires_extra
from .drain import Drain
from .driver import EventStream, wakeup_of
from .live_stream import WRITE_TIMEOUT, Lifespan, drain_of, replace_headers, responding
from .wakeup import TaskWaker, Wakeup

with requires_extra("asgi"):
    import anyio

Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, object]]]
Send: TypeAlias = Callable[[dict[str, object]], Awaitable[None]]

LAST_WRITE_TIMEOUT = 1.0
"""Timeout in seconds of the last write of a response that the server cancels."""


# Not of attrs: Litestar would show its fields as the response's content in OpenAPI.
@final
class StreamResponse:
    """An ASGI application that responds to one request with *stream*.

    Return it from a framework that accepts an application as response, or await it
    with *scope*, *receive* and *send*. It ends with the stream or with the peer's
    disconnect, and closes the stream. Events that were appended while the server was
    busy are one chunk, of at most the stream's *max_write* bytes. `HEAD` gets the
    headers alone.

    The clock is `anyio.current_time()`: give the stream its times. An exception of the
    stream is raised in an `ExceptionGroup`.

    Args:
        wakeup: Call its `notify()` after each append to one of the stream's topics and
            after its `close()`. A stream of `Topics` has its own.
        headers: Names and values to send in addition to `stream_headers()`; they
            replace those of the same name.
        lifespan: Entered when the response starts and exited when it ends; acquire the
            stream's resources there. `HEAD` does not enter it.
        write_timeout: Seconds after which a write to a peer that does not read is
            cancelled, if the server's *send* can be cancelled; `math.inf` for never.
        drain: Ends the stream with a close message when the server has to stop, or
            cancels the response. A stream of `Topics` has its own.
        status_code: The status of the response. An `EventSource` accepts only 200.
    """

    __slots__ = (
        "_drain", "_headers", "_lifespan", "_status_code", "_stream", "_wakeup",
        "_write_timeout",
    )  # fmt: skip

    def __init__(
        self,
        stream: EventStream,
        wakeup: Wakeup | None = None,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        lifespan: Lifespan | None = None,
        write_timeout: float = WRITE_TIMEOUT,
        drain: Drain | None = None,
        status_code: int = 200,
    ) -> None:
        self._stream = stream
        self._wakeup = wakeup_of(stream, wakeup)
        self._headers = headers
        self._lifespan = lifespan
        self._write_timeout = write_timeout
        self._drain = drain
        self._status_code = status_code

    async def __call__(
        self, scope: Mapping[str, object], receive: Receive, send: Send
    ) -> None:
        """Respond to the request of *scope*."""
        start = self._start_message(str(scope["http_version"]))
        if scope["method"] == "HEAD":
            if await self._write(send, start):
                await self._write(send, _body_message(b"", more=False))
            return
        with ExitStack() as resources:
            resources.enter_context(
                responding(
                    self._stream,
                    self._wakeup,
                    lifespan=self._lifespan,
                    drain=self._drain,
                )
            )
            async with anyio.create_task_group() as tasks:
                # Not the task group's scope, which trio also cancels for the server.
                with anyio.CancelScope() as disconnect:
                    tasks.start_soon(_cancel_at_disconnect, receive, disconnect)
                    await self._respond(send, start, disconnect, resources)
                tasks.cancel_scope.cancel()

    async def _respond(
        self,
        send: Send,
        start: dict[str, object],
        disconnect: anyio.CancelScope,
        resources: ExitStack,
    ) -> None:
        last_chunks: list[bytes] = []
        try:
            # A server that stops soon after it has cancelled the task gives it few
            # steps: *resources* do not wait for the end of the task group.
            with resources:
                await self._drive(send, start, last_chunks)
        except anyio.get_cancelled_exc_class():
            if last_chunks and not disconnect.cancel_called:
                await self._write_last(send, last_chunks)
            raise

    def _start_message(self, http_version: str) -> dict[str, object]:
        fields = replace_headers(stream_headers(http_version), self._headers)
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in fields
        ]
        return {
            "type": "http.response.start",
            "status": self._status_code,
            "headers": headers,
        }

    async def _drive(
        self, send: Send, start: dict[str, object], last_chunks: list[bytes]
    ) -> None:
        """Send the chunks that are due; a cancelled wait adds *last_chunks* to send."""
        with self._wakeup.task_waker() as waker:
            more = await self._write(send, start)
            while more:
                chunks = self._stream.data_to_send(waker.time())
                more = self._stream.is_open
                if chunks or not more:
                    message = _body_message(b"".join(chunks), more=more)
                    more = await self._write(send, message) and more
                else:
                    await self._sleep(waker, last_chunks)

    async def _sleep(self, waker: TaskWaker, last_chunks: list[bytes]) -> None:
        try:
            await waker.sleep(self._stream.deadline)
        except anyio.get_cancelled_exc_class():
            last_chunks += self._last_chunks()
            raise

    def _last_chunks(self) -> list[bytes]:
        # A drain's streams only: without it a cancelled response is a cut.
        drain = drain_of(self._stream, self._drain)
        if drain is None:
            return []
        drain.close(self._stream)
        return self._stream.data_to_send(anyio.current_time())

    async def _write_last(self, send: Send, chunks: list[bytes]) -> None:
        message = _body_message(b"".join(chunks), more=False)
        with anyio.move_on_after(LAST_WRITE_TIMEOUT, shield=True):
            await self._write(send, message)

    async def _write(self, send: Send, message: dict[str, object]) -> bool:
        """Send *message*; return whether the peer is still connected and reading."""
        # ASGI: *send* raises an OSError after a disconnect.
        with suppress(OSError), anyio.move_on_after(self._write_timeout):
            await send(message)
            return True
        return False


async def _cancel_at_disconnect(receive: Receive, driver: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    driver.cancel()


def _body_message(data: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": data, "more_body": more}
