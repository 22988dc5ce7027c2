"""Handles the frames of an HTTP/2 client in small steps, without I/O.

The h2 library would handle all received frames at once. `Http2Codec` handles one frame
or a part of a head a step, and reports what the step costs. Each step has one of three
results: events, the error of a stream, or the error of the connection.
"""

from __future__ import annotations

from typing import final

import attrs
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from ..limits import ServerLimits
from .http2_control import CONTROL, require_active
from .http2_frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    Frame,
    FrameReader,
    FrameType,
    StreamError,
    protocol_error,
)
from .http2_head import FieldLines, HeadDecoder
from .http2_request import check_request, check_trailers, malformed
from .http2_state import Http2State
from .http2_steps import ANSWER, HeadTooLarge, Step

OPENING_WORK = 8
"""Work of a request, in units of about 20 µs."""

RESET_WORK = 4
"""Work of a stream that is reset."""

DECODING_WORK = 4
"""Work of a step that decodes a head."""

HEAD_BYTES_PER_WORK = 768
"""Bytes of an encoded head that are one unit of work, if they are compressed."""

BYTES_PER_WORK = 4 * 1024
"""Bytes of DATA that are one unit of work."""

FREE_STEPS = 4
"""Steps of decoding a head without overhead: 128 fields, or 8 KiB."""


@final
@attrs.define
class _Block:
    """A head whose last fragment is not yet received or decoded."""

    stream_id: int
    ends_stream: bool
    depends_on_itself: bool
    is_complete: bool = False
    steps: int = 0


@final
class Http2Codec:
    """Reads frames and changes *state*: `feed()` it, and `step()` until `None`."""

    def __init__(self, state: Http2State, limits: ServerLimits) -> None:
        self._state = state
        self._max_streams = limits.max_streams
        self._reader = FrameReader()
        self._head = HeadDecoder(limits.max_head)
        self._block: _Block | None = None
        self._has_undecoded = self._has_settings = False
        self._opened = 0

    @property
    def is_mid_head(self) -> bool:
        """Whether the client's preface or the head of a request is incomplete."""
        return not self._has_settings or self._block is not None

    @property
    def has_frame_of_request(self) -> bool:
        """Whether the next frame is of the request that the last step has opened.

        It may be a reset. Then the application need not start.
        """
        return bool(self._opened) and self._reader.has_frame_of(self._opened)

    @property
    def has_step(self) -> bool:
        """Whether there is a step to take before more bytes are received."""
        is_decoding = self._block is not None and self._has_undecoded
        return is_decoding or self._reader.has_frame

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._reader.feed(data)

    def step(self) -> Step | None:
        """Handle a frame or a part of a head; `None` until more bytes are received.

        Raises `ProtocolError` with an *error_code* for a connection error.
        """
        self._opened = 0
        if self._block is not None and self._has_undecoded:
            return self._decode(self._block)
        frame = self._reader.next()
        if frame is None:
            return None
        try:
            if self._block is not None:
                return self._on_continuation(self._block, frame)
            return self._on_frame(frame)
        except StreamError as error:
            return self._fail_stream(frame.stream_id, error)

    def _on_frame(self, frame: Frame) -> Step:
        is_settings = frame.type == FrameType.SETTINGS and not frame.flags & ACK
        if not (self._has_settings or is_settings):
            raise protocol_error("a frame before the settings")  # RFC 9113 3.4
        self._has_settings = True
        if frame.type == FrameType.DATA:
            return self._on_data(frame)
        if frame.type == FrameType.HEADERS:
            return self._on_headers(frame)
        handler = CONTROL.get(frame.type)
        # RFC 9113 5.5: unknown types are ignored.
        return ANSWER if handler is None else handler(self._state, frame)

    def _fail_stream(self, stream_id: int, error: StreamError) -> Step:
        reset = self._state.fail_stream(stream_id, error)
        return Step([reset], RESET_WORK, overhead=1)

    # Heads.

    def _on_headers(self, frame: Frame) -> Step:
        if frame.stream_id % 2 == 0:
            # RFC 9113 5.1.1: clients use odd streams.
            raise protocol_error("a request on a stream of the server")
        fragment = frame.content()
        self._head.start()
        self._block = block = _Block(
            stream_id=frame.stream_id,
            ends_stream=bool(frame.flags & END_STREAM),
            depends_on_itself=frame.dependency == frame.stream_id,
        )
        return self._add_fragment(block, frame, fragment)

    def _on_continuation(self, block: _Block, frame: Frame) -> Step:
        is_expected = frame.type == FrameType.CONTINUATION
        if not is_expected or frame.stream_id != block.stream_id:
            raise protocol_error("another frame within a head")  # RFC 9113 6.10
        step = self._add_fragment(block, frame, frame.payload)
        return attrs.evolve(step, overhead=step.overhead + 1)

    def _add_fragment(self, block: _Block, frame: Frame, fragment: bytes) -> Step:
        self._head.feed(fragment)
        block.is_complete = bool(frame.flags & END_HEADERS)
        return self._decode(block)

    def _decode(self, block: _Block) -> Step:
        """Decode a part of a head, and open the stream when it is complete."""
        block.steps += 1
        self._has_undecoded = self._head.step()
        work = DECODING_WORK + self._head.decoded_size // HEAD_BYTES_PER_WORK
        if self._has_undecoded or not block.is_complete:
            return Step(work=work, overhead=int(block.steps > FREE_STEPS))
        self._block = None
        step = self._on_head(block, self._head.finish())
        return attrs.evolve(step, work=step.work + work)

    def _on_head(self, block: _Block, fields: FieldLines) -> Step:
        try:
            if self._state.is_idle(block.stream_id):
                return self._on_request(block, fields)
            return self._on_trailers(block, fields)
        except StreamError as error:
            return self._fail_stream(block.stream_id, error)

    def _on_request(self, block: _Block, fields: FieldLines) -> Step:
        code = self._rejection(block, fields)
        if code is not None:
            self._state.reject(block.stream_id, code)
            return Step(overhead=1)
        stream_id, ends_stream = block.stream_id, block.ends_stream
        if self._head.is_too_large:
            self._state.open(stream_id, [], ends_stream=ends_stream)
            return Step([HeadTooLarge(stream_id)], OPENING_WORK, overhead=1)
        events = self._state.open(stream_id, fields, ends_stream=ends_stream)
        self._opened = stream_id
        return Step(events, OPENING_WORK)

    def _rejection(self, block: _Block, fields: FieldLines) -> ErrorCodes | None:
        """Return the code of a request that opens no stream."""
        # RFC 9113 5.1.2: streams that are closed do not count.
        if self._state.open_inbound_streams >= self._max_streams:
            return ErrorCodes.REFUSED_STREAM
        if block.depends_on_itself:
            return ErrorCodes.PROTOCOL_ERROR
        if not self._head.is_too_large:
            try:
                check_request(fields, has_body=not block.ends_stream)
            except StreamError as error:
                return error.error_code
        return None

    def _on_trailers(self, block: _Block, fields: FieldLines) -> Step:
        stream = self._state.receiving_stream(block.stream_id)
        if stream is None:
            return Step(overhead=1)
        if self._head.is_too_large:
            raise StreamError(ErrorCodes.ENHANCE_YOUR_CALM, "large trailers")
        check_trailers(fields)
        if not block.ends_stream or block.depends_on_itself:
            raise malformed("trailers that do not end the stream")
        if stream._expected_content_length not in {None, stream._actual_content_length}:
            raise malformed("a body that is shorter than its content-length")
        _, events = stream.receive_headers([], end_stream=True, header_encoding=None)
        return Step(events)

    # Bodies.

    def _on_data(self, frame: Frame) -> Step:
        require_active(self._state, frame)
        size = len(frame.payload)
        self._state.consume_window(size)
        try:
            return self._on_body(frame, size)
        except StreamError:
            # RFC 9113 5.4.2: the bytes count for the window of the connection.
            self._state.acknowledge_received_data(size, frame.stream_id)
            raise

    def _on_body(self, frame: Frame, size: int) -> Step:
        data, ends_stream = frame.content(), bool(frame.flags & END_STREAM)
        stream = self._state.receiving_stream(frame.stream_id)
        if stream is None:
            self._state.acknowledge_received_data(size, frame.stream_id)
            return Step(overhead=1)
        try:
            _, events = stream.receive_data(data, ends_stream, size)
        except ProtocolError as error:
            # A wrong content-length, or more than the window of the stream.
            raise StreamError(ErrorCodes(error.error_code), str(error)) from error
        is_empty = not (data or ends_stream)
        return Step(events, 1 + size // BYTES_PER_WORK, overhead=int(is_empty))
