"""Heads of HTTP/2 in pieces of any size: the HPACK tables of both sides stay equal."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from roundel_adapters.server.asgi.http2_frames import Http2Error
from roundel_adapters.server.asgi.http2_head import HeadDecoder
from support.http2_wire import block, integer

LIMIT = 4_096

NAMES = [b":path", b"a", b"x-long-name", b"n" * 300, b"n" * 17_000]
VALUES = [b"", b"/", b"1", b"v" * 100, b"w" * 3_000, b"W" * 17_000]

fields = st.tuples(st.integers(0, len(NAMES) - 1), st.integers(0, len(VALUES) - 1))
"""Fields by their indexes, since Hypothesis prints them."""


def decode(decoder, encoded, size):
    """Pass a head in pieces; return its fields, or `None` if it is too large."""
    decoder.start()
    for start in range(0, len(encoded), size):
        decoder.feed(encoded[start : start + size])
        while decoder.step():
            assert decoder.decoded_size < 40_000
    fields = decoder.finish()
    return None if decoder.is_too_large else fields


def expected(fields):
    size = sum(len(name) + len(value) + 32 for name, value in fields)
    return fields if size <= LIMIT else None


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(fields, max_size=4), max_size=4),
    st.integers(1, 70_000),
    st.booleans(),
)
def test_heads_are_decoded_whatever_their_size(heads, size, huffman):
    """A head below the limit is decoded, also behind larger ones, in any pieces."""
    encoder, decoder = Encoder(), HeadDecoder(LIMIT)
    # The encoded heads may be larger than 16 limits.
    decoder._max_encoded = 1 << 20
    for head in heads:
        fields = [(NAMES[name], VALUES[value]) for name, value in head]
        encoded = encoder.encode(fields, huffman=huffman)
        pieces = max(size, len(encoded) // 200)

        assert expected(fields) == decode(decoder, encoded, pieces)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 100])
def test_fields_of_several_steps(count):
    """The fields of all steps are returned in their order."""
    fields = [(b"n%d" % number, b"") for number in range(count)]

    assert decode(HeadDecoder(16_384), block(fields), 1) == fields


def test_table_of_the_client_may_shrink():
    """RFC 7541 4.2: the size of the table may change at the start of a head."""
    encoder, decoder = Encoder(), HeadDecoder(LIMIT)
    for size in (4_096, 0, 100, 4_096):
        encoder.header_table_size = size
        for _ in range(2):
            fields = [(b"a", b"b" * 50), (b"c", b"d")]

            assert decode(decoder, encoder.encode(fields), 3) == fields


@pytest.mark.parametrize(
    ("encoded", "code"),
    [
        (b"\x80", ErrorCodes.COMPRESSION_ERROR),
        (b"\0\1x", ErrorCodes.COMPRESSION_ERROR),
        (b"\0\1x" + integer(30_000, 7) + b"y" * 100, ErrorCodes.COMPRESSION_ERROR),
        (b"\x82\x20", ErrorCodes.COMPRESSION_ERROR),
        (b"\x3f\xe2\x1f", ErrorCodes.COMPRESSION_ERROR),
        (b"\xff\x80\x80\x80\x80\x80", ErrorCodes.COMPRESSION_ERROR),
        (b"\x82" * (16 * LIMIT + 1), ErrorCodes.ENHANCE_YOUR_CALM),
    ],
)
@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_invalid_heads(encoded, code, size):
    """A head that cannot be decoded is a connection error with the right code."""
    with pytest.raises(Http2Error) as error:
        decode(HeadDecoder(LIMIT), encoded, size)

    assert error.value.error_code is code
