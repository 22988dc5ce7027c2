"""Server-sent events without I/O: encoding, parsing, positions, replay."""

from __future__ import annotations

from ._errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from ._event import Event, encode, encode_comment, is_resumable_id

__all__ = [
    "Event",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
    "encode",
    "encode_comment",
    "is_resumable_id",
]
