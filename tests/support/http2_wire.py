"""HTTP/2 frames as bytes, and a server connection in memory that receives them."""

from __future__ import annotations

from contextlib import asynccontextmanager

import attrs
import trio
from hpack import Decoder
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.utils import wrap_app
from hyperframe.frame import Frame

from roundel_adapters.server import ServerLimits
from roundel_adapters.server.asgi.app_task import AppRunner
from roundel_adapters.server.asgi.connection_context import ConnectionContext
from roundel_adapters.server.asgi.http2 import Http2Connection
from roundel_adapters.server.context import ServerContext
from roundel_adapters.server.limits import ServerCounters

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8
PRIORITY = 32

GET = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]
POST = [(":method", "POST"), *GET[1:]]


def frame(kind, flags=0, stream=0, payload=b"", *, size=None):
    """Make a frame; *size* is the length that its header says."""
    size = len(payload) if size is None else size
    head = size.to_bytes(3, "big") + bytes([kind, flags])
    return head + stream.to_bytes(4, "big") + payload


def data(stream, payload=b"", *, end=False, flags=0):
    return frame(0, flags | (END_STREAM if end else 0), stream, payload)


def block(fields):
    """Encode *fields* without the HPACK table, so that any order of heads works."""
    encoded = b""
    for name, value in fields:
        encoded += b"\0" + _string(name) + _string(value)
    return encoded


def _string(text):
    text = text.encode("latin-1") if isinstance(text, str) else text
    return integer(len(text), 7) + text


def integer(number, bits, first=0):
    """Encode an integer of RFC 7541 5.1."""
    largest = (1 << bits) - 1
    if number < largest:
        return bytes([first | number])
    number -= largest
    out = [first | largest]
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])


def head(stream, fields=GET, *, end=True, flags=END_HEADERS):
    """Make a HEADERS frame."""
    payload = fields if isinstance(fields, bytes) else block(fields)
    return frame(1, flags | (END_STREAM if end else 0), stream, payload)


def large_head(stream, payload, *, end=True):
    """Make HEADERS and CONTINUATION frames for an encoded head of any size."""
    parts = [payload[i : i + 16_384] for i in range(0, len(payload), 16_384)]
    kinds = [(1, END_STREAM if end else 0)] + [(9, 0)] * (len(parts) - 1)
    last = len(parts) - 1
    return b"".join(
        frame(kind, flags | (END_HEADERS if i == last else 0), stream, part)
        for i, ((kind, flags), part) in enumerate(zip(kinds, parts, strict=True))
    )


def priority(stream, depends_on=0, *, payload=None):
    content = depends_on.to_bytes(4, "big") + b"\x10" if payload is None else payload
    return frame(2, 0, stream, content)


def reset(stream, code=8):
    return frame(3, 0, stream, code.to_bytes(4, "big"))


def settings(*entries, flags=0, stream=0):
    payload = b"".join(k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in entries)
    return frame(4, flags, stream, payload)


def ping(payload=b"12345678", *, flags=0, stream=0):
    return frame(6, flags, stream, payload)


def goaway(code=0, *, stream=0, last=0):
    return frame(7, 0, stream, last.to_bytes(4, "big") + code.to_bytes(4, "big"))


def window_update(stream, increment):
    return frame(8, 0, stream, increment.to_bytes(4, "big"))


def continuation(stream, payload=b"", *, flags=END_HEADERS):
    return frame(9, flags, stream, payload)


def parse(received):
    """Return the whole frames at the start of *received*, and the rest."""
    frames = []
    while len(received) >= 9:
        parsed, size = Frame.parse_frame_header(memoryview(received)[:9])
        if len(received) < 9 + size:
            break
        parsed.parse_body(memoryview(received)[9 : 9 + size])
        frames.append(parsed)
        received = received[9 + size :]
    return frames, received


@attrs.define(eq=False)
class WireServer:
    """A server connection in memory; `frames` has what it has sent."""

    connection: Http2Connection
    apps: AppRunner
    context: ServerContext
    frames: list = attrs.Factory(list)
    is_closed: bool = False
    _rest: bytes = b""

    async def receive_now(self, *frames):
        """Pass the bytes of a client, while the applications run."""
        await self.connection.handle(RawData(b"".join(frames)))

    async def receive(self, *frames):
        """Pass the bytes of a client, and wait until the server has reacted."""
        await self.receive_now(*frames)
        await trio.testing.wait_all_tasks_blocked()

    async def send(self, event):
        if isinstance(event, RawData):
            frames, self._rest = parse(self._rest + event.data)
            self.frames += frames
            # A socket may block.
            await trio.lowlevel.checkpoint()
        elif isinstance(event, Closed):
            self.is_closed = True

    def sent(self, kind, stream=None):
        """Return the sent frames whose class is named *kind*."""
        return [
            each
            for each in self.frames
            if type(each).__name__ == f"{kind}Frame"
            and (stream is None or each.stream_id == stream)
        ]

    def resets(self):
        """Return the code of each reset stream."""
        return {each.stream_id: each.error_code for each in self.sent("RstStream")}

    def goaways(self):
        return [(each.last_stream_id, each.error_code) for each in self.sent("GoAway")]

    def statuses(self):
        """Return the status of each response."""
        decoder = Decoder()
        return {
            each.stream_id: int(dict(decoder.decode(each.data))[":status"])
            for each in self.sent("Headers")
        }


def server_context(app, **limits):
    """Make what the connections of a server share."""
    return ServerContext(
        app=wrap_app(app, 1 << 16, "asgi"),
        config=Config(),
        limits=ServerLimits(**limits),
        counters=ServerCounters(),
    )


async def _receive():
    return b""


@asynccontextmanager
async def wire_server(app, *, preface=True, context=None, **limits):
    """Run a server connection of *app*, whose client has sent its preface."""
    context = context or server_context(app, **limits)
    async with trio.open_nursery() as nursery:
        apps = AppRunner(nursery)
        connection = ConnectionContext(
            context=context,
            apps=apps,
            send=lambda event: server.send(event),
            receive=_receive,
            hand_off=None,
            ssl=False,
            client=("127.0.0.1", 1),
            server=("127.0.0.1", 2),
        )
        server = WireServer(Http2Connection(connection), apps, context)
        await server.connection.initiate()
        if preface:
            await server.connection.handle(RawData(PREFACE + settings()))
        yield server
        await server.connection.handle(Closed())
        nursery.cancel_scope.cancel()
