"""Splits the bytes of an HTTP/2 client into frames, and checks their sizes."""

from __future__ import annotations

from enum import IntEnum
from typing import final

import attrs
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

MAX_FRAME = 16 * 1024
"""Maximum payload of a frame in bytes, in both directions (RFC 9113 4.2)."""

MAX_STREAM_ID = (1 << 31) - 1

HEADER_SIZE = 9
"""Size of a frame header in bytes."""

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20


class FrameType(IntEnum):
    """The frame types of RFC 9113 6."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Http2Error(ProtocolError):
    """A connection error: the connection ends with GOAWAY and *code*."""

    def __init__(self, code: ErrorCodes, message: str) -> None:
        super().__init__(message)
        self.error_code = code


@final
class StreamError(Http2Error):
    """A stream error: only this stream ends (RFC 9113 5.4.2)."""


def protocol_error(message: str) -> Http2Error:
    """Return the connection error of most violations (RFC 9113 7)."""
    return Http2Error(ErrorCodes.PROTOCOL_ERROR, message)


@final
@attrs.frozen
class Frame:
    """A frame whose size is valid; *type* may be unknown."""

    type: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def dependency(self) -> int | None:
        """The stream on which the stream depends, if the frame names one."""
        if self.type == FrameType.PRIORITY:
            start = 0
        elif self.flags & PRIORITY:
            start = 1 if self.flags & PADDED else 0
        else:
            return None
        return int.from_bytes(self.payload[start : start + 4], "big") & MAX_STREAM_ID

    def content(self) -> bytes:
        """Return the payload of DATA or HEADERS without padding and priority."""
        content, padding = self.payload, 0
        if self.flags & PADDED:
            if not content:
                raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, "no padding length")
            padding, content = content[0], content[1:]
        if self.type == FrameType.HEADERS and self.flags & PRIORITY:
            if len(content) < 5:
                raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, "no whole priority")
            content = content[5:]
        if padding > len(content):
            raise protocol_error("the padding is too long")
        return content[: len(content) - padding]


@final
class FrameReader:
    """Holds received bytes, and returns them as frames, one at a time.

    A frame above the maximum size is an error as soon as its header is known, so at
    most one frame and one read are buffered.
    """

    def __init__(self) -> None:
        self._preface = PREFACE
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._data += data

    @property
    def has_frame(self) -> bool:
        """Whether the next frame is complete, or known to be too large."""
        if self._preface or len(self._data) < HEADER_SIZE:
            return False
        size = int.from_bytes(self._data[:3], "big")
        return size > MAX_FRAME or len(self._data) >= HEADER_SIZE + size

    def has_frame_of(self, stream_id: int) -> bool:
        """Whether the next frame is complete, and of this stream."""
        return self.has_frame and int.from_bytes(self._data[5:9], "big") == stream_id

    def next(self) -> Frame | None:
        """Return the next frame, or `None` until more bytes are received."""
        data = self._data
        if self._preface:
            self._read_preface()
        if self._preface or len(data) < HEADER_SIZE:
            return None
        size = int.from_bytes(data[:3], "big")
        if size > MAX_FRAME:
            raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
        end = HEADER_SIZE + size
        if len(data) < end:
            return None
        # RFC 9113 4.1: the reserved bit of the identifier is ignored.
        stream_id = int.from_bytes(data[5:9], "big") & MAX_STREAM_ID
        frame = Frame(data[3], data[4], stream_id, bytes(data[HEADER_SIZE:end]))
        del data[:end]
        return frame

    def _read_preface(self) -> None:
        size = min(len(self._preface), len(self._data))
        if self._data[:size] != self._preface[:size]:
            raise protocol_error("an invalid preface")
        self._preface = self._preface[size:]
        del self._data[:size]
