"""Event streams as aiohttp responses.

aiohttp sends a response after the handler and its middlewares have returned: it awaits
`prepare()` and `write_eof()`. The second one writes the stream, so that middlewares can
still add headers and cookies. Both run with the context variables of the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import cast, final

import attrs

from roundel import stream_headers

from . import requires_extra
from .drain import Drain
from .driver import EventStream, wakeup_of
from .live_stream import WRITE_TIMEOUT, Lifespan, replace_headers, responding
from .topics import Topics
from .wakeup import Wakeup

with requires_extra("aiohttp"):
    from aiohttp import web
    from aiohttp.abc import AbstractStreamWriter


def stream_response(
    stream: EventStream,
    wakeup: Wakeup | None = None,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    lifespan: Lifespan | None = None,
    write_timeout: float = WRITE_TIMEOUT,
    drain: Drain | None = None,
) -> web.StreamResponse:
    """Return *stream* as the response of a handler.

    It ends with the stream or with the peer's disconnect, and closes the stream. It is
    never compressed, because a compressor holds events back. `HEAD` gets the headers
    alone. The clock is `loop.time()`.

    Args:
        wakeup: Call its `notify()` after each append to one of the stream's topics and
            after its `close()`. A stream of `Topics` has its own.
        headers: Names and values to send in addition to `stream_headers()`, or in
            place of a header of the same name.
        lifespan: Entered when the body starts and exited when it ends; acquire the
            stream's resources there. `HEAD` does not enter it.
        write_timeout: Seconds after which the connection to a peer that does not read
            is aborted; `math.inf` for never.
        drain: Ends the stream with a close message when the server has to stop. A
            stream of `Topics` has its own.
    """
    writer = _StreamWriter(
        stream,
        wakeup_of(stream, wakeup),
        responding(stream, wakeup, lifespan=lifespan, drain=drain),
        None if write_timeout == inf else write_timeout,
    )
    return _Response(writer, headers)


def close_on_shutdown(app: web.Application, topics: Topics) -> None:
    """Call `topics.close()` when *app* shuts down, before aiohttp waits for responses.

    `Topics` does so at SIGTERM and SIGINT already. This is for a server that runs in
    another thread, and for one that the program stops.
    """

    async def close(_: web.Application) -> None:
        topics.close()

    app.on_shutdown.append(close)


@final
class _Response(web.StreamResponse):
    def __init__(
        self,
        writer: _StreamWriter,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
    ) -> None:
        super().__init__(headers=replace_headers(stream_headers("1.1"), headers))
        self._stream_writer: _StreamWriter | None = writer

    def enable_compression(self, *args: object, **options: object) -> None:
        """Do nothing: a compressor holds events back."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if not self.prepared:
            version = f"{request.version.major}.{request.version.minor}"
            for name, value in stream_headers(version):
                self.headers.setdefault(name, value)
            if request.method == "HEAD":
                self._stream_writer = None
            else:
                assert self._stream_writer
                self._stream_writer.request = request
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        writer, self._stream_writer = self._stream_writer, None
        if writer:
            await writer.run()
        await super().write_eof(data)


@final
@attrs.define(eq=False)
class _StreamWriter:
    """Writes *stream* as the body of the response to *request*."""

    stream: EventStream
    wakeup: Wakeup
    lifespan: Lifespan
    write_timeout: float | None
    request: web.BaseRequest | None = None

    async def run(self) -> None:
        """Write until the stream ends.

        Raises `ConnectionError` if the connection ended before. aiohttp expects that.
        """
        assert self.request
        transport = self.request.transport
        with self.lifespan, self.wakeup.task_waker() as waker:
            if transport is None:
                raise ConnectionResetError("disconnected before the response")
            with _disconnect_calls(waker.wake, transport):
                while self.stream.is_open and not transport.is_closing():
                    if chunks := self.stream.data_to_send(waker.time()):
                        await self._write(b"".join(chunks), transport)
                    else:
                        await waker.sleep(self.stream.deadline)

    async def _write(self, data: bytes, transport: asyncio.Transport) -> None:
        assert self.request
        writer = self.request.writer
        try:
            async with asyncio.timeout(self.write_timeout):
                await writer.write(data)
                # write() alone waits at each 64 KiB only.
                await writer.drain()
        except TimeoutError:
            # After a close() the transport would wait for the peer to read the rest.
            transport.abort()
            raise ConnectionResetError("write timeout") from None


@contextmanager
def _disconnect_calls(
    callback: Callable[[], None], transport: asyncio.Transport
) -> Iterator[None]:
    """Call *callback* when the connection is lost within the block.

    By default aiohttp tells a handler nothing about it.
    """
    protocol = cast(asyncio.Protocol, transport.get_protocol())
    transport.set_protocol(_WatchedProtocol(protocol, callback))
    try:
        yield
    finally:
        # A TLS transport that was aborted has no protocol any more.
        if not transport.is_closing():
            transport.set_protocol(protocol)


@final
@attrs.frozen(eq=False)
class _WatchedProtocol(asyncio.Protocol):
    """Forwards each call to *protocol*; calls *on_lost* at the end."""

    protocol: asyncio.Protocol
    on_lost: Callable[[], None]

    def data_received(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self.protocol.eof_received()

    def pause_writing(self) -> None:
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        self.protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.protocol.connection_lost(exc)
        self.on_lost()
