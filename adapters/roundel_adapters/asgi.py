"""Event streams as ASGI applications, for any framework, on trio and on asyncio.

Streams are not given away to a server that would take them (`_offer.py`): middleware
in between, which every framework has, may know no message but those of the standard,
and the response has begun when that shows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from typing import TYPE_CHECKING, TypeAlias, final

import anyio

from roundel import stream_headers

if TYPE_CHECKING:
    from .driver import EventStream
    from .wakeup import Wakeup

Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, object]]]
Send: TypeAlias = Callable[[dict[str, object]], Awaitable[None]]

WRITE_TIMEOUT = 30.0
"""After how many seconds a peer that takes nothing is given up."""


@final
class StreamResponse:
    """One response that is *stream*, as an ASGI application for one request.

    Return it where the framework takes such an application for a response, or await
    it with *scope*, *receive* and *send*. It ends with the stream or with the peer,
    and closes the stream. What gathered while the server was busy goes in one piece,
    of at most the stream's *max_write* bytes. `HEAD` is answered with the head alone.

    The clock is `anyio.current_time()`: make the stream by it. What the stream raises
    comes in an `ExceptionGroup`.

    Args:
        bell: Is rung, in the event loop's thread, whenever there may be news: after
            an append to one of the stream's lanes and after its `close()`.
        headers: Names and values that go with those of `stream_headers()`.
        within: Is entered when the response begins and left when it ends, however it
            ends; what a stream costs is claimed there. `HEAD` does not enter it.
        write_timeout: After how many seconds a peer that takes nothing is given up,
            where the server lets its *send* be cancelled; `math.inf` for never.
    """

    __slots__ = ("_headers", "_lifespan", "_stream", "_wakeup", "_write_timeout")

    def __init__(
        self,
        stream: EventStream,
        wakeup: Wakeup,
        *,
        headers: Iterable[tuple[str, str]] = (),
        lifespan: AbstractContextManager[object] | None = None,
        write_timeout: float = WRITE_TIMEOUT,
    ) -> None:
        self._stream = stream
        self._wakeup = wakeup
        self._headers = tuple(headers)
        self._lifespan = lifespan or nullcontext()
        self._write_timeout = write_timeout

    async def __call__(
        self, scope: Mapping[str, object], receive: Receive, send: Send
    ) -> None:
        """Answer the request of *scope*, to the stream's end or the peer's."""
        head = self._head(str(scope["http_version"]))
        if scope["method"] == "HEAD":
            if await self._write(send, head):
                await self._write(send, _body(b"", more=False))
            return
        with self._lifespan, closing(self._stream):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_at_disconnect, receive, tasks.cancel_scope)
                await self._drive(send, head)
                tasks.cancel_scope.cancel()

    def _head(self, http_version: str) -> dict[str, object]:
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (*stream_headers(http_version), *self._headers)
        ]
        return {"type": "http.response.start", "status": 200, "headers": headers}

    async def _drive(self, send: Send, head: dict[str, object]) -> None:
        sleeper = _AnyioWaker()
        self._wakeup.add_waker(sleeper)
        try:
            more = await self._write(send, head)
            while more:
                data = await self._next_data(sleeper)
                more = self._stream.is_open
                more = await self._write(send, _body(data, more=more)) and more
        finally:
            self._wakeup.remove_waker(sleeper)

    async def _next_data(self, sleeper: _AnyioWaker) -> bytes:
        """Drain, then sleep: return what is to be written, or nothing at the end."""
        while True:
            chunks = self._stream.data_to_send(anyio.current_time())
            if chunks or not self._stream.is_open:
                return b"".join(chunks)
            await sleeper.sleep(self._stream.deadline)

    async def _write(self, send: Send, message: dict[str, object]) -> bool:
        """Send, and tell whether the peer still takes something."""
        # ASGI: what `send` raises when the peer is gone is an OSError.
        with suppress(OSError), anyio.move_on_after(self._write_timeout):
            await send(message)
            return True
        return False


@final
class _AnyioWaker:
    """Sleeps until it is woken; having been woken before counts, once."""

    __slots__ = ("_woken",)

    def __init__(self) -> None:
        self._woken = anyio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def sleep(self, until: float) -> None:
        with anyio.CancelScope(deadline=until):
            await self._woken.wait()
        if self._woken.is_set():
            self._woken = anyio.Event()


async def _cancel_at_disconnect(receive: Receive, driver: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    driver.cancel()


def _body(data: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": data, "more_body": more}
