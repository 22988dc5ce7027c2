"""A request of plain HTTP/1.1: its head, and its body as it is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from math import inf
from typing import final

import httptools
import trio

from .plain import Fields

_VERSION = b" HTTP/1.1"


@final
class Head:
    """The head of a request, and the parser that has read it."""

    __slots__ = (
        "_fields", "_is_whole", "_target", "body", "fields", "is_chunked", "is_over",
        "keep_alive", "length", "method", "parser", "path", "query",
    )  # fmt: skip

    def __init__(self, data: bytes) -> None:
        self._fields: list[tuple[str, str]] = []
        self._target = b""
        self.body: list[bytes] = []
        self._is_whole = self.is_over = self.keep_alive = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)
        path, _, query = self._target.partition(b"?")
        self.method = self.parser.get_method().decode("latin-1")
        self.path, self.query = path.decode("latin-1"), query
        self.fields = Fields(self._fields)
        self.is_chunked = self.fields.get("transfer-encoding") is not None
        self.length = int(self.fields.get("content-length") or 0)

    # What the parser calls. It goes on with what was sent behind the request, which
    # must not become a part of it, and neither must the fields behind a body.

    def on_url(self, url: bytes) -> None:
        if not self._is_whole:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_whole:
            # RFC 9112 5.1: the space around a value is not a part of it.
            text = value.decode("latin-1").rstrip(" \t")
            self._fields.append((name.decode("latin-1").lower(), text))

    def on_headers_complete(self) -> None:
        # A request without a body is over with its head, and forgotten with that.
        if not self._is_whole:
            self.keep_alive = self.parser.should_keep_alive()
        self._is_whole = True

    def on_body(self, body: bytes) -> None:
        if not self.is_over:
            self.body.append(body)

    def on_message_complete(self) -> None:
        self.is_over = True


def parse(data: bytes) -> Head | None:
    """Read a head; `None` for one that is to be answered the usual way."""
    try:
        head = Head(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError):
        return None
    fields = head.fields
    # Whoever waits to be invited, HTTP/1.0 and other codings are rare enough, and
    # RFC 9112 3.2 has a request without one host refused.
    is_usual = (
        data.partition(b"\r\n")[0].endswith(_VERSION)
        and len(fields.getlist("host")) == 1
        and fields.get("expect") is None
        and (fields.get("transfer-encoding") or "chunked").lower() == "chunked"
    )
    return head if is_usual else None


@final
class Body:
    """The body of a request, read as it is asked for.

    If it is cut short, whoever reads it is cancelled: what has come is not what was
    meant, and nothing must be done about it.
    """

    def __init__(self, head: Head, take: Callable[[float], Awaitable[bytes]]) -> None:
        self._head = head
        self._take = take
        self.is_chunked = head.is_chunked
        self.left: float = 1 if head.is_chunked else head.length
        self.is_garbled = False
        self.until_cut = trio.CancelScope()

    @property
    def is_unread(self) -> bool:
        """Whether there is more to come that nobody will read."""
        # Behind chunks nothing is read on, and who knows what was sent there.
        return self.is_chunked or self.left > 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.left:
            raise StopAsyncIteration
        data = await self._take(inf if self.is_chunked else self.left)
        if not data:
            return await self._cut()
        if not self.is_chunked:
            self.left -= len(data)
            return data
        decoded = self._decoded(data)
        return await self._cut() if self.is_garbled else decoded

    async def _cut(self) -> bytes:
        self.until_cut.cancel()
        await trio.lowlevel.checkpoint()
        raise CutShortError

    def _decoded(self, data: bytes) -> bytes:
        head = self._head
        try:
            head.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # What comes behind the end may make no sense: nobody reads it.
            self.is_garbled = not head.is_over
        self.left = 0 if head.is_over else 1
        decoded = b"".join(head.body)
        head.body.clear()
        return decoded


@final
class CutShortError(Exception):
    """A body that ended before its end, or made no sense; nobody can be answered."""
