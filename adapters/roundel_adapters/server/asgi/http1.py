"""HTTP/1.1: Hypercorn's protocol with limits, which notices a peer's end earlier."""

from __future__ import annotations

from typing import final

import h11
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H2ProtocolAssumedError, H11Protocol
from hypercorn.typing import H11SendableEvent

from .app_task import ReceiveQueue
from .authority import HOST
from .connection_context import ConnectionContext
from .exchange import HttpExchange

MAX_UNREAD_BODY = 64 * 1024
"""Bytes of a request's body that are read before the application receives them."""

EVENTS_BEFORE_YIELD = 64
"""Events of one read after which other tasks run: 0.25 ms of tiny chunks."""

_FRAMINGS = {b"content-length", b"transfer-encoding"}


@final
class GuardedH11Protocol(H11Protocol):
    """An HTTP/1.1 connection.

    It ignores the Upgrade field, as RFC 9110 7.8 allows. So there is no WebSocket, and
    no HTTP/2 by the h2c token, which RFC 9113 3.1 deprecates. HTTP/2 with prior
    knowledge raises `H2ProtocolAssumedError`.
    """

    connection: h11.Connection

    def __init__(self, connection: ConnectionContext) -> None:
        context = connection.context
        super().__init__(
            context.app,
            context.config,
            context.worker_context,
            None,  # type: ignore[arg-type]
            context.connection_state(),
            connection.ssl,
            connection.client,
            connection.server,
            connection.send,
        )
        self._limits = context.limits
        self._connection_context = connection
        self._is_head_buffered, self._buffered_head = False, b""
        self._has_ignored_bytes = False

    @property
    def is_mid_head(self) -> bool:
        """Whether the peer has sent a part of a request's head."""
        connection = self.connection
        is_idle = self.stream is None and connection.their_state is h11.IDLE
        return is_idle and bool(connection.trailing_data[0])

    @property
    def is_unread(self) -> bool:
        """Whether the peer may still be sending a request that was answered."""
        is_unread = self.connection.their_state in {h11.SEND_BODY, h11.ERROR}
        return is_unread or self._has_ignored_bytes

    async def handle(self, event: Event) -> None:
        """Handle received bytes; ignore those after a last request (RFC 9112 9.6)."""
        if isinstance(event, RawData) and self._has_last_request:
            self._has_ignored_bytes = True
        else:
            await super().handle(event)

    @property
    def _has_last_request(self) -> bool:
        return self.connection.their_state is h11.MUST_CLOSE

    async def _handle_events(self) -> None:
        can_continue, count = True, 0
        while can_continue:
            count += 1
            if count % EVENTS_BEFORE_YIELD == 0:
                await trio.lowlevel.checkpoint()
            if self._has_last_request:
                self._has_ignored_bytes |= bool(self.connection.trailing_data[0])
                return
            if self.connection.their_state is h11.IDLE:
                self._skip_empty_lines()
            if self.connection.they_are_waiting_for_100_continue:
                response = h11.InformationalResponse(status_code=100, headers=[])
                await self._send_h11_event(response)
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                await self._reject(error.error_status_hint)
                return
            can_continue = await self._handle_event(event)

    def _skip_empty_lines(self) -> None:
        """Skip the empty lines before a request line (RFC 9112 2.2)."""
        received, _ = self.connection.trailing_data
        if received.startswith((b"\r\n", b"\n")):
            # h11 rejects them. Between two requests its connection has no state.
            self.connection = h11.Connection(
                h11.SERVER, max_incomplete_event_size=self._limits.max_head
            )
            if rest := received.lstrip(b"\r\n"):
                self.connection.receive_data(rest)

    async def _handle_event(
        self, event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]
    ) -> bool:
        """Handle an event of h11; return whether there may be another."""
        if isinstance(event, h11.Request):
            return await self._handle_request(event)
        if event is h11.PAUSED:
            return await self._wait_for_response()
        if self.stream is None:
            return False
        if isinstance(event, h11.Data):
            await self.stream.handle(Body(stream_id=STREAM_ID, data=bytes(event.data)))
        elif isinstance(event, h11.EndOfMessage):
            await self.stream.handle(EndBody(stream_id=STREAM_ID))
        else:
            return False
        return True

    async def _handle_request(self, request: h11.Request) -> bool:
        is_preface = request.method == b"PRI" and request.http_version == b"2.0"
        if is_preface and self._connection_context.context.has_plain_http2:
            rest, _ = self.connection.trailing_data
            raise H2ProtocolAssumedError(b"PRI * HTTP/2.0\r\n\r\n" + rest)
        headers = list(request.headers)
        hosts = [value for name, value in headers if name == b"host"]
        # h11 applies its limit only to heads that arrive in several reads.
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        framings = {name for name, _ in headers} & _FRAMINGS
        if not request.http_version.startswith(b"1."):
            await self._reject(505)
        elif request.method != request.method.upper():
            # RFC 9110 9.1: methods are case-sensitive. ASGI has no lower case.
            await self._reject(501)
        elif not all(map(HOST.fullmatch, hosts)):
            await self._reject(400)
        elif len(request.target) > self._limits.max_target:
            await self._reject(414)
        elif len(framings) > 1:
            # RFC 9112 6.1: both fields together may be request smuggling.
            await self._reject(400)
        elif size + len(request.target) > self._limits.max_head:
            await self._reject(431)
        else:
            await self.send(Updated(idle=False))
            await self._open(request, headers)
            return True
        return False

    async def _open(
        self, request: h11.Request, headers: list[tuple[bytes, bytes]]
    ) -> None:
        exchange = HttpExchange(
            self._connection_context,
            STREAM_ID,
            send=self.stream_send,
            receive_queue=ReceiveQueue(limit=MAX_UNREAD_BODY),
            hand_off=self._connection_context.hand_off,
        )
        self.stream = exchange.http
        stream_request = Request(
            stream_id=STREAM_ID,
            headers=headers,
            http_version=request.http_version.decode(),
            method=request.method.decode("ascii"),
            raw_path=request.target,
            state=self.connection_state,
        )
        await self.stream.handle(stream_request)

    async def _reject(self, status: int) -> None:
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._send_error_response(status)
        await self.send(Closed())

    async def _wait_for_response(self) -> bool:
        """Wait until the previous request is answered; return `False` at EOF.

        A response that is an event stream lasts, so the connection is read meanwhile
        to notice EOF. Pipelined bytes are buffered up to the limit of a head. If the
        peer sends more, reading stops, and the next heartbeat notices the end.
        """
        await self.can_read.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_ahead, nursery.cancel_scope)
            await self.can_read.wait()
            nursery.cancel_scope.cancel()
        return self.can_read.is_set()

    async def _read_ahead(self, waiting: trio.CancelScope) -> None:
        buffered = len(self.connection.trailing_data[0])
        while buffered <= self._limits.max_head:
            data = await self._connection_context.receive()
            if not data:
                waiting.cancel()
                return
            self.connection.receive_data(data)
            buffered += len(data)

    async def stream_send(self, event: StreamEvent) -> None:
        """Send a part of a response."""
        if isinstance(event, Response):
            # With a length, the body follows at once: one write sends both. Without,
            # it may be an event stream, whose first event can come much later.
            names = (name.lower() for name, _ in event.headers)
            self._is_head_buffered = b"content-length" in names
        await super().stream_send(event)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        if self._is_head_buffered:
            self._is_head_buffered, self._buffered_head = False, data
        elif data := self._buffered_head + data:
            self._buffered_head = b""
            await self.send(RawData(data))
