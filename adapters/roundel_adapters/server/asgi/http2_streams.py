"""The open streams of an HTTP/2 connection, and the sending of responses."""

from __future__ import annotations

from contextlib import suppress
from typing import final

import attrs
import trio
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.events import RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Event, Response, StreamClosed
from hypercorn.protocol.http_stream import ASGIHTTPState

from ..paced_stream import WriteDeadline
from .connection_context import ConnectionContext
from .exchange import HttpExchange
from .http2_codec import sendable_size


@final
@attrs.define(eq=False)
class Http2Streams:
    """Holds the open streams, in `exchanges` by their identifiers."""

    _h2: H2Connection
    _connection: ConnectionContext
    exchanges: dict[int, HttpExchange] = attrs.field(factory=dict, init=False)
    window_changed: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )
    """Where applications wait for a window."""

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
        # As in HTTP/1.1, a response with a length is sent in one write with its body.
        if not any(name.lower() == b"content-length" for name, _ in fields):
            await self.flush()

    async def _send_body(self, stream_id: int, data: bytes) -> None:
        rest = memoryview(data)
        timeout = self._connection.context.limits.write_timeout
        write_deadline = WriteDeadline(timeout, trio.current_time())
        while rest and stream_id in self.exchanges:
            size = sendable_size(self._h2, stream_id)
            if size:
                self._h2.send_data(stream_id, rest[:size])
                await self.flush()
                write_deadline.extend(size, trio.current_time())
                rest = rest[size:]
            else:
                await self._wait_for_window(stream_id, write_deadline.deadline)

    async def _wait_for_window(self, stream_id: int, deadline: float) -> None:
        """Wait until a window changes; reset the stream at the *deadline*."""
        with trio.move_on_at(deadline) as scope:
            await self.window_changed.park()
        if scope.cancelled_caught:
            self._connection.context.counters.timed_out += 1
            self.reset(stream_id, ErrorCodes.CANCEL)
            await self.remove(stream_id)
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

    async def remove(self, stream_id: int) -> None:
        """Remove a stream, and pass a disconnect to its application."""
        exchange = self.exchanges.pop(stream_id, None)
        if exchange is None:
            return
        self._h2.acknowledge_received_data(exchange.receive_queue.discard(), stream_id)
        await exchange.http.handle(StreamClosed(stream_id=stream_id))
        self.window_changed.unpark_all()
        if not self.exchanges:
            await self._connection.send(Updated(idle=True))

    async def flush(self) -> None:
        """Write the frames that h2 has queued."""
        if data := self._h2.data_to_send():
            await self._connection.send(RawData(data))
