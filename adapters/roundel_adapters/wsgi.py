"""Event streams as WSGI responses, for any framework: one thread for each stream.

The server's thread runs the driver of the stream, and sleeps in it until the next event
or heartbeat. WSGI tells an application of the end of its response only by `close()`,
which comes after a failed write. So the peer's disconnect is noticed at a heartbeat.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextvars import copy_context
from typing import final
from wsgiref.types import StartResponse

import attrs

from roundel import stream_headers

from .drain import Drain
from .driver import EventStream, iter_chunks_in_thread, wakeup_of
from .live_stream import WRITE_TIMEOUT, Lifespan, drain_of, replace_headers, responding
from .wakeup import Wakeup
from .wsgi_socket import PeerSocket


def wsgi_headers(
    own: Mapping[str, str] | Iterable[tuple[str, str]] = (),
) -> list[tuple[str, str]]:
    """Return the headers of an event stream, and *own* ones, which replace them."""
    # PEP 3333 forbids `Connection` to applications, which only HTTP/1.0 would get.
    return replace_headers(stream_headers("1.1"), own)


@final
@attrs.frozen(eq=False)
class WsgiStreamResponse:
    """A WSGI application that responds to one request with *stream*.

    Return it from a framework that accepts an application as response, or return what
    it returns for *environ* and *start_response*. It ends with the stream, or at the
    first heartbeat after the peer's disconnect, and closes the stream. It occupies one
    thread of the server. `HEAD` gets the headers alone.

    The clock is `time.monotonic()`. The functions of the stream, such as *hello*, run
    with the context variables of the call.

    Args:
        wakeup: Call its `notify()` after each append to one of the stream's topics and
            after its `close()`. A stream of `Topics` has its own.
        headers: Names and values to send in addition to `stream_headers()`; they
            replace those of the same name.
        lifespan: Entered when the server reads the first chunk, and exited when the
            response ends. `HEAD` does not enter it.
        write_timeout: Seconds after which the server's write to a peer that does not
            read fails, on gunicorn and Werkzeug; `math.inf` for never.
        drain: Ends the stream with a close message when the server has to stop. A
            stream of `Topics` has its own.
    """

    # Pyright knows no aliases but explicit ones.
    _stream: EventStream = attrs.field(alias="stream")
    _wakeup: Wakeup | None = attrs.field(default=None, alias="wakeup")
    _headers: Mapping[str, str] | Iterable[tuple[str, str]] = attrs.field(
        default=(), alias="headers", kw_only=True
    )
    _lifespan: Lifespan | None = attrs.field(
        default=None, alias="lifespan", kw_only=True
    )
    _write_timeout: float = attrs.field(
        default=WRITE_TIMEOUT, alias="write_timeout", kw_only=True
    )
    _drain: Drain | None = attrs.field(default=None, alias="drain", kw_only=True)

    def __attrs_post_init__(self) -> None:
        wakeup_of(self._stream, self._wakeup)

    def __call__(
        self, environ: Mapping[str, object], start_response: StartResponse
    ) -> Iterable[bytes]:
        """Respond to the request of *environ*."""
        body = WsgiBody(
            environ,
            self._stream,
            self._wakeup,
            lifespan=self._lifespan,
            write_timeout=self._write_timeout,
            drain=self._drain,
        )
        start_response("200 OK", wsgi_headers(self._headers))
        return body


@final
class WsgiBody:
    """The body of a response with *stream*: an iterator of chunks with `close()`.

    The server calls `close()` at the end of each response, also of one that it has not
    iterated over (PEP 3333). The body of `HEAD` is empty.
    """

    def __init__(
        self,
        environ: Mapping[str, object],
        stream: EventStream,
        wakeup: Wakeup | None = None,
        *,
        lifespan: Lifespan | None = None,
        write_timeout: float = WRITE_TIMEOUT,
        drain: Drain | None = None,
    ) -> None:
        self._stream = stream
        self._drain = drain_of(stream, drain)
        self._socket = PeerSocket.of(environ)
        # The framework resets its context variables when the view has returned.
        self._context = copy_context()
        self._is_started = False
        self._chunks: Generator[bytes, None, None] | None = None
        if environ["REQUEST_METHOD"] != "HEAD":
            self._chunks = self._run(
                wakeup_of(stream, wakeup),
                lifespan=lifespan,
                write_timeout=write_timeout,
            )

    def __iter__(self) -> WsgiBody:
        return self

    def __next__(self) -> bytes:
        """Wait for the next chunk; a peer that has closed the connection ends it."""
        if self._chunks is None:
            raise StopIteration
        self._is_started = True
        chunk = self._context.run(next, self._chunks)
        if self._socket.is_closed_by_peer():
            self.close()
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Close the stream, and exit the lifespan if it was entered."""
        is_cut = self._stream.is_open
        if self._chunks is not None:
            self._context.run(self._chunks.close)
        self._stream.close()
        is_last = is_cut or (self._drain is not None and self._drain.has_begun)
        # Another response may take the place of one that was never started.
        if self._is_started and is_last:
            self._socket.end_connection()

    def _run(
        self, wakeup: Wakeup, lifespan: Lifespan | None, write_timeout: float
    ) -> Generator[bytes, None, None]:
        with (
            responding(self._stream, wakeup, lifespan=lifespan, drain=self._drain),
            self._socket.write_timeout(write_timeout),
        ):
            yield from iter_chunks_in_thread(self._stream, wakeup)
