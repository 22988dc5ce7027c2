"""Event streams as Django responses, under ASGI and under WSGI.

**Resources of the view.** When a response has ended, Django closes the database
connections of the request, and under ASGI ends its thread. A stream does not end, so
that each one would hold a connection and a thread. It releases them at its start.

**Middleware.** `GZipMiddleware` compresses streams, and its compressor holds events
back. It leaves a response alone that has a `Content-Encoding`.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import contextmanager, nullcontext
from math import inf

from roundel import read_last_event_id

from . import requires_extra
from .drain import Drain
from .driver import EventStream, iter_chunks, wakeup_of
from .live_stream import WRITE_TIMEOUT, ContextStream, Lifespan, responding
from .wakeup import Wakeup
from .wsgi import WsgiBody, wsgi_headers

with requires_extra("django"):
    from asgiref.sync import SyncToAsync
    from django.core.exceptions import RequestAborted
    from django.db import connections
    from django.http import HttpRequest, StreamingHttpResponse


class EventStreamResponse(StreamingHttpResponse):
    """A response with the events of *stream*, under ASGI and under WSGI.

    It ends with the stream or with the peer's disconnect, and closes the stream. Under
    WSGI it occupies a thread of the server, and a heartbeat notices the disconnect.
    `HEAD` gets the headers alone. A stream of `Topics` has its *wakeup* and *drain*.

    The view's database connections are closed when the stream starts. So make what
    *hello* and other functions of the stream need in the view.

    Args:
        request: The request of the view.
        wakeup: Call its `notify()` after each append to one of the stream's topics and
            after its `close()`.
        headers: Names and values to send in addition to `stream_headers()`; they
            replace those of the same name.
        lifespan: Entered when the server reads the first chunk, and exited when the
            response ends. `HEAD` does not enter it.
        write_timeout: Seconds after which a response to a peer that does not read ends,
            under ASGI, and under WSGI on gunicorn; `math.inf` for never.
        drain: Ends the stream with a close message when the server has to stop.
    """

    def __init__(
        self,
        request: HttpRequest,
        stream: EventStream,
        wakeup: Wakeup | None = None,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        lifespan: Lifespan | None = None,
        write_timeout: float = WRITE_TIMEOUT,
        drain: Drain | None = None,
    ) -> None:
        wakeup = wakeup_of(stream, wakeup)
        # Only a request under ASGI has it, also behind Django REST framework's.
        if hasattr(request, "scope"):
            content: AsyncGenerator[bytes, None] | WsgiBody = _async_body(
                request.method == "HEAD",
                ContextStream(stream),
                wakeup,
                responding(stream, wakeup, lifespan=lifespan, drain=drain),
                write_timeout,
            )
        else:
            content = WsgiBody(
                request.META,
                stream,
                wakeup,
                lifespan=_without_connections(lifespan),
                write_timeout=write_timeout,
                drain=drain,
            )
        super().__init__(content, headers=dict(wsgi_headers(headers)))
        self._content = content
        self._stream = stream

    def has_header(self, header: str) -> bool:
        """Return whether the response has a header, or must not get it."""
        return header.lower() == "content-encoding" or super().has_header(header)

    def __aiter__(self) -> AsyncIterator[bytes]:
        # Django ends what it iterates over. It would leave the stream to the garbage
        # collector, behind an iterator of its own.
        if getattr(self, "_iterator", None) is self._content:
            return aiter(self._content)
        return super().__aiter__()

    def close(self) -> None:
        """Close the stream, also of a response that was never sent."""
        # After the body, which ends the connection of an open stream.
        super().close()
        self._stream.close()


def last_event_id(request: HttpRequest) -> str:
    """Return the last event id of *request*, ``""`` if it has none.

    It is the header ``Last-Event-ID``, or else the parameter ``lastEventId`` of the
    query, for clients that cannot set a header. Both are untrusted.
    """
    return read_last_event_id(
        request.headers.get("last-event-id"), request.GET.get("lastEventId")
    )


async def _async_body(
    is_head: bool,
    stream: EventStream,
    wakeup: Wakeup,
    lifespan: Lifespan,
    write_timeout: float,
) -> AsyncGenerator[bytes, None]:
    if is_head:
        return
    loop = asyncio.get_running_loop()
    with lifespan:
        await _release_thread()
        # The consumer's time with each chunk is limited.
        limit = asyncio.timeout(None)
        try:
            async with limit:
                async for chunk in iter_chunks(stream, wakeup):
                    if write_timeout < inf:
                        limit.reschedule(loop.time() + write_timeout)
                    yield chunk
                    limit.reschedule(None)
        except GeneratorExit:
            if limit.expired():
                raise _WriteTimeout from None
            raise


class _WriteTimeout(RequestAborted, asyncio.CancelledError):
    """Ends a response as a disconnect does: Django 5 and 6 expect another error."""


async def _release_thread() -> None:
    """Close the database connections of the request, and end its thread.

    asgiref keeps the thread for the request's length, and makes another when needed.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is None or getattr(context, "_executor", None) is not None:
        # The thread belongs to others, as in tests.
        return
    thread = SyncToAsync.context_to_thread_executor.pop(context, None)
    if thread is not None:
        await asyncio.get_running_loop().run_in_executor(thread, _close_connections)
        thread.shutdown(wait=False)


@contextmanager
def _without_connections(lifespan: Lifespan | None) -> Iterator[None]:
    with lifespan or nullcontext():
        _close_connections()
        yield


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        # Django's test cases run in a transaction.
        if not connection.in_atomic_block:
            connection.close()
