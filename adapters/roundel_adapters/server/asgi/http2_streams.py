"""The open streams of an HTTP/2 connection, and the sending of responses."""

from __future__ import annotations

from contextlib import suppress
from typing import final

import attrs
import trio
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Event, Response, StreamClosed
from hypercorn.protocol.http_stream import ASGIHTTPState

from ..paced_stream import WriteDeadline
from .app_task import ReceiveQueue
from .connection_context import ConnectionContext
from .exchange import HttpExchange
from .http2_state import Http2State

ANSWERS_PER_FRAME = 4
"""Frames that a client may send for each HEADERS or DATA frame it receives.

They are window updates of the stream and of the connection, a PING and a priority.
"""

MAX_ANSWERS = 1_000
"""Maximum of such frames that a client may send later."""

MIN_FULL_FRAME = 1_024
"""Size in bytes of a DATA frame that counts, although a window was its limit.

Otherwise window updates of one byte would pay for themselves.
"""


@final
@attrs.define(eq=False)
class Http2Streams:
    """Holds the open streams, in `exchanges` by their identifiers."""

    _h2: Http2State
    _connection: ConnectionContext
    exchanges: dict[int, HttpExchange] = attrs.field(factory=dict, init=False)
    is_leaving: bool = attrs.field(default=False, init=False)
    """Whether the connection ends with its last stream."""
    _waiting: dict[int, trio.lowlevel.ParkingLot] = attrs.field(
        factory=dict, init=False
    )
    """Where applications wait for a window, by stream."""
    _starved: dict[int, None] = attrs.field(factory=dict, init=False)
    """The streams that wait for the connection only, the first one first."""
    _answers: int = attrs.field(default=0, init=False)
    _orphans: set[ReceiveQueue] = attrs.field(factory=set, init=False)
    """The queues of applications whose stream was reset."""

    def has_too_many_orphans(self) -> bool:
        """Whether too many applications still run although their stream was reset."""
        self._orphans &= self._connection.apps.running
        return len(self._orphans) >= 2 * self._connection.context.limits.max_streams

    def wake(self, stream_id: int) -> None:
        """Wake the applications of a stream; with 0, one that waits for the connection.

        An application that was woken wakes the next one. So a window update of one byte
        does not run all applications.
        """
        if not stream_id:
            self._wake_next()
        elif lot := self._waiting.pop(stream_id, None):
            lot.unpark_all()

    def wake_widened(self) -> None:
        """Wake the streams whose own window is open, one after the other."""
        for stream_id in self._waiting:
            if self._own_window(stream_id) > 0:
                self._starved.setdefault(stream_id)
        self._wake_next()

    def _own_window(self, stream_id: int) -> int:
        stream = self._h2.open_stream(stream_id)
        return stream.outbound_flow_control_window if stream else 0

    def _wake_next(self) -> None:
        while self._starved and self._h2.outbound_flow_control_window > 0:
            stream_id = next(iter(self._starved))
            del self._starved[stream_id]
            # A stream that its own window has woken does not wait any more.
            if stream_id in self._waiting:
                self.wake(stream_id)
                return

    def reset(self, stream_id: int, code: ErrorCodes) -> None:
        """Send RST_STREAM, unless the stream is closed already."""
        with suppress(ProtocolError):
            self._h2.reset_stream(stream_id, code)

    def respond(self, stream_id: int, status: int) -> None:
        """Send an empty response, and refuse the rest of the request."""
        with suppress(ProtocolError):
            head = [(b":status", b"%d" % status), (b"content-length", b"0")]
            self._h2.send_headers(stream_id, head, end_stream=True)
            self._h2.reset_stream(stream_id, ErrorCodes.NO_ERROR)

    async def send(self, event: Event) -> None:
        """Send a part of a response; runs in the task of the application."""
        exchange = self.exchanges.get(event.stream_id)
        if exchange is None:
            # An application that loops after a disconnect must let other tasks run.
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._send_part(event, exchange)
        except ProtocolError:
            # The client may have reset the stream while the application was sending.
            if event.stream_id in self.exchanges:
                raise

    async def _send_part(self, event: Event, exchange: HttpExchange) -> None:
        match event:
            case Response():
                await self._send_head(event)
            case Body():
                await self._send_body(event.stream_id, event.data)
            case EndBody():
                self._h2.end_stream(event.stream_id)
                await self.flush()
            case StreamClosed():
                await self._close(event.stream_id, exchange)

    async def _send_head(self, event: Response) -> None:
        fields = [
            *event.headers,
            *self._connection.context.config.response_headers("h2"),
        ]
        # RFC 9113 8.3.2: the status comes first.
        head = [(b":status", b"%d" % event.status_code), *fields]
        self._h2.send_headers(event.stream_id, head)
        self._expect_answers()
        # As in HTTP/1.1, a response with a length is sent in one write with its body.
        if not any(name.lower() == b"content-length" for name, _ in fields):
            await self.flush()

    async def _send_body(self, stream_id: int, data: bytes) -> None:
        rest = memoryview(data)
        timeout = self._connection.context.limits.write_timeout
        write_deadline = WriteDeadline(timeout, trio.current_time())
        while rest and stream_id in self.exchanges:
            size = self._h2.sendable_size(stream_id)
            if not size:
                await self._wait_for_window(stream_id, write_deadline.deadline)
                continue
            self._h2.send_data(stream_id, rest[:size])
            self._wake_next()
            await self.flush()
            write_deadline.extend(size, trio.current_time())
            rest = rest[size:]
            if not rest or size >= MIN_FULL_FRAME:
                self._expect_answers()

    def _expect_answers(self) -> None:
        self._answers = min(self._answers + ANSWERS_PER_FRAME, MAX_ANSWERS)

    def take_answer(self) -> bool:
        """Return whether a frame of the client may be an answer to sent data."""
        if not self._answers:
            return False
        self._answers -= 1
        return True

    async def _wait_for_window(self, stream_id: int, deadline: float) -> None:
        """Wait until a window changes; reset the stream at the *deadline*."""
        lot = self._waiting.setdefault(stream_id, trio.lowlevel.ParkingLot())
        if self._own_window(stream_id) > 0:
            self._starved[stream_id] = None
        else:
            self._wake_next()
        with trio.move_on_at(deadline) as scope:
            await lot.park()
        if scope.cancelled_caught:
            self._connection.context.counters.timed_out += 1
            self.reset(stream_id, ErrorCodes.CANCEL)
            await self.remove(stream_id, is_reset=True)
            await self.flush()

    async def _close(self, stream_id: int, exchange: HttpExchange) -> None:
        """Close a stream whose application has ended, or has ended its response."""
        if exchange.http.state is not ASGIHTTPState.CLOSED:
            self.reset(stream_id, ErrorCodes.INTERNAL_ERROR)
        elif not exchange.receive_queue.is_complete:
            # RFC 9113 8.1: NO_ERROR asks the client not to send the rest.
            self.reset(stream_id, ErrorCodes.NO_ERROR)
        await self.remove(stream_id)
        await self.flush()

    async def remove(self, stream_id: int, *, is_reset: bool = False) -> None:
        """Remove a stream, and pass a disconnect to its application."""
        exchange = self.exchanges.pop(stream_id, None)
        if exchange is None:
            return
        queue = exchange.receive_queue
        if is_reset:
            self._orphans.add(queue)
        self._h2.acknowledge_received_data(queue.discard(), stream_id)
        self._h2.forget(stream_id)
        await exchange.http.handle(StreamClosed(stream_id=stream_id))
        self._starved.pop(stream_id, None)
        self.wake(stream_id)
        self._wake_next()
        if not self.exchanges:
            end = Closed() if self.is_leaving else Updated(idle=True)
            await self._connection.send(end)

    async def remove_all(self) -> None:
        """Remove all streams at the end of the connection."""
        for stream_id in list(self.exchanges):
            await self.remove(stream_id)

    @property
    def has_left(self) -> bool:
        """Whether the last stream of a connection that ends has ended."""
        return self.is_leaving and not self.exchanges

    async def leave(self) -> None:
        """Close the connection after its last stream: the client opens no other."""
        self.is_leaving = True
        if self.has_left:
            await self._connection.send(Closed())

    async def flush(self) -> None:
        """Write the frames that h2 has queued."""
        if data := self._h2.data_to_send():
            await self._connection.send(RawData(data))
