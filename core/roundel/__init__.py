"""Server-sent events without I/O: encoding, parsing, positions, replay.

PYTEST_DONT_REWRITE: the pytest plugin is loaded also after a program has imported this.
"""

from __future__ import annotations

from ._cursor import Cursor, Position
from ._encoded_event import Delta
from ._errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from ._event import Event, encode, encode_comment, is_resumable_id
from ._headers import (
    accepts_stream,
    read_last_event_id,
    retry_after,
    stream_headers,
)
from ._history import History, Replay, ResumeOutcome
from ._parser import Parser
from ._source import Source
from ._source_states import TRANSITIONS, Input, State
from ._stream import Stream
from ._stream_messages import CloseMessage, ResumeInfo

__all__ = [
    "TRANSITIONS",
    "CloseMessage",
    "Cursor",
    "Delta",
    "Event",
    "History",
    "Input",
    "LocalProtocolError",
    "Parser",
    "Position",
    "ProtocolError",
    "RemoteProtocolError",
    "Replay",
    "ResumeInfo",
    "ResumeOutcome",
    "Source",
    "State",
    "Stream",
    "accepts_stream",
    "encode",
    "encode_comment",
    "is_resumable_id",
    "read_last_event_id",
    "retry_after",
    "stream_headers",
]
