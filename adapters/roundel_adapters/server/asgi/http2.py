"""HTTP/2 without send buffers: flow control is the only queue.

Hypercorn buffers the data of each stream, and one task sends from the buffers in the
order of a priority tree. The buffer of a stream with a closed window grows without
bound. The tree keeps reset streams until it is full and raises. A request body that one
application does not read blocks the whole connection.

Here each application's `send` runs the h2 library itself. It waits for the window,
sends a frame of at most 16 KiB, and lets the other streams have a turn. Received bytes
are acknowledged when the application has received them, so the client's window bounds
the request bodies in memory.

Two limits protect the other connections from a flood. The work of all HTTP/2
connections in one turn of the event loop has a budget. And each connection has an
allowance of frames that open or carry nothing, whatever their type: SETTINGS, PING,
PRIORITY, WINDOW_UPDATE, CONTINUATION, resets of both sides, empty DATA, unknown types.
A connection that exceeds it ends with ENHANCE_YOUR_CALM. The window updates and pings
by which clients react to data are free, up to some for each DATA frame.
"""

from __future__ import annotations

import os
from functools import partial
from typing import final

import trio
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.events import Event as FrameEvent
from h2.exceptions import ProtocolError
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request
from hyperframe.frame import PingFrame

from ...token_bucket import TokenBucket
from .app_task import ReceiveQueue
from .connection_context import ConnectionContext
from .exchange import HttpExchange
from .http2_codec import Http2Codec
from .http2_frames import MAX_STREAM_ID, Http2Error
from .http2_request import asgi_request
from .http2_state import Http2State
from .http2_steps import GoAwayReceived, HeadTooLarge, Step
from .http2_streams import Http2Streams

GOAWAY_TIMEOUT = 1.0
"""Seconds between the two GOAWAY frames to a client that answers no PING."""


@final
class Http2Connection:
    """An HTTP/2 connection."""

    def __init__(self, connection: ConnectionContext) -> None:
        self._connection = connection
        self._context = connection.context
        self._limits = limits = connection.context.limits
        self._state = Http2State(limits)
        self._codec = Http2Codec(self._state, limits)
        self._budget = connection.context.http2_budget
        self._allowance = TokenBucket(limits.overhead_per_second, limits.max_overhead)
        self._streams = Http2Streams(self._state, connection)
        self._has_failed = self._is_refusing = False
        self._drain_ping: bytes | None = None
        self._drain_ping_answered = trio.Event()

    @property
    def is_mid_head(self) -> bool:
        """Whether the client's preface or the head of a request is incomplete."""
        return self._codec.is_mid_head

    @property
    def is_unread(self) -> bool:
        """Whether the server ends the connection while the peer may be sending."""
        return self._has_failed or self._streams.is_leaving

    async def initiate(self) -> None:
        """Send the server's settings."""
        self._state.initiate_connection()
        await self._streams.flush()

    async def drain(self) -> None:
        """Tell the client that no further requests are served (RFC 9113 6.8).

        A first GOAWAY names no stream, so the requests on their way are still served.
        The second one follows when the client has received the first.
        """
        if self._has_failed:
            return
        self._drain_ping = os.urandom(8)
        self._state.queue_goaway(MAX_STREAM_ID)
        self._state.queue(PingFrame(0, self._drain_ping))
        await self._streams.flush()
        with trio.move_on_after(GOAWAY_TIMEOUT):
            await self._drain_ping_answered.wait()
        if not self._has_failed:
            self._is_refusing = True
            self._state.queue_goaway(self._state.highest_inbound_stream_id)
            await self._streams.flush()

    async def handle(self, event: Event) -> None:
        """Handle received bytes (`RawData`) or the end of the connection (`Closed`)."""
        if isinstance(event, RawData):
            await self._receive(event.data)
        elif isinstance(event, Closed):
            await self._close()

    async def _close(self) -> None:
        self._drain_ping_answered.set()
        await self._streams.remove_all()
        if not self._has_failed:
            self._has_failed = True
            self._state.close_connection()
            await self._streams.flush()

    async def _receive(self, data: bytes) -> None:
        self._codec.feed(data)
        try:
            has_more = await self._work(continues=False)
            while has_more and not self._has_failed:
                await self._streams.flush()
                has_more = await self._work(continues=True)
        except ProtocolError as error:
            await self._fail(ErrorCodes(error.error_code))
        await self._streams.flush()

    async def _work(self, *, continues: bool) -> bool:
        """Handle what was received for one turn; return whether more is left.

        A connection without more must not wait for another turn: behind a flood, its
        next bytes would be read a second later.
        """
        async with self._budget.turn(continues=continues):
            while not self._budget.is_used_up or self._codec.has_frame_of_request:
                step = self._codec.step()
                if step is None:
                    return False
                self._budget.charge(step.work)
                for event in step.events:
                    await self._handle_event(event)
                self._count_overhead(step)
                if self._streams.has_left:
                    return False
            return self._codec.has_step

    def _count_overhead(self, step: Step) -> None:
        if not step.overhead or (step.may_be_answer and self._streams.take_answer()):
            return
        if self._allowance.take(step.overhead, now=trio.current_time()):
            raise Http2Error(ErrorCodes.ENHANCE_YOUR_CALM, "a flood")

    async def _fail(self, code: ErrorCodes) -> None:
        """End the connection and all its streams with *code*."""
        if not self._has_failed:
            self._has_failed = True
            # First, since an application cannot send behind a GOAWAY with an error.
            await self._streams.remove_all()
            self._state.close_connection(code)
            await self._streams.flush()
            await self._connection.send(Closed())

    async def _handle_event(self, event: FrameEvent) -> None:
        match event:
            case RequestReceived():
                await self._open(event)
            case HeadTooLarge(stream_id=stream_id):
                self._streams.respond(stream_id, 431)
            case DataReceived():
                await self._receive_body(event)
            case StreamEnded(stream_id=stream_id):
                if exchange := self._streams.exchanges.get(stream_id):
                    await exchange.http.handle(EndBody(stream_id=stream_id))
            case StreamReset(stream_id=stream_id):
                await self._streams.remove(stream_id, is_reset=True)
            case WindowUpdated(stream_id=stream_id):
                self._streams.wake(stream_id)
            case RemoteSettingsChanged():
                self._streams.wake_widened()
            case PingAckReceived(ping_data=self._drain_ping):
                self._drain_ping_answered.set()
            case GoAwayReceived(code=ErrorCodes.NO_ERROR):
                await self._streams.leave()
            case GoAwayReceived():
                raise Http2Error(ErrorCodes.NO_ERROR, "the client has failed")

    async def _open(self, event: RequestReceived) -> None:
        stream_id = event.stream_id
        request = asgi_request(
            stream_id, event.headers, self._context.connection_state()
        )
        if self._is_refusing or self._streams.has_too_many_orphans():
            self._streams.reset(stream_id, ErrorCodes.REFUSED_STREAM)
        elif request is None:
            self._streams.respond(stream_id, 501)
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
            if event.stream_ended is None:
                self._invite_body(request)
            await self._connection.send(Updated(idle=False))
            await exchange.http.handle(request)

    def _invite_body(self, request: Request) -> None:
        """Send 100 if the client waits for it (RFC 9110 10.1.1)."""
        expected = [value for name, value in request.headers if name == b"expect"]
        if any(value.lower() == b"100-continue" for value in expected):
            self._state.send_headers(request.stream_id, [(b":status", b"100")])

    async def _receive_body(self, event: DataReceived) -> None:
        stream_id, size = event.stream_id, event.flow_controlled_length
        if exchange := self._streams.exchanges.get(stream_id):
            await exchange.http.handle(Body(stream_id=stream_id, data=event.data))
            size -= len(event.data)
        # The application acknowledges its part; this is padding or a closed stream.
        self._state.acknowledge_received_data(size, stream_id)

    async def _acknowledge(self, stream_id: int, size: int) -> None:
        self._state.acknowledge_received_data(size, stream_id)
        await self._streams.flush()
