"""A request of plain HTTP/1.1: its head, and its body as it is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from math import inf
from typing import Protocol, final

import attrs
import httptools
import trio

from .interface import Headers

_SHORT = 1_024
"""Bytes of a head up to which it is kept, in case it comes again."""


@final
@attrs.frozen(kw_only=True)
class Head:
    """The head of a request; *data* is what was sent of it, *line* how it begins."""

    data: bytes
    line: bytes
    method: str
    path: str
    query: bytes
    headers: Headers
    keep_alive: bool
    is_chunked: bool
    length: int


@final
class _RequestParser:
    """What a parser tells of one request.

    It goes on with what was sent behind the request, which must not become a part of
    it, and neither must the fields behind a body.
    """

    def __init__(self, data: bytes) -> None:
        self.target = b""
        self.fields: list[tuple[str, str]] = []
        self.body: list[bytes] = []
        self.keep_alive = self._is_whole = self.is_over = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        if not self._is_whole:
            self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_whole:
            # RFC 9112 5.1: the space around a value is not a part of it.
            text = value.decode("latin-1").rstrip(" \t")
            self.fields.append((name.decode("latin-1").lower(), text))

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
    return _known(data) if len(data) <= _SHORT else _parse(data)


def _parse(data: bytes) -> Head | None:
    try:
        head = _read(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError):
        return None
    fields = head.headers
    # Whoever waits to be invited, HTTP/1.0 and other codings are rare enough, and
    # RFC 9112 3.2 has a request without one host refused. The parser lets more than
    # one space pass in the first line (RFC 9112 3: it should not be).
    is_usual = (
        data.startswith(head.line)
        and len(fields.getlist("host")) == 1
        and fields.get("expect") is None
        and (fields.get("transfer-encoding") or "chunked").lower() == "chunked"
    )
    return head if is_usual else None


# A back-end says the same on a connection again and again, but for a length perhaps.
# It is no way to guess at a secret in a head: one is known as a whole, or not at all.
_known = lru_cache(maxsize=256)(_parse)


def _read(data: bytes) -> Head:
    reader = _RequestParser(data)
    method, target = reader.parser.get_method(), reader.target
    path, _, query = target.partition(b"?")
    fields = Headers(reader.fields)
    return Head(
        data=data,
        line=b"%b %b HTTP/1.1\r\n" % (method, target),
        method=method.decode("latin-1"),
        path=path.decode("latin-1"),
        query=query,
        headers=fields,
        keep_alive=reader.keep_alive,
        is_chunked=fields.get("transfer-encoding") is not None,
        length=int(fields.get("content-length") or 0),
    )


class BodyReader(Protocol):
    """Where a body comes from."""

    async def take(self, most: float) -> bytes:
        """Return the next bytes, of at most *most*; none at the end."""
        ...

    def buffered(self, size: int) -> bytes | None:
        """Take so many bytes if they have come, and none otherwise."""
        ...


@final
class BufferedBody:
    """The body of a request, read as it is asked for.

    If it is cut short, whoever reads it is cancelled: what has come is not what was
    meant, and nothing must be done about it.
    """

    def __init__(self, head: Head, source: BodyReader) -> None:
        self._source = source
        self._reader = _RequestParser(head.data) if head.is_chunked else None
        self.left = 1 if head.is_chunked else head.length
        self.is_chunked = head.is_chunked
        self.is_malformed = False
        self.until_cut: trio.CancelScope | None = None
        """What is cancelled if the body is cut short; it has to be there by then."""

    @property
    def is_unread(self) -> bool:
        """Whether there is more to come that nobody will read."""
        # Behind chunks nothing is read on, and who knows what was sent there.
        return self.is_chunked or self.left > 0

    def buffered(self) -> bytes | None:
        """Take the whole body if it has come, and nothing of it otherwise."""
        taken = None if self.is_chunked else self._source.buffered(self.left)
        if taken is not None:
            self.left = 0
        return taken

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.left:
            raise StopAsyncIteration
        data = await self._source.take(inf if self._reader else self.left)
        if not data:
            return await self._cut()
        if self._reader is None:
            self.left -= len(data)
            return data
        decoded = self._decoded(self._reader, data)
        return await self._cut() if self.is_malformed else decoded

    async def _cut(self) -> bytes:
        assert self.until_cut is not None
        self.until_cut.cancel()
        await trio.lowlevel.checkpoint()
        raise IncompleteBody

    def _decoded(self, reader: _RequestParser, data: bytes) -> bytes:
        try:
            reader.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # What comes behind the end may make no sense: nobody reads it.
            self.is_malformed = not reader.is_over
        self.left = 0 if reader.is_over else 1
        decoded = b"".join(reader.body)
        reader.body.clear()
        return decoded


@final
class IncompleteBody(Exception):  # noqa: N818, h11 names what ended
    """A body that ended before its end, or made no sense; nobody can be answered."""
