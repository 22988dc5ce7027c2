"""The states of an HTTP/2 connection and of its streams, by the h2 library.

The library treats each error as a connection error. Here a stream can fail alone
(RFC 9113 5.4.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs, H2Connection
from h2.errors import ErrorCodes
from h2.events import Event, StreamReset
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream, StreamClosedBy, StreamState
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame, SettingsFrame

from ..limits import ServerLimits
from .http2_frames import MAX_FRAME, Http2Error, StreamError, protocol_error
from .http2_head import FieldLines

MAX_TABLE = 4 * 1024
"""Maximum bytes of the HPACK table that compresses response heads."""

_KNOWN_SETTINGS = frozenset(SettingCodes)


@final
class Http2State(H2Connection):
    """The server side of a connection; its frames are read elsewhere."""

    MAX_CLOSED_STREAMS = 1_000
    """Closed streams that are remembered for frames which the client sent before."""

    def __init__(self, limits: ServerLimits) -> None:
        config = H2Configuration(
            client_side=False, header_encoding=None, validate_inbound_headers=False
        )
        super().__init__(config)
        values = {
            SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_streams,
            SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_head,
        }
        self.local_settings: Settings = Settings(client=False, initial_values=values)

    def sendable_size(self, stream_id: int) -> int:
        """Return how many bytes one DATA frame on the stream may have now."""
        window = self.local_flow_control_window(stream_id)
        return max(0, min(window, self.max_outbound_frame_size, MAX_FRAME))

    def queue(self, *frames: Frame) -> None:
        """Queue frames that are sent at the next flush."""
        self._prepare_for_sending(list(frames))

    def queue_goaway(self, last_stream_id: int) -> None:
        """Tell the client to open no further streams; the open ones continue."""
        self.queue(GoAwayFrame(0, last_stream_id=last_stream_id))

    def open(
        self, stream_id: int, fields: FieldLines, *, ends_stream: bool
    ) -> list[Event]:
        """Open a stream by a request."""
        self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        stream = self._begin_new_stream(stream_id, AllowedStreamIDs.ODD)
        _, events = stream.receive_headers(fields, ends_stream, None)
        return events

    def reject(self, stream_id: int, code: ErrorCodes) -> None:
        """Reset a stream that a malformed or refused request would open."""
        self.highest_inbound_stream_id = stream_id
        self._closed_streams[stream_id] = StreamClosedBy.SEND_RST_STREAM
        self.queue(RstStreamFrame(stream_id, error_code=code))

    def is_idle(self, stream_id: int) -> bool:
        """Whether no request has used the stream yet (RFC 9113 5.1)."""
        is_own = stream_id % 2 == 0
        return is_own or stream_id > self.highest_inbound_stream_id

    def open_stream(self, stream_id: int) -> H2Stream | None:
        """Return a stream if it is open or half-closed."""
        stream = self.streams.get(stream_id)
        return stream if stream is not None and stream.open else None

    def receiving_stream(self, stream_id: int) -> H2Stream | None:
        """Return a stream whose client may send HEADERS and DATA.

        Returns `None` for a stream that the server has reset: the client may have sent
        the frame before it received the reset. Raises an error for all other streams.
        """
        stream = self.open_stream(stream_id)
        if stream is not None:
            if stream.state_machine.state is StreamState.HALF_CLOSED_REMOTE:
                raise StreamError(ErrorCodes.STREAM_CLOSED, "a frame behind the end")
            return stream
        match self._stream_closed_by(stream_id):
            case StreamClosedBy.SEND_RST_STREAM:
                return None
            case StreamClosedBy.RECV_RST_STREAM:
                raise StreamError(ErrorCodes.STREAM_CLOSED, "a frame behind a reset")
            case None:
                # RFC 9113 5.1.1: a higher request has closed it.
                raise protocol_error("a stream that was skipped")
        raise Http2Error(ErrorCodes.STREAM_CLOSED, "a frame behind the end")

    def fail_stream(self, stream_id: int, error: StreamError) -> StreamReset:
        """Reset the stream; raise *error* if it is idle."""
        if self.is_idle(stream_id):
            # RFC 9113 6.4: an idle stream cannot be reset.
            raise error
        stream = self.open_stream(stream_id)
        if stream is not None:
            stream.state_machine.state = StreamState.CLOSED
            stream.state_machine.stream_closed_by = StreamClosedBy.SEND_RST_STREAM
        code = error.error_code
        if stream is not None or code is ErrorCodes.STREAM_CLOSED:
            self.queue(RstStreamFrame(stream_id, error_code=code))
        return StreamReset(stream_id=stream_id, error_code=code, remote_reset=False)

    def forget(self, stream_id: int) -> None:
        """Release a stream if it is closed."""
        stream = self.streams.get(stream_id)
        if stream is not None and stream.closed:
            self._closed_streams[stream_id] = stream.closed_by
            del self.streams[stream_id]

    def apply_settings(self, settings: Iterable[tuple[int, int]]) -> list[Event]:
        """Apply the client's settings one by one, and acknowledge them together.

        RFC 9113 6.5.3: they are processed in their order, also one that is repeated.
        """
        acknowledgement, events = self._receive_settings_frame(SettingsFrame(0))
        for name, value in settings:
            # The library keeps each setting, and unknown ones are without a limit.
            if name in _KNOWN_SETTINGS:
                one = SettingsFrame(0, {name: value})
                events += self._receive_settings_frame(one)[1]
        self.queue(*acknowledgement)
        self._limit_table()
        return events

    def _limit_table(self) -> None:
        encoder = self.encoder
        # The client chooses the size of its table; the memory is the server's.
        encoder.header_table_size = min(encoder.header_table_size, MAX_TABLE)
        # RFC 7541 4.2: the next head tells the smallest size and the last one.
        if len(encoder.table_size_changes) > 2:
            *earlier, last = encoder.table_size_changes
            encoder.table_size_changes = [min(earlier), last]

    def consume_window(self, size: int) -> None:
        """Count *size* received bytes; raise if they exceed the connection's window."""
        self._inbound_flow_control_window_manager.window_consumed(size)
