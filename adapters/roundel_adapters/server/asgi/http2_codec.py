"""The h2 library with limits, and queries that it has no public API for."""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from h2.settings import SettingCodes, Settings
from hypercorn.protocol.events import Request
from hypercorn.typing import ConnectionState
from hypercorn.utils import filter_pseudo_headers

from ..limits import ServerLimits

MAX_FRAME = 16 * 1024
"""Maximum bytes of a DATA frame, after which other streams get a turn."""


def h2_connection(limits: ServerLimits) -> H2Connection:
    """Create the server side of a connection."""
    config = H2Configuration(client_side=False, header_encoding=None)
    connection = H2Connection(config)
    values = {
        SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_streams,
        SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_head,
    }
    connection.local_settings = Settings(client=False, initial_values=values)
    # h2 passes a changed setting to the decoder, and not an initial one.
    connection.decoder.max_header_list_size = limits.max_head
    return connection


def partial_head_size(connection: H2Connection) -> int:
    """Return the size in bytes of a head that is not yet complete."""
    # h2 has no public API for it. Its own limit is 64 frames, which is 1 MiB.
    frames = connection.incoming_buffer._headers_buffer
    return sum(len(frame.data) for frame in frames)


def sendable_size(connection: H2Connection, stream_id: int) -> int:
    """Return how many bytes one DATA frame on the stream may have now."""
    window = connection.local_flow_control_window(stream_id)
    return max(0, min(window, connection.max_outbound_frame_size, MAX_FRAME))


def decode_request(event: RequestReceived, state: ConnectionState) -> Request | None:
    """Return the request of *event*, or `None` if ASGI cannot represent it."""
    fields = [(bytes(name), bytes(value)) for name, value in event.headers]
    pseudo = {name: value for name, value in fields if name.startswith(b":")}
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    # A CONNECT request has no path.
    if not (method.isascii() and path.isascii() and path):
        return None
    return Request(
        stream_id=event.stream_id,
        headers=filter_pseudo_headers(fields),
        http_version="2",
        method=method.decode("ascii").upper(),
        raw_path=path,
        state=state,
    )
