"""The HTTP headers of an event stream."""

from __future__ import annotations

import pytest

from roundel import accepts_stream, read_last_event_id, stream_headers
from roundel._headers import retry_after


@pytest.mark.parametrize("version", ["1.1", "2", "3"])
def test_stream_headers(version):
    """HTTP/1.1, 2 and 3 get the same headers, which forbid caching and buffering."""
    expected = [
        ("Content-Type", "text/event-stream; charset=utf-8"),
        ("Cache-Control", "no-store, no-transform"),
        ("X-Accel-Buffering", "no"),
    ]

    assert expected == stream_headers(version)


def test_stream_headers_of_http_1_0():
    """HTTP/1.0 gets `Connection: close`, since its body ends with the connection."""
    assert ("Connection", "close") in stream_headers("1.0")


@pytest.mark.parametrize(
    ("header", "query", "expected"),
    [
        (None, None, ""),
        ("", "", ""),
        ("a.1", None, "a.1"),
        (None, "b.2", "b.2"),
        ("", "b.2", "b.2"),
        ("a.1", "b.2", "a.1"),
        (b"a.1", None, "a.1"),
        ("é".encode(), None, "é"),
        ("é".encode().decode("latin-1"), None, "é"),
        (None, "é", "é"),
        (None, "é".encode(), "é"),
        (b"\xff", None, "�"),
        ("\u2028", None, "?"),
    ],
)
def test_read_last_event_id(header, query, expected):
    """The header precedes the query; both are decoded as UTF-8, without errors."""
    assert expected == read_last_event_id(header, query)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, True),
        ("", True),
        (" ", True),
        ("*/*", True),
        ("text/*", True),
        ("text/event-stream", True),
        ("Text/Event-Stream; q=0.1", True),
        ("text/html, */*;q=0.8", True),
        ("text/html", False),
        ("application/json, text/html", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream; q=0.000, */*", False),
        ("text/*;q=0, */*", False),
        ("*/*;q=0, text/event-stream", True),
        ("*/*;v=0", True),
        ("text/event-stream;q=0.001", True),
    ],
)
def test_accepts_stream(accept, expected):
    """The most specific range decides, and q=0 excludes (RFC 9110 12.5.1)."""
    assert expected == accepts_stream(accept)


SUNDAY = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], 0),
        ([("Retry-After", "120")], 120),
        ([("retry-after", " 7 ")], 7),
        ([("Retry-After", "0")], 0),
        ([("Retry-After", "9" * 5000)], float("9" * 16)),
        ([("Retry-After", "-5")], 0),
        ([("Retry-After", "1.5")], 0),
        ([("Retry-After", "\u0663")], 0),
        ([("Retry-After", "soon")], 0),
        ([("Date", SUNDAY), ("Retry-After", "Sun, 06 Nov 1994 08:50:07 GMT")], 30),
        ([("Date", SUNDAY), ("Retry-After", "Sunday, 06-Nov-94 08:50:07 GMT")], 30),
        ([("Date", "Sun, 06 Nov 2033 08:49:37 GMT"),
          ("Retry-After", "Sunday, 06-Nov-33 08:50:07 GMT")], 30),
        ([("Date", SUNDAY), ("Retry-After", "Sun Nov  6 08:50:07 1994")], 30),
        ([("Date", "Sun Nov 16 08:49:37 1994"),
          ("Retry-After", "Wed Nov 16 08:50:07 1994")], 30),
        ([("Date", SUNDAY), ("Retry-After", "Sun, 06 Nov 1994 08:40:00 GMT")], 0),
        ([("Date", SUNDAY), ("Retry-After", "Sun, 06 Now 1994 08:50:07 GMT")], 0),
        ([("Date", SUNDAY), ("Retry-After", "Sun, 31 Nov 1994 08:50:07 GMT")], 0),
        ([("Date", SUNDAY), ("Retry-After", "Sun, 06 Nov 1994 08:50:07")], 0),
        ([("Retry-After", SUNDAY)], 0),
        ([("Date", "soon"), ("Retry-After", SUNDAY)], 0),
    ],
)  # fmt: skip
def test_retry_after(headers, seconds):
    """RFC 9110 10.2.3: seconds, or a date that counts from the response's `Date`.

    A date has one of the three forms of RFC 9110 5.6.7.
    """
    assert seconds == retry_after(headers)
