"""Reads the requests of one connection: HTTP/1.1, one at a time, with a whole body.

`RequestReader` collects bytes until a request is complete. It raises
`UnsupportedRequest` as soon as it knows that ASGI has to serve the request; every byte
is still there then, so that the connection can be handed over. It accepts only what
every HTTP parser reads in the same way. Errors, chunked bodies, `Expect`, upgrades,
HTTP/1.0, bodies over `MAX_BODY` and pipelined requests are all unsupported.

A peer that sends byte by byte makes it copy and search the bytes received so far again
for each byte. The limits bound that to less than the system calls of the same bytes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import final

import attrs
import httptools

from ..limits import ServerLimits
from .interface import App, FastHandler, Headers

MAX_BODY = 64 * 1024
"""Size limit of a body on the fast path, in bytes."""

_CACHED_HEAD = 1_024
"""Size limit of a head in the parser's cache, in bytes."""

# A bare LF ends a line too (RFC 9112 2.2), so that ASGI gets such a head in time.
_END_OF_HEAD = re.compile(rb"\n\r?\n")

# A host with other characters, which are rare, takes ASGI, which checks it.
_PLAIN_HOST = re.compile(
    r"(?:[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?", re.ASCII
)


@final
@attrs.frozen(kw_only=True)
class RequestHead:
    """A parsed request head; *data* is its bytes, including the blank line."""

    data: bytes
    method: str
    path: str
    query: bytes
    headers: Headers
    keep_alive: bool
    content_length: int


@final
@attrs.define
class FastRequest:
    """A complete request and the handler that responds to it."""

    head: RequestHead
    body: bytes
    handler: FastHandler


@final
class UnsupportedRequest(Exception):  # noqa: N818, it is no error
    """A request that ASGI has to serve."""


@final
@attrs.define(eq=False)
class RequestReader:
    """Collects the bytes of a connection's next request for *app*."""

    _app: App
    _limits: ServerLimits
    _head: RequestHead | None = attrs.field(default=None, init=False)
    _handler: FastHandler = attrs.field(init=False)
    received: bytes = attrs.field(default=b"", init=False)
    """The bytes received of the request so far."""

    @property
    def has_head(self) -> bool:
        """Whether the head is complete, and the body is not."""
        return self._head is not None

    def receive_data(self, data: bytes) -> FastRequest | None:
        """Return the request that *data* completes; `None` if more bytes are needed.

        Raises `UnsupportedRequest` if ASGI has to serve it, with what is `received`.
        """
        self.received += data
        head = self._head or self._parse_head()
        if head is None:
            return None
        missing = len(head.data) + head.content_length - len(self.received)
        if missing < 0:
            # Pipelined requests are rare, and ASGI answers them one after another.
            raise UnsupportedRequest
        if missing > 0:
            self._head = head
            return None
        body = self.received[len(head.data) :]
        self.received, self._head = b"", None
        return FastRequest(head, body, self._handler)

    def _parse_head(self) -> RequestHead | None:
        found = _END_OF_HEAD.search(self.received)
        if (found.end() if found else len(self.received)) > self._limits.max_head:
            raise UnsupportedRequest
        if found is None:
            # No request begins so (TLS does), and its error must not wait for an end.
            if self.received[0] <= 0x20:
                raise UnsupportedRequest
            return None
        data = self.received[: found.end()]
        head = (_parse_cached if len(data) <= _CACHED_HEAD else _parse)(data)
        if (
            head is None
            or len(head.path) + len(head.query) >= self._limits.max_target
            or head.content_length > MAX_BODY
        ):
            raise UnsupportedRequest
        handler = self._app.find_handler(head.method, head.path, head.query)
        if handler is None:
            raise UnsupportedRequest
        self._handler = handler
        return head


def _parse(data: bytes) -> RequestHead | None:
    """Parse a request head; `None` if it is unsupported."""
    callbacks = _Callbacks()
    try:
        callbacks.parser.feed_data(data)
        method = callbacks.parser.get_method()
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    headers = Headers(callbacks.fields)
    hosts = headers.getlist("host")
    is_supported = (
        # The parser accepts several spaces in the first line (RFC 9112 3: one).
        data.startswith(b"%b %b HTTP/1.1\r\n" % (method, callbacks.target))
        # RFC 9112 3.2: 400 without exactly one Host.
        and len(hosts) == 1
        and _PLAIN_HOST.fullmatch(hosts[0])
        and headers.get("expect") is None
        and headers.get("transfer-encoding") is None
    )
    if not is_supported:
        return None
    path, _, query = callbacks.target.partition(b"?")
    return RequestHead(
        data=data,
        method=method.decode("latin-1"),
        path=path.decode("latin-1"),
        query=query,
        headers=headers,
        keep_alive=callbacks.keep_alive,
        content_length=int(headers.get("content-length") or 0),
    )


# A client repeats its head, often to the letter. Parsing takes 25 µs, a hit 0.05 µs
# (a POST with 4 fields), of some 150 µs for a whole request. A hit needs the whole
# head, so the cache's timing does not help to guess a secret in it.
_parse_cached = lru_cache(maxsize=256)(_parse)


@final
class _Callbacks:
    """Receives what `httptools` parses."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.target = b""
        self.keep_alive = False
        self.fields: list[tuple[str, str]] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # RFC 9112 5.1: whitespace around a value is not a part of it.
        text = value.decode("latin-1").rstrip(" \t")
        self.fields.append((name.decode("latin-1").lower(), text))

    def on_headers_complete(self) -> None:
        # The parser forgets it with the end of the request.
        self.keep_alive = self.parser.should_keep_alive()
