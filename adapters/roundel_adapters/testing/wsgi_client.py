"""A client of WSGI applications without sockets and threads.

The application runs in the thread of the test, while the test reads from it. So publish
an event before you read it: a read runs the application until its next chunk.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TypeAlias, final
from urllib.parse import unquote_to_bytes

import attrs

from roundel import Event

from .event_reader import EventReader
from .messages import HOST, RequestHeaders, ResponseHeaders, request_fields

WsgiApp: TypeAlias = Callable[..., Iterable[bytes]]
"""A WSGI application (PEP 3333) of any framework."""


@final
@attrs.frozen
class WsgiResponse:
    """A complete response."""

    status: int
    headers: ResponseHeaders
    body: bytes


@final
@attrs.frozen(eq=False)
class WsgiOpenResponse:
    """A response that is read by chunks; the application runs during each read."""

    status: int
    headers: ResponseHeaders
    _chunks: Iterator[bytes]

    def next_chunk(self) -> bytes | None:
        """Run the application until its next chunk; return `None` at the end."""
        return next(self._chunks, None)


@final
@attrs.frozen(eq=False)
class WsgiEventStream:
    """A response whose body is an event stream."""

    status: int
    headers: ResponseHeaders
    _chunks: Iterator[bytes]
    _reader: EventReader = attrs.field(factory=EventReader, init=False)

    @property
    def retry(self) -> int | None:
        """The reconnection time that the stream set, in milliseconds."""
        return self._reader.retry

    @property
    def last_event_id(self) -> str:
        """The id that a reconnecting client presents: of the last event it has read."""
        return self._reader.last_event_id

    def next_event(self) -> Event | None:
        """Run the application until its next event; return `None` at the stream's end.

        It waits as long as the application does: publish the event first.
        """
        while (event := self._reader.next()) is None:
            chunk = next(self._chunks, None)
            if chunk is None:
                return None
            self._reader.receive_data(chunk)
        return event


@final
@attrs.frozen
class WsgiClient:
    """Sends requests to a WSGI *app*, each with the given *headers*."""

    # Pyright knows no aliases but explicit ones.
    _app: WsgiApp = attrs.field(alias="app")
    _headers: RequestHeaders = attrs.field(factory=dict, alias="headers", kw_only=True)

    def with_headers(self, headers: RequestHeaders) -> WsgiClient:
        """Return a client that also sends these *headers*."""
        return WsgiClient(self._app, headers={**self._headers, **headers})

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: RequestHeaders | None = None,
        body: bytes = b"",
    ) -> WsgiResponse:
        """Send a request and return the complete response."""
        with self._exchange(method, target, headers, body) as exchange:
            content = b"".join(exchange.chunks)
            return WsgiResponse(exchange.status, exchange.headers, content)

    @contextmanager
    def open(
        self,
        method: str,
        target: str,
        *,
        headers: RequestHeaders | None = None,
        body: bytes = b"",
    ) -> Iterator[WsgiOpenResponse]:
        """Open a response that is read by chunks; leaving the block disconnects."""
        with self._exchange(method, target, headers, body) as exchange:
            yield WsgiOpenResponse(exchange.status, exchange.headers, exchange.chunks)

    @contextmanager
    def stream(
        self, target: str, *, headers: RequestHeaders | None = None
    ) -> Iterator[WsgiEventStream]:
        """Open an event stream; leaving the block disconnects.

        The application runs until its first chunk.
        """
        with self._exchange("GET", target, headers, b"") as exchange:
            yield WsgiEventStream(exchange.status, exchange.headers, exchange.chunks)

    @contextmanager
    def _exchange(
        self, method: str, target: str, headers: RequestHeaders | None, body: bytes
    ) -> Iterator[_WsgiExchange]:
        exchange = _WsgiExchange()
        environ = _environ(method, target, request_fields(self._headers, headers), body)
        response = self._app(environ, exchange.start_response)
        try:
            exchange.read_head(response)
            yield exchange
        finally:
            # PEP 3333: the server calls close() also when the client disconnects.
            if close := getattr(response, "close", None):
                close()


@final
class _WsgiExchange:
    """One request and its response, on the server's side of WSGI."""

    def __init__(self) -> None:
        self.status = 0
        self.headers = ResponseHeaders()
        self.chunks: Iterator[bytes] = iter(())
        self._written: list[bytes] = []

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], object]:
        self.status = int(status.split(" ")[0])
        self.headers = ResponseHeaders(headers)
        return self._written.append

    def read_head(self, response: Iterable[bytes]) -> None:
        """Run the application until it has started its response."""
        # PEP 3333: a generator calls start_response() before its first chunk.
        chunks = iter(response)
        first = [] if self.status else [chunk for chunk in [next(chunks, b"")] if chunk]
        if not self.status:
            raise RuntimeError("expected a call of start_response(), got none")
        self.chunks = self._join(first, chunks)

    def _join(self, first: list[bytes], chunks: Iterator[bytes]) -> Iterator[bytes]:
        yield from self._written
        yield from first
        yield from chunks


def _environ(
    method: str, target: str, fields: list[tuple[str, str]], body: bytes
) -> dict[str, object]:
    path, _, query = target.partition("?")
    environ: dict[str, object] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        # PEP 3333: bytes as latin-1.
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": HOST,
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)
    for name, each in values.items():
        key = name.upper().replace("-", "_")
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        environ[key] = ("; " if name == "cookie" else ", ").join(each)
    return environ
