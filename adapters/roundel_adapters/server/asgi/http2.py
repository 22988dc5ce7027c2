"""HTTP/2 without send buffers: flow control is the only queue.

Hypercorn buffers the data of each stream, and one task sends from the buffers in the
order of a priority tree. The buffer of a stream with a closed window grows without
bound. The tree keeps reset streams until it is full and raises. A request body that one
application does not read blocks the whole connection.

Here each application's `send` runs the h2 library itself. It waits for the window,
sends a frame of at most 16 KiB, and lets the other streams have a turn. Received bytes
are acknowledged when the application has received them, so the client's window bounds
the request bodies in memory.
"""

from __future__ import annotations

from functools import partial
from typing import final

import trio
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.events import Event as FrameEvent
from h2.exceptions import ProtocolError
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody

from ...token_bucket import TokenBucket
from .app_task import ReceiveQueue
from .connection_context import ConnectionContext
from .exchange import HttpExchange
from .http2_codec import decode_request, h2_connection, partial_head_size
from .http2_streams import Http2Streams

MAX_TABLE = 4 * 1024
"""Maximum bytes of the HPACK table that compresses response headers."""


@final
class Http2Connection:
    """An HTTP/2 connection."""

    def __init__(self, connection: ConnectionContext) -> None:
        self._connection = connection
        self._context = connection.context
        self._limits = limits = connection.context.limits
        self._h2 = h2_connection(limits)
        self._streams = Http2Streams(self._h2, connection)
        self._resets = TokenBucket(limits.resets_per_second, limits.max_resets)
        self._has_settings = self._has_failed = False

    @property
    def is_mid_head(self) -> bool:
        """Whether the client's preface or the head of a request is incomplete."""
        return not self._has_settings or partial_head_size(self._h2) > 0

    @property
    def is_unread(self) -> bool:
        """Whether the connection ended by an error while the peer may be sending."""
        return self._has_failed

    async def initiate(self) -> None:
        """Send the server's settings."""
        self._h2.initiate_connection()
        await self._streams.flush()

    async def handle(self, event: Event) -> None:
        """Handle received bytes (`RawData`) or the end of the connection (`Closed`)."""
        if isinstance(event, RawData):
            await self._receive(event.data)
        elif isinstance(event, Closed):
            for stream_id in list(self._streams.exchanges):
                await self._streams.remove(stream_id)
            if not self._has_failed:
                self._h2.close_connection()
                await self._streams.flush()

    async def _receive(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except ProtocolError:
            await self._fail()
            return
        for event in events:
            await self._handle_event(event)
        if partial_head_size(self._h2) > self._limits.max_head:
            await self._fail(ErrorCodes.ENHANCE_YOUR_CALM)
        await self._streams.flush()

    async def _fail(self, code: ErrorCodes | None = None) -> None:
        """Close the connection with *code*; without one, h2 has queued a GOAWAY."""
        if not self._has_failed:
            self._has_failed = True
            if code is not None:
                self._h2.close_connection(code)
            await self._streams.flush()
            await self._connection.send(Closed())

    async def _handle_event(self, event: FrameEvent) -> None:
        match event:
            case RequestReceived():
                await self._open(event)
            case DataReceived():
                await self._receive_body(event)
            case StreamEnded(stream_id=int(stream_id)):
                if exchange := self._streams.exchanges.get(stream_id):
                    await exchange.http.handle(EndBody(stream_id=stream_id))
            case StreamReset(stream_id=int(stream_id)):
                await self._streams.remove(stream_id)
                if self._resets.take(now=trio.current_time()):
                    await self._fail(ErrorCodes.ENHANCE_YOUR_CALM)
            case WindowUpdated():
                self._streams.window_changed.unpark_all()
            case RemoteSettingsChanged():
                self._has_settings = True
                encoder = self._h2.encoder
                encoder.header_table_size = min(encoder.header_table_size, MAX_TABLE)
                self._streams.window_changed.unpark_all()
            case ConnectionTerminated():
                await self._connection.send(Closed())

    async def _open(self, event: RequestReceived) -> None:
        stream_id = event.stream_id
        assert stream_id is not None
        request = decode_request(event, self._context.connection_state())
        if self._context.is_draining or self._has_too_many_apps():
            self._streams.reset(stream_id, ErrorCodes.REFUSED_STREAM)
        elif request is None:
            self._streams.reset(stream_id, ErrorCodes.PROTOCOL_ERROR)
        elif len(request.raw_path) > self._limits.max_target:
            self._streams.respond(stream_id, 414)
        else:
            on_received = partial(self._acknowledge, stream_id)
            exchange = HttpExchange(
                self._connection,
                stream_id,
                send=self._streams.send,
                receive_queue=ReceiveQueue(on_received=on_received),
            )
            self._streams.exchanges[stream_id] = exchange
            await self._connection.send(Updated(idle=False))
            await exchange.http.handle(request)

    def _has_too_many_apps(self) -> bool:
        # An application may still run after its stream was reset.
        return self._connection.apps.running >= 2 * self._limits.max_streams

    async def _receive_body(self, event: DataReceived) -> None:
        stream_id, size = event.stream_id, event.flow_controlled_length
        assert stream_id is not None
        assert size is not None
        assert event.data is not None
        if exchange := self._streams.exchanges.get(stream_id):
            await exchange.http.handle(Body(stream_id=stream_id, data=event.data))
            size -= len(event.data)
        # The application acknowledges its part; this is padding or a closed stream.
        self._h2.acknowledge_received_data(size, stream_id)

    async def _acknowledge(self, stream_id: int, size: int) -> None:
        self._h2.acknowledge_received_data(size, stream_id)
        await self._streams.flush()
