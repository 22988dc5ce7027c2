"""HTTP/2 for event streams: each application carries its own bytes to the window.

Hypercorn buffers what a stream has to send and lets one task pick from the buffers by
the client's priorities. Its buffer grows without bound at a closed window, its tree of
priorities keeps what was reset until it is full, and a read that one application does
not want stops the whole connection. Here is neither buffer nor tree: an application's
send returns when its bytes have gone out, in turns with the others', and what it has
not received of a request is not acknowledged, so the client's own window bounds it.
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
from ..context import ServerContext
from .http2_codec import bound_table, h2_connection, partial_head
from .http2_exchange import Http2Exchange, request_of
from .http2_streams import Http2Streams
from .interface import ConnectionContext


@final
class Http2Connection:
    """One HTTP/2 connection."""

    def __init__(self, site: ServerContext, link: ConnectionContext) -> None:
        self._site = site
        self._link = link
        self._limits = limits = site.limits
        self._h2 = h2_connection(limits)
        self._streams = Http2Streams(self._h2, site, link)
        self._resets = TokenBucket(limits.resets_per_second, limits.max_resets)
        self._has_begun = self._has_failed = False

    @property
    def is_mid_head(self) -> bool:
        """Whether a request, or the connection, has begun and not got further."""
        return not self._has_begun or partial_head(self._h2) > 0

    @property
    def is_unread(self) -> bool:
        """Whether the peer is still sending what nobody will read."""
        return self._has_failed

    async def initiate(self) -> None:
        """Send the settings."""
        self._h2.initiate_connection()
        await self._streams.flush()

    async def handle(self, event: Event) -> None:
        """Take in bytes, or the end of the connection."""
        if isinstance(event, RawData):
            await self._receive(event.data)
        elif isinstance(event, Closed):
            await self._streams.forget_all()
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
        if partial_head(self._h2) > self._limits.max_head:
            await self._fail(ErrorCodes.ENHANCE_YOUR_CALM)
        await self._streams.flush()

    async def _fail(self, code: ErrorCodes | None = None) -> None:
        """End the connection; without a *code*, h2 has said why already."""
        if not self._has_failed:
            self._has_failed = True
            if code is not None:
                self._h2.close_connection(code)
            await self._streams.flush()
            await self._link.send(Closed())

    async def _handle_event(self, event: FrameEvent) -> None:
        match event:
            case RequestReceived():
                await self._open(event)
            case DataReceived():
                await self._take_in(event)
            case StreamEnded(stream_id=int(stream_id)):
                if exchange := self._streams.get(stream_id):
                    exchange.is_asked = True
                    await exchange.http.handle(EndBody(stream_id=stream_id))
            case StreamReset(stream_id=int(stream_id)):
                await self._streams.forget(stream_id)
                if self._resets.take(now=trio.current_time()):
                    await self._fail(ErrorCodes.ENHANCE_YOUR_CALM)
            case WindowUpdated():
                self._streams.open_windows()
            case RemoteSettingsChanged():
                self._has_begun = True
                bound_table(self._h2)
                self._streams.open_windows()
            case ConnectionTerminated():
                await self._link.send(Closed())

    async def _open(self, event: RequestReceived) -> None:
        stream_id = event.stream_id
        assert stream_id is not None
        request = request_of(event, self._site.connection_state())
        if self._site.is_draining or self._is_crowded():
            self._streams.reset(stream_id, ErrorCodes.REFUSED_STREAM)
        elif request is None:
            self._streams.reset(stream_id, ErrorCodes.PROTOCOL_ERROR)
        elif len(request.raw_path) > self._limits.max_target:
            self._streams.answer(stream_id, 414)
        else:
            exchange = Http2Exchange(
                self._site,
                self._link,
                stream_id,
                send=self._streams.send,
                taken=partial(self._taken, stream_id),
            )
            self._streams.add(stream_id, exchange)
            await self._link.send(Updated(idle=False))
            await exchange.http.handle(request)

    def _is_crowded(self) -> bool:
        # A stream that was taken back is over for h2, but its application may go on.
        return self._link.apps.running >= 2 * self._limits.max_streams

    async def _take_in(self, event: DataReceived) -> None:
        stream_id, size = event.stream_id, event.flow_controlled_length
        assert stream_id is not None
        assert size is not None
        assert event.data is not None
        if exchange := self._streams.get(stream_id):
            await exchange.http.handle(Body(stream_id=stream_id, data=event.data))
            size -= len(event.data)
        # Padding, or what nobody is there to receive.
        self._h2.acknowledge_received_data(size, stream_id)

    async def _taken(self, stream_id: int, size: int) -> None:
        self._h2.acknowledge_received_data(size, stream_id)
        await self._streams.flush()
