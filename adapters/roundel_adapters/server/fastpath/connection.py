"""One connection of the fast loop."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import final

import attrs
import trio

from ..context import ServerContext
from ..dispatcher.socket_stream import LAST_CHUNK, encode_chunk
from ..paced_stream import PacedStream
from ..timeouts import IdleTimeout
from .interface import FastEventStream
from .request_parser import FastRequest, RequestReader
from .response_encoder import CHUNKED, content_length, encode_head

RECEIVE_SIZE = 64 * 1024
"""Limit of one read from a socket, in bytes."""

BODY_TIMEOUT = 1.0
"""Timeout for the rest of a body, in seconds; ASGI waits for it after that."""


@final
@attrs.define(eq=False, weakref_slot=False)
class FastConnection:
    """A connection that the fast loop serves; *idle_timeout* expires while it waits."""

    _context: ServerContext
    reader: RequestReader
    sock: socket.socket
    file: int
    """The file descriptor of *sock*, which stays when *sock* is closed."""
    _idle_timeout: IdleTimeout
    is_busy: bool = attrs.field(default=False, init=False)
    """Whether a request has begun that a shutdown has to wait for."""
    is_closed: bool = attrs.field(default=False, init=False)
    """Whether the loop must not use the socket any more."""
    is_detached: bool = attrs.field(default=False, init=False)
    """Whether the dispatcher or ASGI has the socket."""
    keep_alive: bool = attrs.field(default=False, init=False)
    """Whether another request may follow the response."""
    _paced: PacedStream | None = attrs.field(default=None, init=False)
    _unsent: bytes = attrs.field(default=b"", init=False)

    def set_timeout(self, seconds: float = math.inf, *, is_busy: bool) -> None:
        """Restart the idle timeout; infinity means none."""
        self.is_busy = is_busy
        idle_connections = self._context.idle_connections
        idle_connections.update(self._idle_timeout, is_waiting=not is_busy)
        self._idle_timeout.reset(seconds)

    def receive(self) -> FastRequest | None:
        """Read once; return the request if it is complete, and restart the timeout.

        Raises `UnsupportedRequest` if ASGI has to serve it, and `EOFError`.
        """
        data = self.sock.recv(RECEIVE_SIZE)
        if not data:
            raise EOFError
        request = self.reader.receive_data(data)
        if request is not None:
            self.set_timeout(is_busy=True)
        elif self.reader.has_head:
            if not self.is_busy:
                self.set_timeout(BODY_TIMEOUT, is_busy=True)
        elif len(self.reader.received) == len(data):
            # The first bytes of a head.
            self.set_timeout(self._context.limits.head_timeout, is_busy=False)
        return request

    async def respond(self, request: FastRequest) -> None:
        """Run the handler; `send()` has to send a complete response afterwards."""
        self.keep_alive = False
        response = await request.handler(request.head.headers, request.body)
        if not hasattr(response, "body"):
            self._start_stream(response)
            return
        keep_alive = request.head.keep_alive and not self._context.is_draining
        body = response.body
        if isinstance(body, bytes):
            framing = content_length(response.status, body)
            head = encode_head(response, framing, keep_alive=keep_alive)
            self._unsent = head + body
            self.keep_alive = keep_alive
        else:
            head = encode_head(response, CHUNKED, keep_alive=keep_alive)
            self.keep_alive = await self._send_chunks(head, body) and keep_alive

    def _start_stream(self, response: FastEventStream) -> None:
        """Give the socket to the dispatcher, which sends head and first events."""
        dispatcher = self._context.dispatcher
        assert dispatcher is not None
        head = encode_head(response, CHUNKED, keep_alive=False)
        self.is_detached = self.is_closed = True
        dispatcher.add(
            self.sock,
            response.stream,
            response.wakeup,
            lifespan=response.lifespan,
            head=head,
        )

    async def _send_chunks(
        self, head: bytes, chunks: AsyncGenerator[bytes, None]
    ) -> bool:
        """Send a response while it is generated; return whether the peer took it."""
        if not await self._write(head):
            return False
        async with aclosing(chunks):
            async for data in chunks:
                if data and not await self._write(encode_chunk(data)):
                    return False
        return await self._write(LAST_CHUNK)

    def send(self) -> bool:
        """Send the response; return whether the socket took all of it."""
        if self._unsent:
            self._unsent = self._unsent[self._send_nowait(self._unsent) :]
        return not self._unsent

    async def send_rest(self) -> None:
        """Send what the socket did not take, at the pace of the peer."""
        await self._write_slowly(self._unsent)
        self._unsent = b""

    def detach(self) -> trio.SocketStream:
        """Return the connection for a task of its own."""
        self.is_detached = self.is_closed = True
        return self._trio_stream()

    def close(self) -> None:
        """Stop the timeout, and close the socket unless it is detached."""
        idle_connections = self._context.idle_connections
        idle_connections.update(self._idle_timeout, is_waiting=False)
        self._idle_timeout.stop()
        self.is_closed = True
        if not self.is_detached:
            self.sock.close()

    async def _write(self, data: bytes) -> bool:
        """Write all of *data*; return whether the peer is still there."""
        sent = self._send_nowait(data)
        if sent < len(data):
            await self._write_slowly(memoryview(data)[sent:])
        return not self.is_closed

    def _send_nowait(self, data: bytes) -> int:
        """Send what the socket takes; return how many bytes that was."""
        try:
            return self.sock.send(data)
        except OSError:
            # Sending the rest raises it again.
            return 0

    async def _write_slowly(self, data: bytes | memoryview) -> None:
        paced = self._paced_stream()
        try:
            await paced.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._context.counters.timed_out += paced.has_timed_out
            self.is_closed = True
        await trio.lowlevel.checkpoint_if_cancelled()

    def _paced_stream(self) -> PacedStream:
        if self._paced is None:
            self._paced = PacedStream(
                self._trio_stream(),
                write_timeout=self._context.limits.write_timeout,
                shutdown_deadline=self._context.shutdown_deadline,
            )
        return self._paced

    def _trio_stream(self) -> trio.SocketStream:
        return trio.SocketStream(trio.socket.from_stdlib_socket(self.sock))
