"""`Parser`: a table of cases, and a literal transcription of the standard."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roundel import Event, LocalProtocolError, RemoteProtocolError, encode
from roundel._parser import MAX_RETRY, Parser
from support.whatwg import interpret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@attrs.frozen
class Outcome:
    """The result of parsing a stream."""

    events: list[tuple[str, str, str | None]]
    last_event_id: str
    retry: int | None
    failed: bool = False


def parse(
    chunks: Iterable[bytes], seed: str = "", max_event_size: int = 1 << 20
) -> Outcome:
    parser = Parser(seed, max_event_size=max_event_size)
    events: list[Event] = []
    failed = False
    try:
        for chunk in chunks:
            events += parser.receive_data(chunk)
        parser.receive_eof()
    except RemoteProtocolError:
        failed = True
    parsed = [(event.type, event.data, event.id) for event in events]
    return Outcome(parsed, parser.last_event_id, parser.retry, failed)


def literal(stream: bytes, seed: str = "") -> Outcome:
    source = interpret(stream, seed)
    parsed = [
        (event.type, event.data, event.last_event_id) for event in source.dispatched
    ]
    retry = source.reconnection_time
    return Outcome(
        parsed,
        source.last_event_id_string,
        None if retry is None else min(retry, MAX_RETRY),
    )


def byte_by_byte(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


def case(
    name: str,
    stream: bytes | str,
    *events: str | tuple[str, str] | tuple[str, str, str],
    last: str = "",
    retry: int | None = None,
    seed: str = "",
):
    """Make a row; an event is data, (type, data) or (type, data, id)."""
    full = [
        ("message", event, last)
        if isinstance(event, str)
        else (*event, last)
        if len(event) == 2
        else event
        for event in events
    ]
    if isinstance(stream, str):
        stream = stream.encode()
    return pytest.param(stream, seed, Outcome(full, last, retry), id=name)


CASES = [
    # Streams and their ends
    case("nothing", ""),
    case("one-blank-line", "\n"),
    case("many-blank-lines", "\n\n\r\r\r\n\r\n\n"),
    case("one-event", "data: a\n\n", "a"),
    case("two-events", "data: a\n\ndata: b\n\n", "a", "b"),
    case("blank-lines-around", "\n\ndata: a\n\n\n\ndata: b\n\n\n", "a", "b"),
    case("eof-in-a-name", "data: a\n\ndat", "a"),
    case("eof-in-a-value", "data: a\n\ndata: b", "a"),
    case("eof-before-the-blank-line", "data: a\n\ndata: b\n", "a"),
    case("eof-discards-the-id", "data: a\n\nid: 1\n", "a"),
    case("eof-discards-the-id-and-data", "id: 1\ndata: a\n"),
    case("eof-keeps-the-id-before", "id: 1\n\nid: 2\ndata: a\n", last="1"),
    case("eof-in-a-retry", "retry: 700"),
    case("eof-after-a-retry", "retry: 700\n", retry=700),
    case("eof-after-a-cr", "data: a\n\r", "a"),
    case("eof-in-a-character", b"data: a\n\ndata: \xc3", "a"),
    # Line ends
    case("ends-lf", "data: a\ndata: b\n\n", "a\nb"),
    case("ends-cr", "data: a\rdata: b\r\r", "a\nb"),
    case("ends-crlf", "data: a\r\ndata: b\r\n\r\n", "a\nb"),
    case("ends-lf-cr", "data: a\n\rdata: b\n\r", "a", "b"),
    case("ends-crlf-lf", "data: a\r\n\ndata: b\r\n\n", "a", "b"),
    case("ends-cr-crlf", "data: a\r\r\ndata: b\r\r\n", "a", "b"),
    case("ends-lf-crlf", "data: a\n\r\ndata: b\n\r\n", "a", "b"),
    case("ends-crlf-cr", "data: a\r\n\rdata: b\r\n\r", "a", "b"),
    case("ends-cr-cr-lf-is-one-blank-line", "data: a\r\r\ndata: b\n\n", "a", "b"),
    case("ends-all-mixed", "data: a\rdata: b\ndata: c\r\ndata: d\n\r\n", "a\nb\nc\nd"),
    case("ends-wpt-newlines", "data:test\r\ndata\ndata:test\r\n\r", "test\n\ntest"),
    case("ends-first-cr", "\rdata: a\n\n", "a"),
    case("ends-first-crlf", "\r\ndata: a\n\n", "a"),
    case("no-end-vt", "data: a\vb\n\n", "a\vb"),
    case("no-end-ff", "data: a\fb\n\n", "a\fb"),
    case("no-end-fs-gs-rs", "data: a\x1cb\x1dc\x1ed\n\n", "a\x1cb\x1dc\x1ed"),
    case("no-end-nel", "data: a\x85b\n\n", "a\x85b"),
    case("no-end-ls", "data: a\u2028b\n\n", "a\u2028b"),
    case("no-end-ps", "data: a\u2029b\n\n", "a\u2029b"),
    case("no-end-vt-alone-is-no-blank-line", "data: a\n\v\ndata: b\n\n", "a\nb"),
    case("no-end-space-alone-is-no-blank-line", "data: a\n \ndata: b\n\n", "a\nb"),
    # The byte order mark
    case("bom", "\ufeffdata: a\n\n", "a"),
    case("bom-alone", "\ufeff"),
    case("bom-and-a-blank-line", "\ufeff\ndata: a\n\n", "a"),
    case("bom-and-a-cr", "\ufeff\rdata: a\r\r", "a"),
    case("bom-and-a-comment", "\ufeff:c\ndata: a\n\n", "a"),
    case("bom-twice", "\ufeff\ufeffdata: a\n\n"),
    case("bom-twice-spoils-one-line", "\ufeff\ufeffdata: a\ndata: b\n\n", "b"),
    case("bom-on-the-second-line", "data: a\n\ufeffdata: b\n\n", "a"),
    case("bom-after-a-blank-line", "\n\ufeffdata: a\n\n"),
    case(
        "bom-on-the-second-event", "data: a\n\n\ufeffdata: b\n\ndata: c\n\n", "a", "c"
    ),
    case("bom-after-a-cut-crlf", "\r\n\ufeffdata: a\n\n"),
    case("bom-in-data", "data: \ufeffa\n\n", "\ufeffa"),
    case("bom-after-the-colon", "data:\ufeff a\n\n", "\ufeff a"),
    case("bom-of-utf-16", b"\xfe\xffdata: a\n\ndata: b\n\n", "b"),
    case("bom-cut-short", b"\xef\xbbdata: a\n\ndata: b\n\n", "b"),
    # UTF-8
    case("utf8-2-bytes", "data: é\n\n", "é"),
    case("utf8-3-bytes", "data: …ok…\n\n", "…ok…"),
    case("utf8-4-bytes", "data: 🥟\n\n", "🥟"),
    case("utf8-in-a-type", "event: é\ndata: a\n\n", ("é", "a")),
    case("utf8-in-an-id", "id: …\ndata: a\n\n", "a", last="…"),
    case("utf8-in-a-name", "é: a\ndata: b\n\n", "b"),
    case("utf8-largest", "data: \U0010ffff\n\n", "\U0010ffff"),
    case("bad-byte", b"data: a\xffb\n\n", "a\ufffdb"),
    case("bad-byte-in-a-name", b"data\xff: a\ndata: b\n\n", "b"),
    case("bad-byte-before-the-name", b"\xffdata: a\ndata: b\n\n", "b"),
    case("bad-latin-1", b"data: caf\xe9\n\n", "caf\ufffd"),
    case("bad-continuation-alone", b"data: \x80\xbf\n\n", "\ufffd\ufffd"),
    case("bad-cut-by-a-line-end", b"data: \xe2\x80\ndata: b\n\n", "\ufffd\nb"),
    case("bad-cut-by-a-cr", b"data: \xf0\x9f\xa5\r\r", "\ufffd"),
    case("bad-cut-by-a-letter", b"data: \xf0\x9fa\n\n", "\ufffda"),
    case("bad-overlong-slash", b"data: \xc0\xaf\n\n", "\ufffd\ufffd"),
    case("bad-overlong-line-end", b"data: \xc0\x8a\n\n", "\ufffd\ufffd"),
    case("bad-overlong-3-bytes", b"data: \xe0\x80\xaf\n\n", "\ufffd" * 3),
    case("bad-surrogate", b"data: \xed\xa0\x80\n\n", "\ufffd" * 3),
    case("bad-above-unicode", b"data: \xf4\x90\x80\x80\n\n", "\ufffd" * 4),
    case("bad-f5", b"data: \xf5\x80\n\n", "\ufffd\ufffd"),
    case("bad-then-good", b"data: \xc3\xc3\xa9\n\n", "\ufffdé"),
    case("bad-in-an-id", b"id: \xff\ndata: a\n\n", "a", last="\ufffd"),
    # Comments
    case("comment", ": c\ndata: a\n\n", "a"),
    case("comment-empty", ":\ndata: a\n\n", "a"),
    case("comment-heartbeat", ":\n\n:\n\ndata: a\n\n:\n\n", "a"),
    case("comment-in-an-event", "data: a\n:c\ndata: b\n\n", "a\nb"),
    case("comment-like-a-field", ":data: a\ndata: b\n\n", "b"),
    case("comment-two-colons", "::\ndata: a\n\n", "a"),
    case("comment-with-nul", ":\0\ndata: a\n\n", "a"),
    case("comment-of-2-kib", ":" + "x" * 2048 + "\ndata: a\n\n", "a"),
    case("comment-wpt", "data:1\r:\0\n:\r\ndata:2\n:" + "x" * 99 + "\r\n\n", "1\n2"),
    case("comment-not-behind-a-space", " : c\ndata: a\n\n", "a"),
    case("comment-after-an-id-is-no-event", "id: 1\n\n:\n\n:\n\n", last="1"),
    # Fields in general
    case("field-no-space", "data:a\n\n", "a"),
    case("field-one-space", "data: a\n\n", "a"),
    case("field-two-spaces", "data:  a\n\n", " a"),
    case("field-tab", "data:\ta\n\n", "\ta"),
    case("field-space-tab", "data: \ta\n\n", "\ta"),
    case("field-nbsp", "data:\xa0a\n\n", "\xa0a"),
    case("field-trailing-space", "data: a \n\n", "a "),
    case("field-only-spaces", "data:   \n\n", "  "),
    case("field-colons-in-value", "data: a:b: c\n\n", "a:b: c"),
    case("field-value-is-a-colon", "data::\n\n", ":"),
    case("field-value-is-a-field", "data: data: a\n\n", "data: a"),
    case("field-unknown", "foo: a\ndata: b\n\n", "b"),
    case("field-unknown-only", "foo: a\n\n"),
    case("field-unknown-without-colon", "foo\ndata: a\n\n", "a"),
    case("field-upper-case", "DATA: a\nData: b\nID: 1\ndata: c\n\n", "c"),
    case("field-space-before", " data: a\ndata: b\n\n", "b"),
    case("field-space-behind", "data : a\ndata: b\n\n", "b"),
    case("field-tab-before", "\tdata: a\ndata: b\n\n", "b"),
    case("field-prefix", "d\nda: a\ndat: a\ndata: b\n\n", "b"),
    case("field-longer", "data2: a\ndatadata: a\nid2: a\neventx: a\ndata: b\n\n", "b"),
    case("field-unknown-space-value", "data: a\n data\ndata\nfoo: bar\n\n", "a\n"),
    case("field-nul-before", "\0data: a\ndata: b\n\n", "b"),
    case("field-nul-behind", "data\0: a\ndata: b\n\n", "b"),
    case(
        "field-wpt-parsing",
        "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\n"
        "data:3\rdata:\r\n data:32\ndata:4\n\n",
        "\0\n 2\n1\n3\n\n4",
    ),
    # data
    case("data-empty", "data:\n\n", ""),
    case("data-empty-with-space", "data: \n\n", ""),
    case("data-without-colon", "data\n\n", ""),
    case("data-two-empty", "data\ndata\n\n", "\n"),
    case("data-three-empty", "data:\ndata: \ndata\n\n", "\n\n"),
    case("data-empty-first", "data:\ndata: a\n\n", "\na"),
    case("data-empty-last", "data: a\ndata:\n\n", "a\n"),
    case("data-standard-1", "data: YHOO\ndata: +2\ndata: 10\n\n", "YHOO\n+2\n10"),
    case("data-standard-3", "data\n\ndata\ndata\n\ndata:", "", "\n"),
    case("data-standard-4", "data:test\n\ndata: test\n\n", "test", "test"),
    case("data-nul", "data: \0a\0\n\n", "\0a\0"),
    case(
        "data-around-other-fields", "data: a\nid: 1\nfoo\ndata: b\n\n", "a\nb", last="1"
    ),
    case("data-quote", 'data: {"a": [1, 2]}\n\n', '{"a": [1, 2]}'),
    case("data-10-kib", "data: " + "x" * 10240 + "\n\n", "x" * 10240, seed=""),
    # event
    case("event", "event: a\ndata: b\n\n", ("a", "b")),
    case("event-behind", "data: b\nevent: a\n\n", ("a", "b")),
    case("event-last-wins", "event: a\nevent: b\ndata: c\n\n", ("b", "c")),
    case("event-empty", "event:\ndata: a\n\n", "a"),
    case("event-empty-with-space", "event: \ndata: a\n\n", "a"),
    case("event-two-spaces", "event:  \ndata: a\n\n", (" ", "a")),
    case("event-without-colon-resets", "event: a\nevent\ndata: b\n\n", "b"),
    case("event-empty-resets", "event: a\nevent:\ndata: b\n\n", "b"),
    case("event-does-not-persist", "event: a\ndata: b\n\ndata: c\n\n", ("a", "b"), "c"),
    case("event-without-data", "event: a\n\n"),
    case("event-without-data-is-forgotten", "event: a\n\ndata: b\n\n", "b"),
    case("event-message", "event: message\ndata: a\n\n", "a"),
    case("event-nul", "event: a\0\ndata: b\n\n", ("a\0", "b")),
    case("event-open-and-error", "event: error\ndata: b\n\n", ("error", "b")),
    # id
    case("id", "id: 1\ndata: a\n\n", "a", last="1"),
    case("id-behind", "data: a\nid: 1\n\n", "a", last="1"),
    case("id-last-wins", "id: 1\nid: 2\ndata: a\n\n", "a", last="2"),
    case("id-persists", "id: 1\ndata: a\n\ndata: b\n\n", "a", "b", last="1"),
    case(
        "id-changes",
        "id: 1\ndata: a\n\nid: 2\ndata: b\n\n",
        ("message", "a", "1"),
        ("message", "b", "2"),
        last="2",
    ),
    case(
        "id-empty-resets",
        "id: 1\ndata: a\n\nid:\ndata: b\n\ndata: c\n\n",
        ("message", "a", "1"),
        "b",
        "c",
    ),
    case(
        "id-without-colon-resets",
        "id: 1\ndata: a\n\nid\ndata: b\n\n",
        ("message", "a", "1"),
        "b",
    ),
    case("id-without-data", "id: 1\n\n", last="1"),
    case("id-without-data-then-event", "id: 1\n\ndata: a\n\n", "a", last="1"),
    case("id-with-type-only", "id: 1\nevent: a\n\ndata: b\n\n", "b", last="1"),
    case("id-unfinished-is-not-reported", "data: a\n\nid: 1\ndata: b\n", "a"),
    case("id-nul-first", "id: 1\nid: \0x\ndata: a\n\n", "a", last="1"),
    case("id-nul-last", "id: 1\nid: x\0\ndata: a\n\n", "a", last="1"),
    case("id-nul-within", "id: 1\nid: x\0y\ndata: a\n\n", "a", last="1"),
    case("id-nul-alone", "id: 1\nid: \0\ndata: a\n\n", "a", last="1"),
    case("id-nul-without-space", "id:\0\ndata: a\n\n", "a"),
    case("id-nul-keeps-the-one-before", "id: 1\n\nid: \0\ndata: a\n\n", "a", last="1"),
    case("id-two-spaces", "id:  1 \ndata: a\n\n", "a", last=" 1 "),
    case("id-control-characters", "id: \x01\x7f\ndata: a\n\n", "a", last="\x01\x7f"),
    case("id-seeded", "data: a\n\n", "a", last="7", seed="7"),
    case("id-seeded-and-nothing", "", last="7", seed="7"),
    case("id-seeded-blank-line", "\n", last="7", seed="7"),
    case("id-seeded-replaced", "id: 8\ndata: a\n\n", "a", last="8", seed="7"),
    case("id-seeded-reset", "id\ndata: a\n\n", "a", last="", seed="7"),
    case("id-seeded-nul", "id: \0\ndata: a\n\n", "a", last="7", seed="7"),
    case("id-seeded-eof", "id: 8\ndata: a\n", last="7", seed="7"),
    # retry
    case("retry", "retry: 3000\n\n", retry=3000),
    case("retry-without-blank-line", "retry: 3000\n", retry=3000),
    case("retry-without-space", "retry:3000\n", retry=3000),
    case("retry-zero", "retry: 0\n", retry=0),
    case("retry-zeros", "retry: 000\n", retry=0),
    case("retry-leading-zeros", "retry: 03000\n", retry=3000),
    case("retry-last-wins", "retry: 1\nretry: 2\n\n", retry=2),
    case("retry-bogus-keeps-the-one-before", "retry: 3000\nretry: 1000x\n", retry=3000),
    case("retry-empty", "retry:\nretry: \nretry\ndata: a\n\n", "a"),
    case("retry-plus", "retry: +5\n"),
    case("retry-minus", "retry: -5\n"),
    case("retry-underscore", "retry: 1_000\n"),
    case("retry-fraction", "retry: 1.5\n"),
    case("retry-exponent", "retry: 1e3\n"),
    case("retry-hex", "retry: 0x10\n"),
    case("retry-two-spaces", "retry:  5\n"),
    case("retry-trailing-space", "retry: 5 \n"),
    case("retry-trailing-tab", "retry: 5\t\n"),
    case("retry-nul", "retry: 5\0\n"),
    case("retry-arabic-digits", "retry: \u0663\n"),
    case("retry-fullwidth-digits", "retry: \uff13\n"),
    case("retry-superscript", "retry: \u00b2\n"),
    case("retry-largest", f"retry: {MAX_RETRY}\n", retry=MAX_RETRY),
    case("retry-one-more", f"retry: {MAX_RETRY + 1}\n", retry=MAX_RETRY),
    case("retry-20-digits", "retry: " + "9" * 20 + "\n", retry=MAX_RETRY),
    case("retry-400-digits", "retry: 1" + "0" * 400 + "\n", retry=MAX_RETRY),
    case("retry-400-zeros", "retry: " + "0" * 400 + "42\n", retry=42),
    case("retry-in-an-event", "data: a\nretry: 5\n\n", "a", retry=5),
    case("retry-does-not-dispatch", "retry: 5\n\nretry: 6\n\n", retry=6),
    # All fields together
    case(
        "standard-2",
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
        "data:  third event\n\n",
        ("message", "first event", "1"),
        "second event",
        " third event",
    ),
    case(
        "everything-crlf",
        "\ufeff:hi\r\nretry: 10\r\nid: e-1\r\nevent: badge\r\ndata: 1\r\ndata: 2\r\n"
        "\r\n:\r\nid: e-2\r\n\r\ndata: 3\r\n\r\n",
        ("badge", "1\n2", "e-1"),
        "3",
        last="e-2",
        retry=10,
    ),
]

table = pytest.mark.parametrize(("stream", "seed", "expected"), CASES)


@table
def test_one_chunk(stream, seed, expected):
    """A stream in one chunk is parsed as the standard defines."""
    actual = parse([stream], seed)

    assert expected == actual


@table
def test_byte_by_byte(stream, seed, expected):
    """A stream in chunks of one byte gives the same result."""
    actual = parse(byte_by_byte(stream), seed)

    assert expected == actual


@table
def test_two_chunks(stream, seed, expected):
    """A stream in two chunks gives the same result, wherever it is cut."""
    step = 1 + len(stream) // 500
    cuts = range(0, len(stream) + 1, step)
    actual = [parse([stream[:cut], stream[cut:]], seed) for cut in cuts]

    assert [expected] * len(cuts) == actual


@table
def test_trailing_garbage(stream, seed, expected):
    """An unfinished block at the end changes nothing."""
    block = b"data: garbage\nid: garbage\nevent: garbage\nda"
    garbage = block if stream[-1:] in (b"", b"\n", b"\r") else b"garbage"
    actual = parse([stream + garbage], seed)

    assert expected == actual


@table
def test_transcription(stream, seed, expected):
    """The transcription, which later tests trust, agrees with the table."""
    actual = literal(stream, seed)

    assert expected == actual


# Parts of valid and invalid streams.
PARTS = [
    *(b"data", b"data:", b"data: ", b"event: ", b"event", b"id: ", b"id", b"retry: "),
    *(b":", b" ", b"a", b"7", b"\0", b"dat", b"datax", b"99999999999999999999"),
    *(b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n", b"\xef\xbb\xbf", b"\xe2\x80\xa8"),
    *(b"\xc3\xa9", b"\xc3", b"\xf0\x9f\xa5\x9f", b"\xf0\x9f", b"\xed\xa0", b"\xff"),
]
streams = st.lists(st.sampled_from(PARTS) | st.binary(max_size=3), max_size=30).map(
    b"".join
)
seeds = st.sampled_from(["", "seed"])


@st.composite
def chunked(draw) -> list[bytes]:
    stream = draw(streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    ends = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    return [stream[start:end] for start, end in ends]


def check_against_the_transcription(chunks: list[bytes], seed: str) -> None:
    """Compare after each chunk, since its last byte must complete an event."""
    parser = Parser(seed)
    parsed: list[tuple[str, str, str | None]] = []
    so_far = b""
    for chunk in chunks:
        so_far += chunk
        parsed += [(e.type, e.data, e.id) for e in parser.receive_data(chunk)]
        actual = Outcome(parsed, parser.last_event_id, parser.retry)

        assert literal(so_far, seed) == actual


def check_chunking(chunks: list[bytes], max_event_size: int) -> None:
    stream = b"".join(chunks)
    whole = parse([stream], max_event_size=max_event_size)

    assert whole == parse(chunks, max_event_size=max_event_size)
    assert whole == parse(byte_by_byte(stream), max_event_size=max_event_size)


@given(chunked(), seeds)
@settings(max_examples=200, deadline=None)
def test_agrees_with_the_transcription(chunks, seed):
    """After each chunk of any bytes the parser agrees with the transcription."""
    check_against_the_transcription(chunks, seed)


@given(chunked(), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_chunks_do_not_matter(chunks, max_event_size):
    """The chunks do not change the result, nor which event exceeds the budget."""
    check_chunking(chunks, max_event_size)


@pytest.mark.nightly
@given(chunked(), seeds)
@settings(max_examples=10_000, deadline=None)
def test_agrees_with_the_transcription_nightly(chunks, seed):
    """The same property with more examples."""
    check_against_the_transcription(chunks, seed)


@pytest.mark.nightly
@given(chunked(), st.integers(0, 60))
@settings(max_examples=10_000, deadline=None)
def test_chunks_do_not_matter_nightly(chunks, max_event_size):
    """The same property with more examples."""
    check_chunking(chunks, max_event_size)


def text(without: str = "") -> st.SearchStrategy[str]:
    characters = st.characters(exclude_categories=["Cs"], exclude_characters=without)
    return st.text(
        characters
        | st.sampled_from(": \n\r\ufeff\0").filter(
            lambda character: character not in without
        )
    )


@given(
    st.lists(
        st.builds(Event, data=text(), type=text("\r\n"), id=st.none() | text("\r\n\0"))
    ),
    st.integers(1, 40),
)
@settings(deadline=None)
def test_round_trip(events, size):
    """An encoded event is parsed as the same event, with LF as line ends."""
    stream = b"".join(encode(event, any_id=True) for event in events)
    expected = []
    last = ""
    for event in events:
        last = last if event.id is None else event.id
        data = event.data.replace("\r\n", "\n").replace("\r", "\n")
        expected.append(Event(data, event.type or "message", last))
    parser = Parser()
    actual = [
        event
        for start in range(0, len(stream), size)
        for event in parser.receive_data(stream[start : start + size])
    ]

    assert expected == actual


def test_events_are_values():
    """A parsed event is equal to a constructed one."""
    [event] = Parser().receive_data(b"id: 1\nevent: a\ndata: b\n\n")

    assert Event("b", "a", "1") == event
    assert hash(Event("b", "a", "1")) == hash(event)
    assert ("b", "a", "1") == attrs.astuple(event)


def test_cr_completes_an_event():
    """A CR completes an event at once; a following LF is no blank line."""
    parser = Parser()

    assert [Event("a", id="")] == parser.receive_data(b"data: a\r\r")
    assert [] == parser.receive_data(b"\ndata: b\r")
    assert [] == parser.receive_data(b"\n")
    assert [Event("b", id="")] == parser.receive_data(b"\r")


def test_retry_takes_effect_at_once():
    """A retry line takes effect without a blank line."""
    parser = Parser()
    parser.receive_data(b"data: a\nretry: 5\n")

    assert parser.retry == 5


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_bytes_like(make):
    """The parser accepts bytes, bytearray and memoryview."""
    parser = Parser()
    halves = [make(b"data: \xc3"), make(b"\xa9\n\n")]
    actual = [event for half in halves for event in parser.receive_data(half)]

    assert [Event("é", id="")] == actual


def test_parsers_share_no_state():
    """Two parsers share no state."""
    one, two = Parser("1"), Parser("2")

    assert [] == one.receive_data(b"data: \xc3")
    assert [] == two.receive_data(b"event: t\rdata: b\r")
    assert [Event("é", "message", "1")] == one.receive_data(b"\xa9\n\n")
    assert [Event("b", "t", "2")] == two.receive_data(b"\n\n")


def test_eof():
    """Data after `receive_eof()` raises; a second `receive_eof()` does not."""
    parser = Parser()
    parser.receive_data(b"data: a\nid: 1\n")
    parser.receive_eof()
    parser.receive_eof()

    assert parser.last_event_id == ""
    with pytest.raises(LocalProtocolError, match="not possible after receive_eof"):
        parser.receive_data(b"\n")


# Comments


def test_comments_are_dropped():
    """Comments are dropped by default."""
    parser = Parser()
    parser.receive_data(b": a\n\n")

    assert [] == parser.comments


def test_comments():
    """`comments` has the comments of the latest call, without the first space."""
    parser = Parser(comments=True)

    assert [Event("x", id="")] == parser.receive_data(b": a\n:b\ndata: x\n\n:  c")
    assert ["a", "b"] == parser.comments
    assert [] == parser.receive_data(b"d")
    assert [] == parser.comments
    assert [] == parser.receive_data(b"\n:\nignored\n")
    assert [" cd", ""] == parser.comments


def test_comments_count_for_the_budget():
    """Kept comments count for *max_event_size*."""
    parser = Parser(comments=True, max_event_size=10)
    parser.receive_data(b":123456789\n")

    assert ["123456789"] == parser.comments
    with pytest.raises(RemoteProtocolError, match="max_event_size=10 bytes"):
        parser.receive_data(b":1234567890")


# The budget

FITS = [
    pytest.param(b"data: 123456\n\n", 12, id="line"),
    pytest.param(b"data: " + b"x" * 40 + b"\n\n", 46, id="long-line"),
    pytest.param("data: éé\n\n".encode(), 10, id="counts-bytes"),
    pytest.param(b"data: \xff\n\n", 9, id="counts-the-replacement"),
    pytest.param(b"data\n\n", 4, id="naked-name"),
    pytest.param(b"data: 1\ndata: 2\n\n", 9, id="data-buffer-and-line"),
    pytest.param(b"event: t\ndata: 1\n\n", 8, id="type-line"),
    pytest.param(b"event: tt\ndata: 12\n\n", 10, id="type-and-line"),
    pytest.param(b"id: 123\ndata: 1\n\n", 10, id="id-and-line"),
    pytest.param(b"id: 123\n\ndata: 1\n\n", 10, id="id-of-the-event-before"),
    pytest.param(b"data: 1\nid: 123\n\n", 9, id="data-and-id-line"),
    pytest.param(b"retry: 0001\ndata: 1\n\n", 11, id="retry-line"),
    pytest.param(b"data: 1\n\n" * 9, 7, id="forgotten-after-each-event"),
    pytest.param(b"event: t\n\ndata: 1\n\n", 8, id="type-forgotten"),
    pytest.param(b"data\nfoo: " + b"x" * 99 + b"\n\n", 4, id="unknown-is-free"),
    pytest.param(b"data\n:" + b"x" * 99 + b"\n\n", 4, id="comment-is-free"),
    pytest.param(b"data\ndatax: " + b"x" * 99 + b"\n\n", 4, id="long-name-is-free"),
]


def all_chunkings(stream: bytes) -> Iterator[list[bytes]]:
    yield [stream]
    yield byte_by_byte(stream)
    yield from ([stream[:cut], stream[cut:]] for cut in range(len(stream)))


@pytest.mark.parametrize(("stream", "size"), FITS)
def test_budget_suffices(stream, size):
    """A budget of exactly the needed size gives the same result for any chunks."""
    expected = literal(stream)

    for chunks in all_chunkings(stream):
        assert expected == parse(chunks, max_event_size=size)


@pytest.mark.parametrize(("stream", "size"), FITS)
def test_budget_is_exceeded(stream, size):
    """With one byte less the parser raises, and returns no partial event."""
    expected = literal(stream)

    for chunks in all_chunkings(stream):
        actual = parse(chunks, max_event_size=size - 1)
        assert actual.failed
        assert expected.events[: len(actual.events)] == actual.events


def test_events_before_an_oversized_one():
    """Events before an oversized one are returned; the next call raises."""
    parser = Parser(max_event_size=20)
    events = parser.receive_data(b"id: 1\ndata: a\n\nid: 2\ndata: " + b"x" * 20)

    assert [Event("a", "message", "1")] == events
    assert parser.last_event_id == "1"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="max_event_size=20 bytes"):
            parser.receive_data(b"\n\ndata: b\n\n")
    with pytest.raises(RemoteProtocolError, match="max_event_size=20 bytes"):
        parser.receive_eof()
    assert parser.last_event_id == "1"


def test_oversized_event_alone():
    """A chunk with only an oversized event raises at once and keeps the id."""
    parser = Parser("0", max_event_size=20)

    with pytest.raises(RemoteProtocolError, match="got a longer one"):
        parser.receive_data(b"id: 1\ndata: " + b"x" * 20 + b"\n\n")
    assert parser.last_event_id == "0"


def test_seed_over_the_bound():
    """A *last_event_id* over the bound raises `LocalProtocolError`."""
    with pytest.raises(LocalProtocolError, match="at most 3 bytes, got 4"):
        Parser("éé", max_event_size=3)


def test_seed_may_be_any_text():
    """A *last_event_id* may contain a lone surrogate."""
    parser = Parser("\ud800", max_event_size=8)

    assert [Event("", "message", "\ud800")] == parser.receive_data(b"data:\n\n")


# Memory and complexity


def memory_of(action: Callable[[], object]) -> int:
    """Return the peak memory of *action* in bytes."""
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    action()
    _, peak = tracemalloc.get_traced_memory()
    if not tracing:
        tracemalloc.stop()
    return peak - before


@pytest.mark.parametrize("start", [b":", b"foo: ", b"foo", b"datax:", b"data :", b"\0"])
def test_ignored_line_needs_no_memory(start):
    """An ignored line of 64 MiB takes the memory of a few chunks."""
    parser = Parser(max_event_size=100)
    chunk = b"x" * (1 << 16)

    def stream() -> None:
        parser.receive_data(start)
        for _ in range(1024):
            parser.receive_data(chunk)

    assert memory_of(stream) < 4 * len(chunk)
    assert [Event("a", id="")] == parser.receive_data(b"\ndata: a\n\n")


def test_small_chunks_are_buffered_compactly():
    """Buffered text takes its bytes, not an object per chunk."""
    parser = Parser()

    def stream() -> None:
        parser.receive_data(b"data: ")
        for _ in range(20_000):
            parser.receive_data("…".encode())

    assert memory_of(stream) < 4 * 60_000


def drip(size: int) -> list[bytes]:
    line = b"data: " + b"x" * size + b"\n\n"
    return [line[start : start + 64] for start in range(0, len(line), 64)]


def lines_dripped(size: int) -> list[bytes]:
    return [b"data: " + b"x" * 72 + b"\n"] * (size // 80) + [b"\n"]


def small_budget(size: int) -> list[bytes]:
    return [b"data: 1\n" * 10 + b"\n"] * (size // 80)


LINEAR = [
    pytest.param(drip, 1 << 20, id="one-line-in-64-byte-chunks"),
    pytest.param(lines_dripped, 1 << 20, id="one-event-of-many-lines"),
    pytest.param(lambda size: [b"".join(lines_dripped(size))], 1 << 20, id="in-one-go"),
    pytest.param(small_budget, 50, id="measured-line-by-line"),
    pytest.param(lambda size: [b":\n"] * (size // 64), 50, id="comments"),
    pytest.param(lambda size: [b":", *drip(size)], 50, id="ignored-line"),
    pytest.param(lambda size: [b"retry: " + b"9" * size + b"\n"], 1 << 20, id="retry"),
]


def work_of(chunks: list[bytes], max_event_size: int) -> tuple[int, int]:
    """Count the function calls, C included, and the bytes allocated, chunk by chunk.

    Copying the buffer for each chunk would allocate it each time, and iterating over it
    would call a function each time: either is quadratic.
    """
    parser = Parser(max_event_size=max_event_size)
    calls = 0

    def count(frame: object, kind: str, argument: object) -> None:
        nonlocal calls
        calls += kind in ("call", "c_call")

    allocated = 0
    for chunk in chunks:
        sys.setprofile(count)
        try:
            parser.receive_data(chunk)
        finally:
            sys.setprofile(None)
    parser = Parser(max_event_size=max_event_size)
    gc.collect()
    tracemalloc.start()
    for chunk in chunks:
        allocated += memory_of(lambda chunk=chunk: parser.receive_data(chunk))
    tracemalloc.stop()
    return calls, allocated


@pytest.mark.parametrize(("make", "max_event_size"), LINEAR)
def test_work_is_linear(make, max_event_size):
    """Twice the data makes twice the calls and allocations."""
    calls, allocated = work_of(make(1 << 15), max_event_size)
    calls_twice, allocated_twice = work_of(make(1 << 16), max_event_size)

    assert calls_twice < 2.2 * calls + 100
    assert allocated_twice < 2.6 * allocated + 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param(drip(10 << 20), 10 << 20, id="one-10-MiB-line-in-64-byte-chunks"),
        pytest.param(lines_dripped(130_000 * 80), 130_000 * 73 - 1, id="130000-lines"),
        pytest.param([b": c\n"] * 130_000 + [b"data\n\n"], 0, id="130000-comments"),
    ],
)
def test_large(chunks, expected):
    """Large events are parsed in linear time."""
    parser = Parser(max_event_size=1 << 24)
    [event] = [event for chunk in chunks for event in parser.receive_data(chunk)]

    assert expected == len(event.data)
