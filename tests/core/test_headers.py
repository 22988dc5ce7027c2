"""The head to answer with, and the id to read: nothing is left to an adapter."""

from __future__ import annotations

import pytest

from roundel import accepts_stream, read_last_event_id, stream_headers


@pytest.mark.parametrize("version", ["1.1", "2", "3"])
def test_head_forbids_storing_changing_and_buffering(version):
    """The same head serves every version of HTTP that keeps connections."""
    expected = [
        ("Content-Type", "text/event-stream; charset=utf-8"),
        ("Cache-Control", "no-store, no-transform"),
        ("X-Accel-Buffering", "no"),
    ]

    assert expected == stream_headers(version)


def test_connection_is_named_only_where_it_has_to_be():
    """HTTP/1.0 is told that the end of the connection is the end of the body."""
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
def test_id_is_read_from_wherever_the_peer_could_put_it(header, query, expected):
    """The header wins, bytes and latin-1 text are UTF-8, and nothing raises."""
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
def test_accept_is_judged_by_its_most_specific_range(accept, expected):
    """RFC 9110 12.5.1: the closest range decides, and q=0 is a no."""
    assert expected == accepts_stream(accept)
