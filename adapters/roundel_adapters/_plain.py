"""One plain HTTP/1.1 connection, served the short way for as long as that goes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, aclosing
from email.utils import formatdate
from http import HTTPStatus
from math import inf
from time import time
from typing import Protocol, final

import httptools

from .bell import Bell
from .plain import App, Events, Fields, Pieces, Reply, Request, Whole
from .pump import Talker

_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Wire(Protocol):
    """What is needed of a connection."""

    async def receive(self) -> bytes:
        """Receive what has come, or nothing at the end."""
        ...

    async def write(self, data: bytes) -> bool:
        """Write all, and tell whether the peer still takes something."""
        ...

    def wait(self, patience: float | None) -> None:
        """End the connection unless this is called again within so many seconds."""
        ...

    def adopt(
        self, talker: Talker, bell: Bell, within: AbstractContextManager[object]
    ) -> None:
        """Hand the connection over to a stream, in chunks."""
        ...


@final
class Plain:
    """Serves *app* over *wire*, with heads of at most *max_head* bytes."""

    def __init__(self, app: App, wire: Wire, *, max_head: int) -> None:
        self._app = app
        self._wire = wire
        self._max_head = max_head
        self._buffer = b""
        self.is_unread = False
        """Whether the peer is still sending what nobody will read."""

    async def run(self, head_timeout: float, idle_timeout: float) -> bytes:
        """Serve; return what is to be served otherwise, or nothing at the end."""
        patience = head_timeout
        while True:
            self._wire.wait(patience)
            head = await self._next_head(head_timeout)
            if head is None:
                return self._buffer
            self._wire.wait(None)
            if not await self._serve(head):
                return b""
            patience = idle_timeout

    async def _next_head(self, head_timeout: float) -> _Head | None:
        """Wait for a request, and return its head if it can be taken."""
        while (end := self._buffer.find(_END)) < 0:
            began = bool(self._buffer)
            if len(self._buffer) > self._max_head:
                return None
            data = await self._wire.receive()
            if not data:
                self._buffer = b""
                return None
            self._buffer += data
            if not began:
                self._wire.wait(head_timeout)
        if end > self._max_head or not self._is_taken():
            return None
        head = _parse(self._buffer[: end + len(_END)])
        if head is not None:
            self._buffer = self._buffer[end + len(_END) :]
        return head

    def _is_taken(self) -> bool:
        method, _, rest = self._buffer.partition(b" ")
        target = rest.partition(b" ")[0]
        path = target.partition(b"?")[0]
        return self._app.takes(method.decode("latin-1"), path.decode("latin-1"))

    async def _serve(self, head: _Head) -> bool:
        """Answer a request, and tell whether there may be another."""
        body = _Body(self, head)
        request = Request(head.method, head.path, head.query, head.fields, body)
        self.is_unread = True
        reply = await self._app(request)
        keep = head.keep_alive and not head.is_chunked and body.left == 0
        self.is_unread = body.left > 0
        match reply:
            case Events():
                data = _head(reply, {"Transfer-Encoding": "chunked"}, keep=False)
                if await self._wire.write(data):
                    self._wire.adopt(reply.talker, reply.bell, reply.within)
                return False
            case Pieces():
                return await self._write_pieces(reply, body, keep=head.keep_alive)
            case Whole():
                data = _head(reply, _length(reply), keep=keep)
                return await self._wire.write(data + reply.body) and keep

    async def _write_pieces(self, reply: Pieces, body: _Body, *, keep: bool) -> bool:
        keep = keep and not body.is_chunked
        head = _head(reply, {"Transfer-Encoding": "chunked"}, keep=keep)
        if not await self._wire.write(head):
            return False
        async with aclosing(reply.body) as pieces:
            async for piece in pieces:
                chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
                if piece and not await self._wire.write(chunk):
                    return False
        self.is_unread = body.left > 0
        return await self._wire.write(_LAST_CHUNK) and keep and body.left == 0

    async def take(self, most: float) -> bytes:
        """Return the next bytes of a body, of at most *most*; none at the end."""
        data = self._buffer or await self._wire.receive()
        taken = data if len(data) <= most else data[: int(most)]
        self._buffer = data[len(taken) :]
        return taken


@final
class _Head:
    """The head of a request, and the parser that has read it."""

    __slots__ = (
        "_fields", "_target", "body", "fields", "is_chunked", "is_over", "keep_alive",
        "length", "method", "parser", "path", "query",
    )  # fmt: skip

    def __init__(self, data: bytes) -> None:
        self._fields: list[tuple[str, str]] = []
        self._target = b""
        self.body: list[bytes] = []
        self.is_over = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)
        path, _, query = self._target.partition(b"?")
        self.method = self.parser.get_method().decode("latin-1")
        self.path, self.query = path.decode("latin-1"), query
        self.fields = Fields(self._fields)
        self.keep_alive = self.parser.should_keep_alive()
        self.is_chunked = self.fields.get("transfer-encoding") is not None
        self.length = int(self.fields.get("content-length") or 0)

    # What the parser calls.

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        field = name.decode("latin-1").lower(), value.decode("latin-1")
        self._fields.append(field)

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.is_over = True


def _parse(data: bytes) -> _Head | None:
    """Read a head; `None` for one that is to be answered the usual way."""
    try:
        head = _Head(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError):
        return None
    # Whoever waits to be invited, and HTTP/1.0, are rare enough.
    is_usual = head.parser.get_http_version() == "1.1"
    return head if is_usual and head.fields.get("expect") is None else None


@final
class _Body:
    """The body of a request, read as it is asked for."""

    def __init__(self, plain: Plain, head: _Head) -> None:
        self._plain = plain
        self._head = head
        self.is_chunked = head.is_chunked
        self.left: float = 1 if head.is_chunked else head.length

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.left:
            raise StopAsyncIteration
        data = await self._plain.take(inf if self.is_chunked else self.left)
        if not data:
            # The peer is gone in the middle: what has come is not what was meant.
            raise CutShortError
        if not self.is_chunked:
            self.left -= len(data)
            return data
        return self._decoded(data)

    def _decoded(self, data: bytes) -> bytes:
        head = self._head
        try:
            head.parser.feed_data(data)
        except httptools.HttpParserError:
            raise CutShortError from None
        self.left = 0 if head.is_over else 1
        decoded = b"".join(head.body)
        head.body.clear()
        return decoded


@final
class CutShortError(Exception):
    """A body that ended before its end, or made no sense; nobody can be answered."""


def _length(reply: Whole) -> Mapping[str, str]:
    # RFC 9110 8.6: not with 204, nor with a 304 whose 200 has another length.
    return (
        {} if reply.status in (204, 304) else {"Content-Length": str(len(reply.body))}
    )


def _head(reply: Reply, framing: Mapping[str, str], *, keep: bool) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, '')}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    lines += [f"{name}: {value}" for name, value in framing.items()]
    lines.append(f"Date: {_date()}")
    if not keep:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")


_dates: dict[int, str] = {}


def _date() -> str:
    """Return the time as HTTP writes it; made once a second."""
    now = int(time())
    if now not in _dates:
        _dates.clear()
        _dates[now] = formatdate(now, usegmt=True)
    return _dates[now]
