"""HTTP/1.1: Hypercorn's, where a peer that waits its turn is watched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H2ProtocolAssumedError, H11Protocol
from hypercorn.typing import (
    AppWrapper,
    ASGIReceiveEvent,
    ASGISendEvent,
    H11SendableEvent,
    Scope,
)

from ..context import ServerContext
from ..dispatcher.handoff import advertise, with_hand_off
from .app_task import ReceiveQueue
from .interface import ConnectionContext, http_stream

MAX_UNREAD_BODY = 64 * 1024
"""Bytes of a body that are read before its application asks for them."""


_FRAMINGS = {b"content-length", b"transfer-encoding"}


@final
class GuardedH11Protocol(H11Protocol):
    """One HTTP/1.1 connection.

    Upgrades are not made: a request for one is answered as the request it also is
    (RFC 9110 7.8), so there is no WebSocket, and no HTTP/2 by the h2c token that
    RFC 9113 3.1 has deprecated.
    """

    connection: h11.Connection

    def __init__(self, server: ServerContext, connection: ConnectionContext) -> None:
        super().__init__(
            server.app,
            server.config,
            server.worker_context,
            self,  # type: ignore[arg-type]
            server.connection_state(),
            connection.ssl,
            connection.client,
            connection.server,
            connection.send,
        )
        self._server_context = server
        self._limits = server.limits
        self._connection_context = connection
        self._is_head_buffered, self._buffered_head = False, b""

    @property
    def is_mid_head(self) -> bool:
        """Whether a request has begun whose head is not complete."""
        connection = self.connection
        waits = self.stream is None and connection.their_state is h11.IDLE
        return waits and bool(connection.trailing_data[0])

    @property
    def is_unread(self) -> bool:
        """Whether the peer is still sending what nobody will read."""
        return self.connection.their_state in {h11.SEND_BODY, h11.ERROR}

    async def spawn_app(
        self,
        app: AppWrapper,
        _: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the application of a request, as `HTTPStream` asks for it."""
        inbox = ReceiveQueue(limit=MAX_UNREAD_BODY)
        hand_off = self._connection_context.hand_off
        if hand_off is not None and scope["type"] == "http":
            advertise(scope)
            send = with_hand_off(send, hand_off)
        self._connection_context.apps.start(app, scope, inbox, send)
        return inbox.put

    async def _handle_events(self) -> None:
        while True:
            await self._send_100_continue()
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                await self._reject(error.error_status_hint)
                return
            if not await self._handle_event(event):
                return

    async def _send_100_continue(self) -> None:
        if self.connection.they_are_waiting_for_100_continue:
            answer = h11.InformationalResponse(status_code=100, headers=[])
            await self._send_h11_event(answer)

    async def _handle_event(
        self, event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]
    ) -> bool:
        """Act on an event of h11's, and tell whether there may be more."""
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
        if request.method == b"PRI" and request.http_version == b"2.0":
            rest, _ = self.connection.trailing_data
            raise H2ProtocolAssumedError(b"PRI * HTTP/2.0\r\n\r\n" + rest)
        headers = list(request.headers)
        # h11 applies its limit only to heads that come in more than one piece.
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        framings = {name for name, _ in headers} & _FRAMINGS
        if len(request.target) > self._limits.max_target:
            await self._reject(414)
        elif len(framings) > 1:
            # RFC 9112 6.1: whoever says both may mean to smuggle a request.
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
        self.stream = http_stream(
            self._server_context,
            self._connection_context,
            self,
            self.stream_send,
            STREAM_ID,
        )
        opened = Request(
            stream_id=STREAM_ID,
            headers=headers,
            http_version=request.http_version.decode(),
            method=request.method.decode("ascii").upper(),
            raw_path=request.target,
            state=self.connection_state,
        )
        await self.stream.handle(opened)

    async def _reject(self, status: int) -> None:
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._send_error_response(status)
        await self.send(Closed())

    async def _wait_for_response(self) -> bool:
        """Wait until the request before has been answered; `False` is the end.

        Meanwhile the peer is watched, or its end would go unnoticed for as long as
        the answer lasts, and that of an event stream does. What it sends ahead is
        kept, up to the size of a head; if it sends more it is watched no further,
        and the next heartbeat finds its end.
        """
        await self.can_read.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_ahead, nursery.cancel_scope)
            await self.can_read.wait()
            nursery.cancel_scope.cancel()
        return self.can_read.is_set()

    async def _read_ahead(self, waiting: trio.CancelScope) -> None:
        kept = len(self.connection.trailing_data[0])
        while kept <= self._limits.max_head:
            data = await self._connection_context.receive()
            if not data:
                waiting.cancel()
                return
            self.connection.receive_data(data)
            kept += len(data)

    async def stream_send(self, event: StreamEvent) -> None:
        """Send a part of a response."""
        if isinstance(event, Response):
            # The body is at hand or soon will be: one write takes both. The head of
            # a stream is not kept, for nobody knows when the first event comes.
            self._is_head_buffered = any(
                n.lower() == b"content-length" for n, _ in event.headers
            )
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
