"""The h2 library, set up with bounds, and the questions that it has no answer to."""

from __future__ import annotations

from collections.abc import Iterable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from ..limits import ServerLimits

MAX_FRAME = 16 * 1024
"""Bytes of one stream before it is another's turn, whatever the peer would take."""
MAX_TABLE = 4 * 1024
"""Bytes of our headers to remember for the peer, whatever it asks for."""

Field = tuple[bytes, bytes]


def h2_connection(limits: ServerLimits) -> H2Connection:
    """Make the server's side of a connection."""
    config = H2Configuration(client_side=False, header_encoding=None)
    connection = H2Connection(config)
    values = {
        SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_streams,
        SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_head,
    }
    connection.local_settings = Settings(client=False, initial_values=values)
    # An initial value is no change of a setting, and only changes reach the decoder.
    connection.decoder.max_header_list_size = limits.max_head
    return connection


def partial_head_size(connection: H2Connection) -> int:
    """Return the bytes of a head of which more has to come."""
    # h2 itself bounds them by 64 frames, which is a mebibyte, and has no way to ask.
    frames = connection.incoming_buffer._headers_buffer
    return sum(len(frame.data) for frame in frames)


def limit_encoder_table(connection: H2Connection) -> None:
    """Remember no more for the peer than we would have by default."""
    encoder = connection.encoder
    encoder.header_table_size = min(encoder.header_table_size, MAX_TABLE)


def sendable_size(connection: H2Connection, stream_id: int) -> int:
    """Return how many bytes may be sent on a stream in one frame now."""
    window = connection.local_flow_control_window(stream_id)
    return max(0, min(window, connection.max_outbound_frame_size, MAX_FRAME))


def response_head(status: int, headers: Iterable[Field]) -> list[Field]:
    """Return the head of a response, in HTTP/2's form."""
    return [(b":status", b"%d" % status), *headers]
