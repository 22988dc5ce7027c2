"""One plain HTTP/1.1 connection, served the short way for as long as that goes."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, aclosing
from email.utils import formatdate
from http import HTTPStatus
from time import time
from typing import Protocol, final

import trio

from ...driver import EventStream
from ...wakeup import Wakeup
from .interface import (
    AnyResponse,
    App,
    EventStreamResponse,
    FastRequest,
    Response,
    StreamingResponse,
)
from .request_parser import BufferedBody, Head, IncompleteBody, parse

# A bare LF ends a line too, for whoever is to be told that it should not have.
_END = re.compile(rb"\n\r?\n")
# No request begins so: it is TLS, or something else that is to be told soon.
_STRANGE = frozenset(bytes([byte]) for byte in range(0x21))
_LAST_CHUNK = b"0\r\n\r\n"
_CHUNKED = "Transfer-Encoding: chunked\r\n"
_ENDS = {True: "\r\n", False: "Connection: close\r\n\r\n"}
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Transport(Protocol):
    """What is needed of a connection."""

    @property
    def is_draining(self) -> bool:
        """Whether no further request is taken."""
        ...

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
        self,
        talker: EventStream,
        bell: Wakeup,
        within: AbstractContextManager[object],
        head: bytes = b"",
    ) -> None:
        """Hand the connection over to a stream, in chunks, behind this *head*."""
        ...


@final
class Http1Connection:
    """Serves *app* over *wire*, with heads of at most *max_head* bytes.

    What has come already was *begun*.
    """

    def __init__(
        self, app: App, wire: Transport, *, max_head: int, begun: bytes = b""
    ) -> None:
        self._app = app
        self._transport = wire
        self._max_head = max_head
        self._buffer = begun
        self._is_answered = False
        self.is_unread = False
        """Whether the peer is still sending what nobody will read."""

    async def run(self, head_timeout: float, idle_timeout: float) -> bytes:
        """Serve; return what is to be served otherwise, or nothing at the end."""
        patience = head_timeout
        while True:
            self._transport.wait(patience)
            if self._buffer:
                # What was sent ahead is a further request too, and may come too late.
                await trio.lowlevel.checkpoint_if_cancelled()
            head = await self._next_head(head_timeout)
            if head is None:
                return self._buffer
            self._transport.wait(None)
            if not await self._serve(head):
                return b""
            patience = head_timeout if self._buffer else idle_timeout

    def parse_complete(self, data: bytes) -> Head | None:
        """Return the head of the request that *data* is, if it can be taken so.

        It is a request with all of its body, and nothing behind it; `answer()` is next.
        """
        found = _END.search(data)
        if found is None or (end := found.end()) > self._max_head:
            return None
        head = parse(data[:end])
        if head is None or head.is_chunked or head.length != len(data) - end:
            return None
        self._buffer = data[end:]
        return head if self._app.handles(head.method, head.path, head.query) else None

    async def answer(self, head: Head) -> tuple[bytes, bool]:
        """Answer a request that is here whole; tell whether there may be another.

        What it returns of the answer is still to be written.
        """
        return await self._answer(head, BufferedBody(head, self))

    async def _next_head(self, head_timeout: float) -> Head | None:
        """Wait for a request, and return its head if it can be taken."""
        is_timed = bool(self._buffer)
        while (found := _END.search(self._buffer)) is None:
            if len(self._buffer) > self._max_head or self._buffer[:1] in _STRANGE:
                return None
            if self._buffer and not is_timed:
                self._transport.wait(head_timeout)
                is_timed = True
            data = await self._transport.receive()
            if not data:
                self._buffer = b""
                return None
            self._buffer += data
        end = found.end()
        head = parse(self._buffer[:end]) if end <= self._max_head else None
        if head is None or not self._app.handles(head.method, head.path, head.query):
            return None
        self._buffer = self._buffer[end:]
        return head

    async def _serve(self, head: Head) -> bool:
        """Answer a request, and tell whether there may be another."""
        body = BufferedBody(head, self)
        self.is_unread = body.is_unread
        if not head.is_chunked and body.left <= len(self._buffer):
            # What is here cannot be cut short.
            return await self._write(*await self._answer(head, body))
        with trio.CancelScope() as body.until_cut:
            return await self._write(*await self._answer(head, body))
        if body.is_malformed and not self._is_answered:
            await self._transport.write(_refusal())
        raise IncompleteBody

    async def _write(self, data: bytes, keep: bool) -> bool:
        return (not data or await self._transport.write(data)) and keep

    async def _answer(self, head: Head, body: BufferedBody) -> tuple[bytes, bool]:
        self._is_answered = False
        request = FastRequest(head.method, head.path, head.query, head.headers, body)
        reply = await self._app(request)
        self._is_answered = True
        keep = head.keep_alive and not head.is_chunked and body.left == 0
        keep = keep and not self._transport.is_draining
        self.is_unread = body.is_unread
        match reply:
            case Response():
                data = _head(reply, _length(reply), keep=keep)
                return data + reply.body, keep
            case StreamingResponse():
                return b"", await self._write_pieces(reply, body, keep=head.keep_alive)
            case EventStreamResponse():
                data = _head(reply, _CHUNKED, keep=False)
                # In one write with the first frames.
                self._transport.adopt(reply.stream, reply.wakeup, reply.lifespan, data)
                return b"", False

    async def _write_pieces(
        self, reply: StreamingResponse, body: BufferedBody, *, keep: bool
    ) -> bool:
        keep = keep and not body.is_chunked and not self._transport.is_draining
        if not await self._transport.write(_head(reply, _CHUNKED, keep=keep)):
            return False
        async with aclosing(reply.body) as pieces:
            async for piece in pieces:
                chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
                if piece and not await self._transport.write(chunk):
                    return False
        self.is_unread = body.is_unread
        return await self._transport.write(_LAST_CHUNK) and keep and body.left == 0

    async def take(self, most: float) -> bytes:
        """Return the next bytes of a body, of at most *most*; none at the end."""
        data = self._buffer or await self._transport.receive()
        taken = data if len(data) <= most else data[: int(most)]
        self._buffer = data[len(taken) :]
        return taken

    def buffered(self, size: int) -> bytes | None:
        """Take so many bytes of a body if they have come, and none otherwise."""
        if len(self._buffer) < size:
            return None
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


def _refusal() -> bytes:
    refusal = Response(status=400)
    return _head(refusal, _length(refusal), keep=False)


def _length(reply: Response) -> str:
    # RFC 9110 8.6: not with 204, nor with a 304 whose 200 has another length.
    has_one = reply.status not in (204, 304)
    return f"Content-Length: {len(reply.body)}\r\n" if has_one else ""


def _head(reply: AnyResponse, framing: str, *, keep: bool) -> bytes:
    fields = [f"{name}: {value}\r\n" for name, value in reply.headers.items()]
    head = (
        f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, '')}\r\n"
        f"{''.join(fields)}{framing}Date: {_date()}\r\n{_ENDS[keep]}"
    )
    return head.encode("latin-1")


_dates: dict[int, str] = {}


def _date() -> str:
    """Return the time as HTTP writes it; made once a second."""
    now = int(time())
    if now not in _dates:
        _dates.clear()
        _dates[now] = formatdate(now, usegmt=True)
    return _dates[now]
