"""The bytes of a response head and of a chunk."""

from __future__ import annotations

import re

import pytest

from roundel_adapters.server.fastpath.response_encoder import (
    CHUNKED,
    content_length,
    encode_head,
)
from support.fastpath_app import FakeResponse, without_date


def test_head_has_status_fields_and_framing():
    """The application's fields come first, then those of the connection."""
    head = encode_head(FakeResponse(headers={"X": "é"}), CHUNKED, keep_alive=False)

    assert without_date(head) == (
        b"HTTP/1.1 200 OK\r\nX: \xe9\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n"
    )


def test_persistent_connection_needs_no_field():
    """RFC 9112 9.3: HTTP/1.1 connections are persistent by default."""
    head = encode_head(FakeResponse(), content_length(200, b"body"), keep_alive=True)

    assert b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" == without_date(head)


def test_every_head_has_a_date():
    """RFC 9110 6.6.1: an origin server with a clock sends its time."""
    head = encode_head(FakeResponse(), "", keep_alive=True)

    assert re.search(rb"\r\nDate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n", head)


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_a_body_has_no_length(status):
    """RFC 9110 8.6: a length would be that of another response."""
    assert "" == content_length(status, b"")


def test_unknown_status_has_no_reason():
    """RFC 9112 4: the reason phrase may be empty, but not the space before it."""
    assert encode_head(FakeResponse(status=299), "", keep_alive=True).startswith(
        b"HTTP/1.1 299 \r\n"
    )
