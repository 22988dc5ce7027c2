"""One connection that ASGI serves: its timeouts, its writes and its end.

One task reads from the connection, inside the cancel scope of its idle timeout. The
timeout runs while the connection waits for a request, and is infinite while it serves
one. Everything that ends the connection early cancels the same scope. So a request
starts no timer task, and the cancellation of an application interrupts nothing here.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import TypeAlias, final

import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H2ProtocolAssumedError
from hypercorn.utils import parse_socket_addr

from ..driver import EventStream
from ..wakeup import Wakeup
from .asgi.app_task import AppRunner
from .asgi.connection_context import ConnectionContext
from .asgi.http1 import GuardedH11Protocol
from .asgi.http2 import Http2Connection
from .context import ServerContext
from .paced_stream import PacedStream
from .timeouts import IdleTimeout

RECEIVE_SIZE = 64 * 1024
"""Limit of one read, in bytes."""

LINGER = 1.0
"""Timeout of a lingering close and of the TLS closing handshake, in seconds."""

WRITES_BEFORE_YIELD = 16
"""Writes that do not block after which other tasks run."""

AnyStream: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"


@final
class Connection:
    """Runs one connection from its first byte to its last: TLS, HTTP and ASGI."""

    def __init__(self, context: ServerContext, stream: AnyStream) -> None:
        self._context = context
        self._limits = context.limits
        self._tls = stream if isinstance(stream, trio.SSLStream) else None
        transport = (
            stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        )
        self._socket = transport.socket
        self._paced = PacedStream(
            transport,
            write_timeout=context.limits.write_timeout,
            shutdown_deadline=context.shutdown_deadline,
        )
        if self._tls:
            self._tls.transport_stream = self._paced  # type: ignore[assignment]
        self._stream = self._tls or self._paced
        self._writing = trio.Lock()
        self._written = 0
        self._idle_timeout = IdleTimeout(context.timeouts)
        self._protocol: GuardedH11Protocol | Http2Connection
        self._nursery: trio.Nursery
        self._is_busy = self._is_closed = False
        self._is_mid_head = True

    async def run(self, received: bytes = b"") -> None:
        """Serve until the connection ends; *received* are its bytes so far."""
        self._idle_timeout.reset(self._limits.head_timeout)
        self._set_waiting(is_waiting=not received)
        try:
            # A request that has begun is served also while the server drains.
            if received or await self._can_begin():
                await self._serve(received)
        except (OSError, trio.BrokenResourceError):
            # The peer left before a protocol took over.
            self._is_closed = True
        finally:
            self._set_waiting(is_waiting=False)
            self._idle_timeout.reset(math.inf)
            await self._end()

    def drain(self) -> None:
        """Close the connection if it serves no request."""
        if not self._is_busy:
            self._idle_timeout.scope.cancel()
        elif isinstance(self._protocol, Http2Connection):
            self._nursery.start_soon(self._protocol.drain)

    async def _can_begin(self) -> bool:
        """Complete the TLS handshake; return whether a request may follow."""
        if self._tls:
            with self._idle_timeout.scope as scope:
                await self._tls.do_handshake()
            self._idle_timeout.rearm()
            if scope.cancelled_caught:
                return False
        return not self._context.is_draining

    async def _serve(self, received: bytes) -> None:
        family = self._socket.family
        client = parse_socket_addr(family, self._socket.getpeername())
        server = parse_socket_addr(family, self._socket.getsockname())
        can_hand_off = self._tls is None and self._context.dispatcher is not None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            connection = ConnectionContext(
                context=self._context,
                apps=AppRunner(nursery),
                send=self._send,
                receive=self._receive,
                hand_off=self._hand_off if can_hand_off else None,
                ssl=self._tls is not None,
                client=client,
                server=server,
            )
            is_http2 = self._tls and self._tls.selected_alpn_protocol() == "h2"
            protocol_class = Http2Connection if is_http2 else GuardedH11Protocol
            self._protocol = protocol_class(connection)
            with self._idle_timeout.scope:
                await self._protocol.initiate()
                await self._read(connection, received)
            await self._protocol.handle(Closed())
            # A drain must not start another task in this nursery.
            self._is_busy = False

    def _hand_off(
        self,
        stream: EventStream,
        wakeup: Wakeup,
        lifespan: AbstractContextManager[object],
    ) -> None:
        """Give the socket to the dispatcher, which drives *stream* on it."""
        dispatcher = self._context.dispatcher
        assert dispatcher is not None
        dispatcher.add(self._paced.detach(), stream, wakeup, lifespan=lifespan)
        self._is_closed = True
        self._idle_timeout.scope.cancel()

    async def _read(self, connection: ConnectionContext, received: bytes) -> None:
        if received:
            await self._handle(connection, received)
        while data := await self._receive():
            if not self._is_closed:
                await self._handle(connection, data)

    async def _handle(self, connection: ConnectionContext, data: bytes) -> None:
        try:
            await self._protocol.handle(RawData(data))
        except H2ProtocolAssumedError as error:
            self._protocol = Http2Connection(connection)
            self._set_waiting(is_waiting=True)
            await self._protocol.initiate()
            await self._protocol.handle(RawData(error.data))
        self._watch_head()

    async def _receive(self) -> bytes:
        """Receive the next bytes; ``b""`` at the end, after errors too."""
        try:
            return bytes(await self._stream.receive_some(RECEIVE_SIZE))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    def _watch_head(self) -> None:
        """Restart the timeout when a request head begins, and when it is complete."""
        is_mid_head = self._protocol.is_mid_head
        if is_mid_head != self._is_mid_head and not self._is_closed:
            self._is_mid_head = is_mid_head
            self._reset_timeout(self._limits.head_timeout if is_mid_head else None)

    def _set_waiting(self, *, is_waiting: bool) -> None:
        idle_connections = self._context.idle_connections
        idle_connections.update(self._idle_timeout, is_waiting=is_waiting)

    def _reset_timeout(self, seconds: float | None = None) -> None:
        """Restart the timeout; by default it is infinite during a request."""
        if seconds is None:
            seconds = math.inf if self._is_busy else self._limits.keep_alive_timeout
        self._idle_timeout.reset(seconds)

    async def _send(self, event: Event) -> None:
        """Handle an event of the protocol: bytes to send, its end, or its state."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Closed):
            self._finish()
        elif isinstance(event, Updated) and not self._is_closed:
            self._is_busy = not event.idle
            self._set_waiting(is_waiting=event.idle)
            self._is_mid_head = False
            self._reset_timeout()
            if event.idle and self._context.is_draining:
                self._idle_timeout.scope.cancel()

    def _finish(self) -> None:
        """Close the connection from the server's side."""
        self._is_closed = True
        if self._protocol.is_unread and self._tls is None:
            # RFC 9112 9.6: closing now would reset the connection, and the peer could
            # lose the response before it reads it.
            self._paced.shutdown_write()
            self._idle_timeout.reset(LINGER)
        else:
            self._idle_timeout.scope.cancel()

    async def _write(self, data: bytes) -> None:
        sent = 0
        if not (self._tls or self._is_closed or self._writing.locked()):
            sent = self._paced.send_nowait(data)
        self._written += 1
        if sent < len(data):
            await self._write_slowly(memoryview(data)[sent:])
            await trio.lowlevel.checkpoint_if_cancelled()
        elif self._written % WRITES_BEFORE_YIELD == 0:
            await trio.lowlevel.checkpoint()

    async def _write_slowly(self, rest: memoryview) -> None:
        # Shielded, since the protocol counts these bytes as sent. The write timeout
        # bounds the time that the lock is held, and so the time to wait for it.
        with trio.CancelScope(shield=True):
            async with self._writing:
                if self._is_closed:
                    return
                try:
                    await self._stream.send_all(rest)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self._context.counters.timed_out += self._paced.has_timed_out
                    self._is_closed = True
                    self._idle_timeout.scope.cancel()

    async def _end(self) -> None:
        if self._tls and not self._is_closed:
            with trio.move_on_after(LINGER, shield=True):
                await self._tls.aclose()
        self._paced.close()
