"""An HTTP/2 client that acts only when a test calls it."""

from __future__ import annotations

from collections import defaultdict

import attrs
import h2.config
import h2.connection
import h2.events
import h2.settings
import trio


@attrs.define
class Http2Response:
    """What an HTTP/2 client has received on one stream."""

    status: int = 0
    body: bytes = b""
    is_ended: bool = False
    reset: int | None = None


class _Client(h2.connection.H2Connection):
    """A client whose open streams continue behind a GOAWAY (RFC 9113 6.8)."""

    def _receive_goaway_frame(self, frame):
        received = super()._receive_goaway_frame(frame)
        self.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        return received


class Http2Peer:
    """An HTTP/2 client over *stream*."""

    def __init__(self, stream, *, acknowledges=True, **settings):
        self.stream = stream
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = _Client(config)
        self.h2.initiate_connection()
        if settings:
            codes = h2.settings.SettingCodes
            self.h2.update_settings({codes[n]: v for n, v in settings.items()})
        self.acknowledges = acknowledges
        self.responses = defaultdict(Http2Response)
        self.goaways = []
        self.event_types = set()

    @property
    def goaway(self):
        """The code of the last GOAWAY."""
        return self.goaways[-1][1] if self.goaways else None

    async def request(
        self, path="/", *, method="GET", body=None, flush=True, **headers
    ):
        """Send a request head; *body* `...` leaves the request open."""
        stream_id = self.h2.get_next_available_stream_id()
        head = {":method": method, ":path": path, ":scheme": "http", ":authority": "x"}
        self.h2.send_headers(
            stream_id, [*head.items(), *headers.items()], end_stream=body is None
        )
        if flush:
            await self.flush()
        return stream_id

    async def reset(self, stream_id):
        self.h2.reset_stream(stream_id)
        await self.flush()

    async def flush(self):
        await self.stream.send_all(self.h2.data_to_send())

    async def until(self, is_enough):
        """Read until *is_enough* is true; `False` if the connection ended before."""
        with trio.fail_after(10):
            while not is_enough():
                data = await self.stream.receive_some()
                if not data:
                    return False
                for event in self.h2.receive_data(data):
                    self._receive_event(event)
                await self.flush()
        return True

    async def response(self, stream_id):
        """Wait for a whole response; return its status and body."""
        response = self.responses[stream_id]
        assert await self.until(lambda: response.is_ended or response.reset is not None)
        return response.status, response.body

    def _receive_event(self, event):
        self.event_types.add(type(event))
        response = self.responses[getattr(event, "stream_id", 0)]
        match event:
            case h2.events.ResponseReceived():
                response.status = int(dict(event.headers)[":status"])
            case h2.events.DataReceived():
                response.body += event.data
                if self.acknowledges:
                    size = event.flow_controlled_length
                    self.h2.acknowledge_received_data(size, event.stream_id)
            case h2.events.StreamEnded():
                response.is_ended = True
            case h2.events.StreamReset():
                response.reset = event.error_code
            case h2.events.ConnectionTerminated():
                self.goaways.append((event.last_stream_id, event.error_code))


async def connect_http2(served, **settings):
    """Connect an HTTP/2 client by prior knowledge."""
    stream = await trio.open_tcp_stream("127.0.0.1", served.port)
    served.streams.append(stream)
    peer = Http2Peer(stream, **settings)
    await peer.flush()
    return peer
