"""Floods of HTTP/2 frames that need no credential, as the bytes behind a preface."""

from __future__ import annotations

from functools import partial

from .http2_cases import HANG, HANG_POST, MANY_FIELDS
from .http2_wire import (
    END_HEADERS,
    END_STREAM,
    GET,
    PADDED,
    POST,
    block,
    continuation,
    data,
    frame,
    head,
    integer,
    large_head,
    ping,
    priority,
    reset,
    settings,
    window_update,
)

FRAMES = 3_000
"""Frames of a flood, above the allowance of 1,000."""


def repeated(received):
    return received * FRAMES


def on_streams(make, *, count=FRAMES, first=b""):
    """Repeat what *make* returns for a stream on as many streams."""
    return first + b"".join(make(2 * number + 1) for number in range(count))


def window_churn():
    """Open and close the windows of 50 streams whose responses wait for them."""
    heads = on_streams(partial(head, fields=GET), count=50, first=settings((4, 0)))
    return heads + (settings((4, 1)) + settings((4, 0))) * FRAMES


FLOODS = {
    "SETTINGS": repeated(settings()),
    "SETTINGS with entries": repeated(settings(*[(n, 1) for n in range(9, 41)])),
    "SETTINGS that change windows": window_churn(),
    "SETTINGS that change the table": (settings((1, 0)) + settings((1, 4_096)))
    * FRAMES,
    "ACK of SETTINGS": repeated(settings(flags=1)),
    "PING": repeated(ping()),
    "ACK of PING": repeated(ping(flags=1)),
    "PRIORITY": on_streams(priority),
    "PRIORITY of one stream": repeated(priority(1)),
    "PRIORITY on itself": on_streams(lambda s: head(s, HANG) + priority(s, s)),
    "PRIORITY of 4 bytes": on_streams(
        lambda s: head(s, HANG) + priority(s, payload=bytes(4))
    ),
    "WINDOW_UPDATE": repeated(window_update(0, 1)),
    "WINDOW_UPDATE of a stream": head(1, HANG) + repeated(window_update(1, 1)),
    "WINDOW_UPDATE of 0": on_streams(lambda s: head(s, HANG) + window_update(s, 0)),
    "WINDOW_UPDATE above 2 GiB": on_streams(
        lambda s: head(s, HANG) + window_update(s, (1 << 31) - 1)
    ),
    "empty DATA": head(1, HANG_POST, end=False) + repeated(data(1)),
    "DATA of padding": head(1, HANG_POST, end=False)
    + repeated(data(1, b"\0", flags=PADDED)),
    "CONTINUATION": head(1, flags=0) + repeated(continuation(1, flags=0)),
    "CONTINUATION of a byte": head(1, b"\0\x7f\xff\xff\x03", flags=0)
    + repeated(continuation(1, b"x", flags=0)),
    "rapid reset": on_streams(lambda s: head(s, HANG) + reset(s)),
    "rapid reset of uploads": on_streams(lambda s: head(s, POST, end=False) + reset(s)),
    "reset by DATA": on_streams(lambda s: head(s, HANG) + data(s, b"x")),
    "reset by HEADERS": on_streams(lambda s: head(s, HANG) + head(s)),
    "reset by the length": on_streams(
        lambda s: (
            head(s, [*HANG_POST, ("content-length", "1")], end=False) + data(s, b"12")
        )
    ),
    "malformed requests": on_streams(partial(head, fields=GET[:2])),
    "empty heads": on_streams(partial(head, fields=b"")),
    "refused requests": on_streams(partial(head, fields=HANG)),
    "large heads": on_streams(lambda s: large_head(s, MANY_FIELDS), count=1_100),
    "resets of a closed stream": head(1, HANG) + repeated(reset(1)),
    "DATA of a reset stream": head(1, HANG) + reset(1) + repeated(data(1, b"x")),
    "HEADERS of a reset stream": head(1, HANG) + reset(1) + repeated(head(1)),
    "unknown types": repeated(frame(99)),
    "PRIORITY_UPDATE": repeated(frame(16, payload=bytes(7))),
    "GOAWAY": head(1, HANG) + repeated(frame(7, payload=bytes(8))),
    "fields of one byte": head(1, flags=0)
    + b"".join(continuation(1, b"\x82" * 16_384, flags=0) for _ in range(15)),
    "updates of the table": frame(1, END_STREAM, 1, b"\x20" * 16_384)
    + b"".join(continuation(1, b"\x20" * 16_384, flags=0) for _ in range(15)),
}

HARMLESS = {
    "small literals": frame(1, END_STREAM, 1, b"\1\0" * 8_192)
    + continuation(1, b"\1\0" * 8_192),
    "indexed large field": head(
        1,
        block(GET) + b"\x40\1x" + integer(4_000, 7) + b"y" * 4_000 + b"\xbe" * 12_000,
        flags=END_HEADERS,
    ),
    "Huffman codes": head(
        1, block(GET) + b"\0\1x" + integer(16_125, 7, 0x80) + bytes(16_125)
    ),
}
"""A few large frames, which end no connection, but take long to decode."""
