"""The h2 library with limits, and queries that it has no public API for."""

from __future__ import annotations

from collections.abc import Iterable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from ..limits import ServerLimits

MAX_FRAME = 16 * 1024
"""Maximum bytes of a DATA frame, after which other streams get a turn."""
MAX_TABLE = 4 * 1024
"""Maximum bytes of the HPACK table that compresses response headers."""

Field = tuple[bytes, bytes]


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


def limit_encoder_table(connection: H2Connection) -> None:
    """Limit the HPACK table to `MAX_TABLE`, whatever the client's settings say."""
    encoder = connection.encoder
    encoder.header_table_size = min(encoder.header_table_size, MAX_TABLE)


def sendable_size(connection: H2Connection, stream_id: int) -> int:
    """Return how many bytes one DATA frame on the stream may have now."""
    window = connection.local_flow_control_window(stream_id)
    return max(0, min(window, connection.max_outbound_frame_size, MAX_FRAME))


def response_head(status: int, headers: Iterable[Field]) -> list[Field]:
    """Return the header list of a response (RFC 9113 8.3.2)."""
    return [(b":status", b"%d" % status), *headers]
