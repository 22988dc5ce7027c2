"""The open streams of an HTTP/2 connection, and the sending of responses."""

from __future__ import annotations

from contextlib import suppress
from typing import final

import trio
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.events import RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Event, Response, StreamClosed

from ..context import ServerContext
from ..paced_stream import WriteDeadline
from .connection_context import ConnectionContext
from .http2_codec import response_head, sendable_size
from .http2_exchange import Http2Exchange


@final
class Http2Streams:
    """Holds the open streams by their identifiers."""

    def __init__(
        self,
        h2: H2Connection,
        server: ServerContext,
        connection: ConnectionContext,
    ) -> None:
        self._h2 = h2
        self._server = server
        self._connection = connection
        self._exchanges: dict[int, Http2Exchange] = {}
        self._window_opened = trio.lowlevel.ParkingLot()

    def on_window_update(self) -> None:
        """Wake the applications that wait for a window."""
        self._window_opened.unpark_all()

    def get(self, stream_id: int) -> Http2Exchange | None:
        """Return the exchange of an open stream, or `None`."""
        return self._exchanges.get(stream_id)

    def add(self, stream_id: int, exchange: Http2Exchange) -> None:
        """Add an open stream."""
        self._exchanges[stream_id] = exchange

    def reset(self, stream_id: int, code: ErrorCodes) -> None:
        """Send RST_STREAM, unless the stream is closed already."""
        with suppress(ProtocolError):
            self._h2.reset_stream(stream_id, code)

    def respond(self, stream_id: int, status: int) -> None:
        """Send an empty response, and refuse the rest of the request."""
        with suppress(ProtocolError):
            head = response_head(status, [(b"content-length", b"0")])
            self._h2.send_headers(stream_id, head, end_stream=True)
            self._h2.reset_stream(stream_id, ErrorCodes.NO_ERROR)

    async def send(self, event: Event) -> None:
        """Send a part of a response; runs in the task of the application."""
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            # An application that loops after a disconnect must let other tasks run.
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._send_part(event, exchange)
        except ProtocolError:
            # The client may have reset the stream while the application was sending.
            if event.stream_id in self._exchanges:
                raise

    async def _send_part(self, event: Event, exchange: Http2Exchange) -> None:
        match event:
            case Response():
                await self._send_head(event)
            case Body():
                await self._send_body(event.stream_id, event.data)
            case EndBody():
                self._h2.end_stream(event.stream_id)
                exchange.is_response_complete = True
                await self.flush()
            case StreamClosed():
                await self._close(event.stream_id, exchange)

    async def _send_head(self, event: Response) -> None:
        fields = [*event.headers, *self._server.config.response_headers("h2")]
        self._h2.send_headers(event.stream_id, response_head(event.status_code, fields))
        # As in HTTP/1.1, a response with a length is sent in one write with its body.
        if not any(name.lower() == b"content-length" for name, _ in fields):
            await self.flush()

    async def _send_body(self, stream_id: int, data: bytes) -> None:
        rest = memoryview(data)
        write_deadline = WriteDeadline(
            self._server.limits.write_timeout, trio.current_time()
        )
        while rest and stream_id in self._exchanges:
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
            await self._window_opened.park()
        if scope.cancelled_caught:
            self.reset(stream_id, ErrorCodes.CANCEL)
            await self.remove(stream_id)
            await self.flush()

    async def _close(self, stream_id: int, exchange: Http2Exchange) -> None:
        """Close a stream whose application has ended, or has ended its response."""
        if not exchange.is_response_complete:
            self.reset(stream_id, ErrorCodes.INTERNAL_ERROR)
        elif not exchange.is_request_complete:
            # RFC 9113 8.1: NO_ERROR asks the client not to send the rest.
            self.reset(stream_id, ErrorCodes.NO_ERROR)
        await self.remove(stream_id)
        await self.flush()

    async def remove(self, stream_id: int) -> None:
        """Remove a stream, and pass a disconnect to its application."""
        exchange = self._exchanges.pop(stream_id, None)
        if exchange is None:
            return
        self._h2.acknowledge_received_data(exchange.receive_queue.discard(), stream_id)
        await exchange.http.handle(StreamClosed(stream_id=stream_id))
        self._window_opened.unpark_all()
        if not self._exchanges:
            await self._connection.send(Updated(idle=True))

    async def remove_all(self) -> None:
        """Remove all streams."""
        for stream_id in list(self._exchanges):
            await self.remove(stream_id)

    async def flush(self) -> None:
        """Write the frames that h2 has queued."""
        if data := self._h2.data_to_send():
            await self._connection.send(RawData(data))
