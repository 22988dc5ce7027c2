"""One connection, guarded: its deadlines, its writes and its end."""

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
from .asgi.http1 import GuardedH11Protocol
from .asgi.http2 import Http2Connection
from .asgi.interface import Address, ConnectionContext, HttpProtocol
from .context import ServerContext
from .fastpath.http1 import Http1Connection
from .fastpath.interface import App
from .fastpath.request_parser import IncompleteBody
from .paced_stream import PacedStream
from .timeouts import IdleTimeout

RECEIVE = 64 * 1024
LINGER = 1.0
"""Seconds in which a peer that is still sending may read why it should not."""
WRITES_BEFORE_YIELD = 16
"""Writes in a row before an application that never waits lets others run."""

AnyStream: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"


@final
class Connection:
    """The server's side of one connection, from its first byte to its last.

    One task reads, and ends the connection; whatever else finds that it should end
    takes that task's patience. Patience has a deadline while the connection waits
    for a request, and none while it serves one. So a request costs no timer task,
    and nothing that an application's cancellation could interrupt.
    """

    def __init__(
        self, site: ServerContext, stream: AnyStream, fastpath: App | None = None
    ) -> None:
        self._fastpath = fastpath
        self._site = site
        self._limits = site.limits
        self._tls = stream if isinstance(stream, trio.SSLStream) else None
        plain = (
            stream if isinstance(stream, trio.SocketStream) else stream.transport_stream
        )
        self._socket = plain.socket
        self._paced = PacedStream(
            plain,
            write_timeout=site.limits.write_timeout,
            shutdown_deadline=site.shutdown_deadline,
        )
        if self._tls:
            self._tls.transport_stream = self._paced  # type: ignore[assignment]
        self._stream = self._tls or self._paced
        self._writing = trio.Lock()
        self._written = 0
        self._idle_timeout = IdleTimeout(site.timeouts)
        self._protocol: HttpProtocol
        self._is_busy = self._is_over = False
        self._is_mid_head = True

    async def run(self, begun: bytes = b"") -> None:
        """Serve the connection, of which *begun* was received, until it ends."""
        try:
            if await self._tls_handshake():
                await self._serve(begun)
        except (OSError, trio.BrokenResourceError):
            # The peer is gone before it has begun.
            self._is_over = True
        finally:
            # Nothing is to be looked at again.
            self._idle_timeout.reset(math.inf)
            await self._end()

    def drain(self) -> None:
        """Take no further request, and end the connection if it serves none."""
        if not self._is_busy:
            self._idle_timeout.scope.cancel()

    async def _tls_handshake(self) -> bool:
        """Agree on TLS, and tell whether a request may come."""
        self._idle_timeout.reset(self._limits.head_timeout)
        if self._tls:
            with self._idle_timeout.scope as scope:
                await self._tls.do_handshake()
            self._idle_timeout.rearm()
            if scope.cancelled_caught:
                return False
        return not self._site.is_draining

    async def _serve(self, begun: bytes) -> None:
        if self._fastpath is not None and not self._tls:
            with self._idle_timeout.scope as scope:
                begun = await self._serve_shortly(self._fastpath, begun)
            if not begun or scope.cancelled_caught:
                return
            self._idle_timeout.rearm()
        await self._serve_asgi(begun)

    async def _serve_asgi(self, begun: bytes) -> None:
        family = self._socket.family
        client = parse_socket_addr(family, self._socket.getpeername())
        server = parse_socket_addr(family, self._socket.getsockname())
        async with trio.open_nursery() as nursery:
            link = self._connection_context(AppRunner(nursery), client, server)
            speaks_h2 = self._tls and self._tls.selected_alpn_protocol() == "h2"
            self._protocol = (Http2Connection if speaks_h2 else GuardedH11Protocol)(
                self._site, link
            )
            with self._idle_timeout.scope:
                await self._protocol.initiate()
                await self._read(link, begun)
            await self._protocol.handle(Closed())

    async def _serve_shortly(self, app: App, begun: bytes) -> bytes:
        """Serve what *app* takes; return the beginning of what it does not."""
        plain = Http1Connection(app, self, max_head=self._limits.max_head, begun=begun)
        try:
            return await plain.run(
                self._limits.head_timeout, self._limits.keep_alive_timeout
            )
        except IncompleteBody:
            return b""
        finally:
            if plain.is_unread and not self._is_over:
                await self._linger()

    async def _linger(self) -> None:
        # Closing now would reset the connection, and with it take from the peer the
        # answer that tells it to stop (RFC 9112 9.6).
        self._is_over = True
        self._paced.shutdown_write()
        with trio.move_on_after(LINGER):
            while await self._receive():
                pass

    # What the short way needs of a connection.

    @property
    def is_draining(self) -> bool:
        """Whether no further request is taken."""
        return self._site.is_draining

    async def receive(self) -> bytes:
        """Receive what has come, or nothing at the end."""
        return await self._receive()

    async def write(self, data: bytes) -> bool:
        """Write all, and tell whether the peer still takes something."""
        await self._write(data)
        return not self._is_over

    def wait(self, patience: float | None) -> None:
        """Be patient for so many seconds, or for as long as a request is served."""
        self._is_busy = patience is None
        self._idle_timeout.reset(math.inf if patience is None else patience)
        if patience is not None and self._site.is_draining:
            self._idle_timeout.scope.cancel()

    def adopt(
        self,
        talker: EventStream,
        bell: Wakeup,
        within: AbstractContextManager[object],
        head: bytes = b"",
    ) -> None:
        """Hand the connection over to a stream."""
        board = self._site.dispatcher
        assert board is not None
        board.add(
            self._paced.detach(), talker, bell, lifespan=within, chunked=True, head=head
        )
        self._is_over = True
        self._idle_timeout.scope.cancel()

    def _connection_context(
        self, apps: AppRunner, client: Address, server: Address
    ) -> ConnectionContext:
        return ConnectionContext(
            apps=apps,
            send=self._send,
            receive=self._receive,
            hand_off=None if self._tls or self._site.dispatcher is None else self.adopt,
            ssl=self._tls is not None,
            client=client,
            server=server,
        )

    async def _read(self, link: ConnectionContext, begun: bytes) -> None:
        if begun:
            await self._handle(link, begun)
        while data := await self._receive():
            if not self._is_over:
                await self._handle(link, data)

    async def _handle(self, link: ConnectionContext, data: bytes) -> None:
        try:
            await self._protocol.handle(RawData(data))
        except H2ProtocolAssumedError as known:
            self._protocol = Http2Connection(self._site, link)
            await self._protocol.initiate()
            await self._protocol.handle(RawData(known.data))
        self._watch_head()

    async def _receive(self) -> bytes:
        """Receive what has come, or nothing at the end, however it came."""
        try:
            return bytes(await self._stream.receive_some(RECEIVE))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    def _watch_head(self) -> None:
        """Give a head that has begun its time, and a connection that idles its own."""
        is_mid_head = self._protocol.is_mid_head
        if is_mid_head != self._is_mid_head and not self._is_over:
            self._is_mid_head = is_mid_head
            self._wait(self._limits.head_timeout if is_mid_head else None)

    def _wait(self, patience: float | None) -> None:
        if patience is None:
            patience = math.inf if self._is_busy else self._limits.keep_alive_timeout
        self._idle_timeout.reset(patience)

    async def _send(self, event: Event) -> None:
        """Do what the protocol wants: send bytes, or hear how busy it is."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Closed):
            self._finish()
        elif isinstance(event, Updated) and not self._is_over:
            self._is_busy = not event.idle
            self._is_mid_head = False
            self._wait(None)
            if event.idle and self._site.is_draining:
                self._idle_timeout.scope.cancel()

    def _finish(self) -> None:
        """End the connection from our side."""
        self._is_over = True
        if self._protocol.is_unread and self._tls is None:
            # Closing now would reset the connection, and with it take from the peer
            # the answer that tells it to stop (RFC 9112 9.6).
            self._paced.shutdown_write()
            self._idle_timeout.reset(LINGER)
        else:
            self._idle_timeout.scope.cancel()

    async def _write(self, data: bytes) -> None:
        sent = 0
        if not (self._tls or self._is_over or self._writing.locked()):
            sent = self._paced.send_nowait(data)
        self._written += 1
        if sent < len(data):
            await self._write_slowly(memoryview(data)[sent:])
            await trio.lowlevel.checkpoint_if_cancelled()
        elif self._written % WRITES_BEFORE_YIELD == 0:
            await trio.lowlevel.checkpoint()

    async def _write_slowly(self, rest: memoryview) -> None:
        # Shielded as a whole: the protocol takes these bytes for sent. The pace
        # bounds whoever holds the lock, and so all who wait for it.
        with trio.CancelScope(shield=True):
            async with self._writing:
                if self._is_over:
                    return
                try:
                    await self._stream.send_all(rest)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self._site.counters.cut += self._paced.has_timed_out
                    self._is_over = True
                    self._idle_timeout.scope.cancel()

    async def _end(self) -> None:
        if self._tls and not self._is_over:
            with trio.move_on_after(LINGER, shield=True):
                await self._tls.aclose()
        self._paced.close()
