"""What RFC 9113 and RFC 7541 require of a server, as frames and an outcome.

Each case is a section, a description, the frames of a client behind its preface, and
the outcome. The frames of a tuple are sent one after the other. The paths are those of
`CASE_APP`.
"""

from __future__ import annotations

import attrs
import trio
from h2.errors import ErrorCodes as Code

from support.asgi_apps import app_of, echo
from support.http2_wire import (
    ACK,
    END_HEADERS,
    GET,
    PADDED,
    POST,
    PREFACE,
    PRIORITY,
    block,
    continuation,
    data,
    frame,
    goaway,
    head,
    integer,
    large_head,
    ping,
    priority,
    reset,
    settings,
    window_update,
)


async def _handle(scope, receive, send):
    if scope["path"] == "/hang" and scope["method"] == "POST":
        await trio.sleep_forever()
    elif scope["path"] == "/hang":
        while (await receive())["type"] != "http.disconnect":
            pass
    else:
        await echo(scope, receive, send)


CASE_APP = app_of(_handle)
"""Answers with 200 when it has received the request; ``/hang`` only waits, and
reads no body."""


@attrs.frozen
class Outcome:
    """The expected *status* of stream 1, code of its *reset*, or code of a *goaway*.

    Without a *goaway* the connection has to serve the next request.
    """

    status: int | None = None
    reset: Code | None = None
    goaway: Code | None = None


OK = Outcome(status=200)
NOTHING = Outcome()
STREAM_PROTOCOL = Outcome(reset=Code.PROTOCOL_ERROR)
STREAM_CLOSED = Outcome(reset=Code.STREAM_CLOSED)
PROTOCOL = Outcome(goaway=Code.PROTOCOL_ERROR)
FRAME_SIZE = Outcome(goaway=Code.FRAME_SIZE_ERROR)
COMPRESSION = Outcome(goaway=Code.COMPRESSION_ERROR)
FLOW_CONTROL = Outcome(goaway=Code.FLOW_CONTROL_ERROR)
CALM = Outcome(goaway=Code.ENHANCE_YOUR_CALM)
ENDED_CLOSED = Outcome(status=200, goaway=Code.STREAM_CLOSED)
ENDED_PROTOCOL = Outcome(status=200, goaway=Code.PROTOCOL_ERROR)

HANG = [(":method", "GET"), (":scheme", "http"), (":path", "/hang"), GET[3]]
HANG_POST = [(":method", "POST"), *HANG[1:]]

OPEN = head(1, HANG_POST, end=False)
HALF_CLOSED = head(1, HANG)
RESET = OPEN + reset(1)
ENDED = head(1)
RESET_BY_SERVER = head(1, GET[:3])


def request(*fields, method="GET", without=(), end=True):
    """Make a request with additional *fields*."""
    pseudo = [(":method", method), *GET[1:]]
    return head(1, [f for f in pseudo if f[0] not in without] + list(fields), end=end)


def replaced(**pseudo):
    """Make a GET whose pseudo-header fields have other values."""
    values = {name.removeprefix(":"): value for name, value in GET} | pseudo
    return head(1, [(f":{name}", value) for name, value in values.items()])


def upload(*fields, parts=(b"12345",), trailers=None):
    """Make a POST with a body, and trailers if there are any."""
    bodies = [data(1, part) for part in parts[:-1]]
    bodies.append(data(1, parts[-1], end=trailers is None))
    end = b"" if trailers is None else head(1, trailers)
    return head(1, [*POST, *fields], end=False) + b"".join(bodies) + end


def hpack(encoded):
    """Make a request whose head ends with the *encoded* field."""
    return head(1, block(GET) + encoded)


def huffman(octets):
    """Make a request with a field whose value is said to be compressed."""
    return hpack(b"\0\1x" + integer(len(octets), 7, 0x80) + octets)


LARGE_FIELD = block([*GET, ("a", "x" * 20_000)])
MANY_FIELDS = block([*GET, *[(f"x-{n}", "y" * 40) for n in range(300)]])

FRAMING = [
    ("4.1", "a frame of an unknown type", frame(0x16, 0, 0, b"x" * 8), NOTHING),
    ("4.1", "ALTSVC of invalid content", frame(0x0A, 0, 0, b"\xff"), NOTHING),
    ("4.1", "PRIORITY_UPDATE", frame(0x10, 0, 0, bytes(4) + b"u=1"), NOTHING),
    ("4.1", "unknown flags", head(1, flags=END_HEADERS | 0x82), OK),
    ("4.1", "unknown flags of PING", ping(flags=0xFE), NOTHING),
    ("4.1", "the reserved bit", head(1 | 1 << 31), OK),
    ("4.2", "DATA of the maximum size", upload(parts=[bytes(16_384)]), OK),
    ("4.2", "DATA above the maximum", OPEN + data(1, bytes(16_385)), FRAME_SIZE),
    ("4.2", "HEADERS above the maximum", head(1, bytes(16_385)), FRAME_SIZE),
    ("4.2", "a size of 16 MiB", frame(0, 0, 1, size=(1 << 24) - 1), FRAME_SIZE),
    ("4.2", "an unknown type above it", frame(99, size=20_000), FRAME_SIZE),
    ("5.5", "an unknown type within a head", head(1, flags=0) + frame(99), PROTOCOL),
]

HEAD_BLOCKS = [
    ("4.3", "PRIORITY within a head", head(1, flags=0) + priority(1), PROTOCOL),
    ("4.3", "DATA within a head", head(1, flags=0) + data(1, b"x"), PROTOCOL),
    ("4.3", "another head within a head", head(1, flags=0) + head(3), PROTOCOL),
    ("4.3", "the same head within a head", head(1, flags=0) + head(1), PROTOCOL),
    ("4.3", "PING within a head", head(1, flags=0) + ping(), PROTOCOL),
    ("6.10", "one CONTINUATION", head(1, flags=0) + continuation(1), OK),
    (
        "6.10",
        "three CONTINUATION frames",
        head(1, block(GET)[:7], flags=0)
        + continuation(1, block(GET)[7:11], flags=0)
        + continuation(1, flags=0)
        + continuation(1, block(GET)[11:]),
        OK,
    ),
    ("6.10", "of another stream", head(1, flags=0) + continuation(3), PROTOCOL),
    ("6.10", "of stream 0", head(1, flags=0) + continuation(0), PROTOCOL),
    ("6.10", "without a head", continuation(1), PROTOCOL),
    ("6.10", "behind END_HEADERS", OPEN + continuation(1), PROTOCOL),
    ("6.10", "behind DATA", OPEN + data(1, b"x") + continuation(1), PROTOCOL),
    ("10.5.1", "a field of 20 KB", large_head(1, LARGE_FIELD), Outcome(status=431)),
    ("10.5.1", "300 fields", large_head(1, MANY_FIELDS), Outcome(status=431)),
    (
        "10.5.1",
        "a field of 200 KB",
        large_head(1, block([*GET, ("a", "x" * 200_000)])),
        Outcome(status=431),
    ),
    (
        "10.5.1",
        "a name of 40 KB",
        large_head(1, block([*GET, ("x" * 40_000, "y" * 40_000), ("b", "c")])),
        Outcome(status=431),
    ),
    (
        "10.5.1",
        "a large head of an upload",
        large_head(1, LARGE_FIELD, end=False) + data(1, b"x" * 100, end=True),
        Outcome(status=431),
    ),
    (
        "10.5.1",
        "a small block of a large head",
        head(
            1, block(GET) + b"\x40\1x" + integer(3_000, 7) + b"y" * 3_000 + b"\xbe" * 9
        ),
        Outcome(status=431),
    ),
    (
        "10.5.1",
        "large trailers",
        OPEN + large_head(1, block([("a", "x" * 20_000)])),
        Outcome(reset=Code.ENHANCE_YOUR_CALM),
    ),
    ("10.5.1", "a head of 300 KB", large_head(1, bytes(300_000)), CALM),
]

STATES = [
    ("5.1", "idle: DATA", data(1, b"x"), PROTOCOL),
    ("5.1", "idle: RST_STREAM", reset(1), PROTOCOL),
    ("5.1", "idle: WINDOW_UPDATE", window_update(1, 1), PROTOCOL),
    ("5.1", "idle: PRIORITY", priority(1) + head(1), OK),
    ("5.1", "idle and even: DATA", data(2, b"x"), PROTOCOL),
    ("5.1", "idle and even: RST_STREAM", reset(2), PROTOCOL),
    ("5.1", "idle and even: WINDOW_UPDATE", window_update(2, 1), PROTOCOL),
    ("5.1", "half-closed: DATA", HALF_CLOSED + data(1, b"x"), STREAM_CLOSED),
    ("5.1", "half-closed: empty DATA", HALF_CLOSED + data(1), STREAM_CLOSED),
    ("5.1", "half-closed: HEADERS", HALF_CLOSED + head(1), STREAM_CLOSED),
    ("5.1", "half-closed: CONTINUATION", HALF_CLOSED + continuation(1), PROTOCOL),
    ("5.1", "half-closed: WINDOW_UPDATE", HALF_CLOSED + window_update(1, 9), NOTHING),
    ("5.1", "half-closed: PRIORITY", HALF_CLOSED + priority(1), NOTHING),
    ("5.1", "half-closed: RST_STREAM", HALF_CLOSED + reset(1), NOTHING),
    ("5.1", "reset: DATA", RESET + data(1, b"x"), STREAM_CLOSED),
    ("5.1", "reset: HEADERS", RESET + head(1), STREAM_CLOSED),
    ("5.1", "reset: CONTINUATION", RESET + continuation(1), PROTOCOL),
    ("5.1", "reset: WINDOW_UPDATE", RESET + window_update(1, 1), NOTHING),
    ("5.1", "reset: PRIORITY", RESET + priority(1), NOTHING),
    ("5.1", "reset: RST_STREAM", RESET + reset(1), NOTHING),
    ("5.1", "ended: DATA", (ENDED, data(1, b"x")), ENDED_CLOSED),
    ("5.1", "ended: HEADERS", (ENDED, head(1)), ENDED_CLOSED),
    ("5.1", "ended: CONTINUATION", (ENDED, continuation(1)), ENDED_PROTOCOL),
    ("5.1", "ended: WINDOW_UPDATE", (ENDED, window_update(1, 1)), OK),
    ("5.1", "ended: PRIORITY", (ENDED, priority(1)), OK),
    ("5.1", "ended: RST_STREAM", (ENDED, reset(1)), OK),
    ("5.1", "reset by us: DATA", RESET_BY_SERVER + data(1, b"x"), STREAM_PROTOCOL),
    ("5.1", "reset by us: HEADERS", RESET_BY_SERVER + head(1), STREAM_PROTOCOL),
    (
        "5.1",
        "reset by us: WINDOW_UPDATE",
        RESET_BY_SERVER + window_update(1, 1),
        STREAM_PROTOCOL,
    ),
    ("5.1", "reset by us: RST_STREAM", RESET_BY_SERVER + reset(1), STREAM_PROTOCOL),
    ("5.1.1", "HEADERS on an even stream", head(2), PROTOCOL),
    ("5.1.1", "HEADERS on stream 0", head(0), PROTOCOL),
    ("5.1.1", "a lower stream", head(5) + head(1), PROTOCOL),
    ("5.1.1", "DATA on a skipped stream", head(5) + data(1, b"x"), PROTOCOL),
    (
        "5.3.1",
        "HEADERS that depend on themselves",
        head(1, b"\0\0\0\1\x10" + block(GET), flags=END_HEADERS | PRIORITY),
        STREAM_PROTOCOL,
    ),
    ("5.3.1", "PRIORITY on itself", OPEN + priority(1, 1), STREAM_PROTOCOL),
    ("5.3.1", "PRIORITY on itself, idle", priority(1, 1), PROTOCOL),
]

FRAMES = [
    ("6.1", "DATA on stream 0", data(0, b"x"), PROTOCOL),
    ("6.1", "an empty body", upload(parts=[b""]), OK),
    (
        "6.1",
        "padded DATA",
        head(1, POST, end=False) + data(1, b"\2ab\0\0", end=True, flags=PADDED),
        OK,
    ),
    (
        "6.1",
        "DATA of padding only",
        head(1, POST, end=False) + data(1, b"\2\0\0", end=True, flags=PADDED),
        OK,
    ),
    ("6.1", "too long padding", OPEN + data(1, b"\3\0\0", flags=PADDED), PROTOCOL),
    ("6.1", "no padding length", OPEN + data(1, b"", flags=PADDED), FRAME_SIZE),
    (
        "6.2",
        "padding and priority",
        head(
            1,
            b"\1\0\0\0\0\x10" + block(GET) + b"\0",
            flags=END_HEADERS | PADDED | PRIORITY,
        ),
        OK,
    ),
    ("6.2", "too long padding", head(1, b"\x09", flags=END_HEADERS | PADDED), PROTOCOL),
    (
        "6.2",
        "padding over the priority",
        head(1, b"\3\0\0\0\0\0\0\0", flags=END_HEADERS | PADDED | PRIORITY),
        PROTOCOL,
    ),
    ("6.2", "no padding length", head(1, b"", flags=END_HEADERS | PADDED), FRAME_SIZE),
    (
        "6.2",
        "half a priority",
        head(1, b"\0\0", flags=END_HEADERS | PRIORITY),
        FRAME_SIZE,
    ),
    ("6.3", "PRIORITY on stream 0", priority(0), PROTOCOL),
    (
        "6.3",
        "PRIORITY of 4 bytes",
        OPEN + priority(1, payload=bytes(4)),
        Outcome(reset=Code.FRAME_SIZE_ERROR),
    ),
    (
        "6.3",
        "PRIORITY of 6 bytes",
        OPEN + priority(1, payload=bytes(6)),
        Outcome(reset=Code.FRAME_SIZE_ERROR),
    ),
    ("6.3", "idle, of 4 bytes", priority(1, payload=bytes(4)), FRAME_SIZE),
    ("6.4", "RST_STREAM on stream 0", reset(0), PROTOCOL),
    ("6.4", "RST_STREAM of 3 bytes", OPEN + frame(3, 0, 1, bytes(3)), FRAME_SIZE),
    ("6.4", "RST_STREAM of 5 bytes", OPEN + frame(3, 0, 1, bytes(5)), FRAME_SIZE),
    ("6.4", "an unknown code", OPEN + reset(1, 0xFFFF), NOTHING),
    ("6.5", "ACK with a payload", frame(4, ACK, 0, bytes(6)), FRAME_SIZE),
    ("6.5", "on a stream", settings(stream=1), PROTOCOL),
    ("6.5", "of 5 bytes", frame(4, 0, 0, bytes(5)), FRAME_SIZE),
    ("6.5", "an ACK that nothing asked for", settings(flags=ACK) * 2, NOTHING),
    ("6.5.2", "push of 2", settings((2, 2)), PROTOCOL),
    ("6.5.2", "a window of 2 GiB", settings((4, 1 << 31)), FLOW_CONTROL),
    ("6.5.2", "frames of 16,383 bytes", settings((5, 16_383)), PROTOCOL),
    ("6.5.2", "frames of 16 MiB", settings((5, 1 << 24)), PROTOCOL),
    ("6.5.2", "an extended CONNECT of 2", settings((8, 2)), PROTOCOL),
    ("6.5.2", "an unknown setting", settings((0xFF, 1)), NOTHING),
    ("6.5.3", "the same setting twice", settings((4, 100), (4, 1)) + head(1), OK),
    ("6.5.3", "first a bad value", settings((4, 1 << 31), (4, 1)), FLOW_CONTROL),
    ("6.5", "33 settings", settings(*[(n, 0) for n in range(9, 42)]), CALM),
    ("6.6", "PUSH_PROMISE", OPEN + frame(5, 4, 1, bytes(4)), PROTOCOL),
    ("6.7", "PING on a stream", ping(stream=1), PROTOCOL),
    ("6.7", "PING of 6 bytes", ping(b"x" * 6), FRAME_SIZE),
    ("6.7", "PING of 9 bytes", ping(b"x" * 9), FRAME_SIZE),
    ("6.7", "an ACK without its PING", ping(flags=ACK), NOTHING),
    ("6.8", "GOAWAY on a stream", goaway(stream=1), PROTOCOL),
    ("6.8", "GOAWAY of 7 bytes", frame(7, 0, 0, bytes(7)), FRAME_SIZE),
    ("6.9", "0, of the connection", window_update(0, 0), PROTOCOL),
    ("6.9", "0, of a stream", OPEN + window_update(1, 0), STREAM_PROTOCOL),
    (
        "6.9",
        "0 and the reserved bit",
        OPEN + window_update(1, 1 << 31),
        STREAM_PROTOCOL,
    ),
    ("6.9", "of 3 bytes", frame(8, 0, 0, bytes(3)), FRAME_SIZE),
    ("6.9", "of 5 bytes", frame(8, 0, 0, bytes(5)), FRAME_SIZE),
    ("6.9.1", "a window above 2 GiB", window_update(0, (1 << 31) - 1), FLOW_CONTROL),
    (
        "6.9.1",
        "a stream's window above 2 GiB",
        OPEN + window_update(1, (1 << 31) - 1),
        Outcome(reset=Code.FLOW_CONTROL_ERROR),
    ),
    (
        "6.9.1",
        "more than the window",
        OPEN + data(1, bytes(16_384)) * 4,
        FLOW_CONTROL,
    ),
    (
        "6.9.2",
        "a setting that exceeds a window",
        OPEN + window_update(1, 1 << 30) + settings((4, (1 << 31) - 1)),
        FLOW_CONTROL,
    ),
]

MESSAGES = [
    ("8.1", "trailers", upload(trailers=[("a", "b")]), OK),
    ("8.1", "trailers that do not end", OPEN + head(1, [], end=False), STREAM_PROTOCOL),
    ("8.1", "a pseudo field in trailers", OPEN + head(1, GET), STREAM_PROTOCOL),
    ("8.1", "upper case in trailers", OPEN + head(1, [("A", "b")]), STREAM_PROTOCOL),
    (
        "8.1",
        "transfer-encoding in trailers",
        OPEN + head(1, [("transfer-encoding", "chunked")]),
        STREAM_PROTOCOL,
    ),
    ("8.1", "an empty head", head(1, b""), STREAM_PROTOCOL),
    *[
        ("8.2.1", f"the name {name!r}", request((name, "x")), STREAM_PROTOCOL)
        for name in ("X-A", "a b", "a:b", "", "a\x7f", "\xe9", "a\0", "a(b", "a\t")
    ],
    *[
        ("8.2.1", f"the value {value!r}", request(("a", value)), STREAM_PROTOCOL)
        for value in ("a\0b", "a\rb", "a\nb", " a", "a ", "\ta", "a\t", " ")
    ],
    ("8.2.1", "an empty value", request(("a", "")), OK),
    ("8.2.1", "a value in UTF-8", request(("a", "\xc3\xa9")), OK),
    *[
        ("8.2.2", f"the field {name}", request((name, value)), STREAM_PROTOCOL)
        for name, value in (
            ("connection", "keep-alive"),
            ("proxy-connection", "close"),
            ("keep-alive", "timeout=1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("te", "trailers, gzip"),
        )
    ],
    ("8.2.2", "TE with trailers", request(("te", "trailers")), OK),
    ("8.2.3", "a split cookie", request(("cookie", "a=1"), ("cookie", "b=2")), OK),
    ("8.3", "an unknown pseudo field", request((":x", "y")), STREAM_PROTOCOL),
    (
        "8.3",
        "a pseudo field of responses",
        request((":status", "200")),
        STREAM_PROTOCOL,
    ),
    ("8.3", "a late pseudo field", head(1, [("a", "b"), *GET]), STREAM_PROTOCOL),
    *[
        ("8.3.1", f"no {name}", request(without=[name]), STREAM_PROTOCOL)
        for name in (":method", ":scheme", ":path", ":authority")
    ],
    *[
        ("8.3.1", f"two fields {name}", head(1, [*GET, (name, value)]), STREAM_PROTOCOL)
        for name, value in GET
    ],
    *[
        ("8.3.1", f"the path {path!r}", replaced(path=path), STREAM_PROTOCOL)
        for path in ("", "a", "*", "/\xe9", "/a b", "/\x7f", "http://x/")
    ],
    ("8.3.1", "OPTIONS *", replaced(method="OPTIONS", path="*"), OK),
    *[
        ("8.3.1", f"the authority {host!r}", replaced(authority=host), STREAM_PROTOCOL)
        for host in ("", "u@x", "a b", "x/y", "x:y")
    ],
    ("8.3.1", "the same host twice", request(("host", "X")), OK),
    ("8.3.1", "another host", request(("host", "y")), STREAM_PROTOCOL),
    ("8.3.1", "a host only", request(("host", "x"), without=[":authority"]), OK),
    ("8.3.1", "two hosts", request(("host", "x"), ("host", "x")), STREAM_PROTOCOL),
    ("8.3.1", "a scheme with a space", replaced(scheme="a b"), STREAM_PROTOCOL),
    ("8.3.1", "a method with a space", replaced(method="GE T"), STREAM_PROTOCOL),
    ("8.3.1", "a method in lower case", replaced(method="get"), Outcome(status=501)),
    (
        "8.5",
        "CONNECT",
        head(1, [(":method", "CONNECT"), (":authority", "x:1")]),
        Outcome(status=501),
    ),
    ("8.5", "CONNECT with a path", replaced(method="CONNECT"), STREAM_PROTOCOL),
    ("8.5", "CONNECT alone", head(1, [(":method", "CONNECT")]), STREAM_PROTOCOL),
    (
        "8.5",
        "an extended CONNECT",
        head(1, [(":method", "CONNECT"), *GET[1:], (":protocol", "websocket")]),
        STREAM_PROTOCOL,
    ),
    ("8.1.1", "the right length", upload(("content-length", "5")), OK),
    ("8.1.1", "the same length twice", upload(*[("content-length", "5")] * 2), OK),
    *[
        (
            "8.1.1",
            f"the length {length!r} of 5 bytes",
            upload(("content-length", length)),
            STREAM_PROTOCOL,
        )
        for length in ("4", "6", "0", "-5", "+5", "5,5", "5.0", "0x5", "5_", "", "five")
    ],
    (
        "8.1.1",
        "two lengths",
        upload(("content-length", "5"), ("content-length", "6")),
        STREAM_PROTOCOL,
    ),
    (
        "8.1.1",
        "a length of several frames",
        upload(("content-length", "5"), parts=[b"123", b"456"]),
        STREAM_PROTOCOL,
    ),
    (
        "8.1.1",
        "a length behind trailers",
        upload(("content-length", "6"), trailers=[]),
        STREAM_PROTOCOL,
    ),
    (
        "8.1.1",
        "a length without a body",
        request(("content-length", "5"), method="POST"),
        STREAM_PROTOCOL,
    ),
    ("8.1.1", "a length of 0", request(("content-length", "0")), OK),
]

COMPRESSED = [
    ("2.3.3", "an index above the table", hpack(b"\xff\x10"), COMPRESSION),
    ("2.3.3", "a name above the table", hpack(b"\x7f\x10\1x"), COMPRESSION),
    ("4.2", "an update at the end", hpack(b"\x20"), COMPRESSION),
    ("4.2", "an update at the start", head(1, b"\x20" + block(GET)), OK),
    (
        "4.2",
        "two updates at the start",
        head(1, b"\x20\x3f\xe1\x1f" + block(GET)),
        OK,
    ),
    ("5.1", "an integer without an end", hpack(b"\xff" + b"\x80" * 12), COMPRESSION),
    (
        "5.1",
        "an integer above 32 bits",
        hpack(b"\xff" + b"\xff" * 8 + b"\1"),
        COMPRESSION,
    ),
    ("5.2", "padding of 8 bits", huffman(b"\x1f\xff"), COMPRESSION),
    ("5.2", "padding of zeros", huffman(b"\x18"), COMPRESSION),
    ("5.2", "the EOS symbol", huffman(b"\xff\xff\xff\xff"), COMPRESSION),
    ("5.2", "a compressed value", huffman(b"\x1f"), OK),
    ("6.1", "the index 0", hpack(b"\x80"), COMPRESSION),
    ("6.2", "half a name", hpack(b"\0\5ab"), COMPRESSION),
    ("6.2", "half a value", hpack(b"\0\1x\5ab"), COMPRESSION),
    ("6.2", "a name without a value", hpack(b"\0\1x"), COMPRESSION),
    ("6.2", "half a large value", hpack(b"\0\1x" + integer(30_000, 7)), COMPRESSION),
    ("6.3", "an update above the limit", head(1, b"\x3f\xe2\x1f"), COMPRESSION),
]

CASES = [*FRAMING, *HEAD_BLOCKS, *STATES, *FRAMES, *MESSAGES, *COMPRESSED]

PREFACES = [
    ("another line", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", PROTOCOL),
    ("HTTP/1.1", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", PROTOCOL),
    ("PING before SETTINGS", PREFACE + ping(), PROTOCOL),
    ("HEADERS before SETTINGS", PREFACE + head(1), PROTOCOL),
    ("an ACK before SETTINGS", PREFACE + settings(flags=ACK), PROTOCOL),
    ("SETTINGS of half an entry", PREFACE + frame(4, 0, 0, bytes(3)), FRAME_SIZE),
]
