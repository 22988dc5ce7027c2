"""The HTTP/2 frames that carry no part of a request: they change states and windows."""

from __future__ import annotations

import struct
from collections.abc import Callable

import attrs
from h2.errors import ErrorCodes
from h2.events import PingAckReceived, WindowUpdated
from h2.utilities import guard_increment_window
from hyperframe.frame import PingFrame, RstStreamFrame

from .http2_frames import ACK, Frame, FrameType, Http2Error, StreamError, protocol_error
from .http2_state import Http2State
from .http2_steps import ANSWER, GoAwayReceived, Step

MAX_SETTINGS = 32
"""Maximum entries of a SETTINGS frame; RFC 9113 defines 6."""

MAX_WINDOW = (1 << 31) - 1


def _on_priority(state: Http2State, frame: Frame) -> Step:
    if not frame.stream_id:
        raise protocol_error("PRIORITY without a stream")
    if len(frame.payload) != 5:
        raise StreamError(ErrorCodes.FRAME_SIZE_ERROR, "PRIORITY of another size")
    if frame.dependency == frame.stream_id:
        # RFC 7540 5.3.1; RFC 9113 has no priorities.
        raise StreamError(ErrorCodes.PROTOCOL_ERROR, "a stream depends on itself")
    return ANSWER


def _on_reset(state: Http2State, frame: Frame) -> Step:
    _require_size(frame, 4)
    require_active(state, frame)
    stream = state.open_stream(frame.stream_id)
    if stream is None:
        return Step(overhead=1)
    code = int.from_bytes(frame.payload, "big")
    reset = RstStreamFrame(frame.stream_id, error_code=code)
    _, events = stream.stream_reset(reset)
    return Step(events, overhead=1)


def _on_window_update(state: Http2State, frame: Frame) -> Step:
    _require_size(frame, 4)
    stream_id = frame.stream_id
    increment = int.from_bytes(frame.payload, "big") & MAX_WINDOW
    if not stream_id:
        _widen_connection(state, increment)
    else:
        require_active(state, frame)
        stream = state.open_stream(stream_id)
        if stream is None:
            return ANSWER
        if not increment:
            raise StreamError(ErrorCodes.PROTOCOL_ERROR, "a window update of 0")
        if stream.outbound_flow_control_window + increment > MAX_WINDOW:
            raise StreamError(ErrorCodes.FLOW_CONTROL_ERROR, "too large a window")
        stream.outbound_flow_control_window += increment
    update = WindowUpdated(stream_id=stream_id, delta=increment)
    return attrs.evolve(ANSWER, events=[update])


def _widen_connection(state: Http2State, increment: int) -> None:
    if not increment:
        raise protocol_error("a window update of 0")
    state.outbound_flow_control_window = guard_increment_window(
        state.outbound_flow_control_window, increment
    )


def require_active(state: Http2State, frame: Frame) -> None:
    """Raise for a stream that no request has opened (RFC 9113 5.1)."""
    if state.is_idle(frame.stream_id):
        raise protocol_error("a frame on an idle stream")


def _on_settings(state: Http2State, frame: Frame) -> Step:
    _require_connection(frame)
    if len(frame.payload) % 6 or (frame.flags & ACK and frame.payload):
        raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, "SETTINGS of another size")
    if frame.flags & ACK:
        return Step(overhead=1)
    if len(frame.payload) > MAX_SETTINGS * 6:
        raise Http2Error(ErrorCodes.ENHANCE_YOUR_CALM, "too many settings")
    settings = [*struct.iter_unpack(">HL", frame.payload)]
    return Step(state.apply_settings(settings), work=1 + len(settings), overhead=1)


def _on_ping(state: Http2State, frame: Frame) -> Step:
    _require_connection(frame)
    _require_size(frame, 8)
    if frame.flags & ACK:
        return Step([PingAckReceived(ping_data=frame.payload)], overhead=1)
    state.queue(PingFrame(0, frame.payload, flags=["ACK"]))
    return ANSWER


def _on_goaway(state: Http2State, frame: Frame) -> Step:
    _require_connection(frame)
    if len(frame.payload) < 8:
        raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, "GOAWAY of another size")
    code = int.from_bytes(frame.payload[4:8], "big")
    return Step([GoAwayReceived(code)], overhead=1)


def _on_misplaced(state: Http2State, frame: Frame) -> Step:
    # RFC 9113 8.4 and 6.10.
    raise protocol_error("PUSH_PROMISE from a client, or CONTINUATION without its head")


def _require_connection(frame: Frame) -> None:
    if frame.stream_id:
        raise protocol_error("a frame of the connection on a stream")


def _require_size(frame: Frame, size: int) -> None:
    if len(frame.payload) != size:
        raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, "a frame of another size")


CONTROL: dict[int, Callable[[Http2State, Frame], Step]] = {
    FrameType.PRIORITY: _on_priority,
    FrameType.RST_STREAM: _on_reset,
    FrameType.SETTINGS: _on_settings,
    FrameType.PUSH_PROMISE: _on_misplaced,
    FrameType.PING: _on_ping,
    FrameType.GOAWAY: _on_goaway,
    FrameType.WINDOW_UPDATE: _on_window_update,
    FrameType.CONTINUATION: _on_misplaced,
}
