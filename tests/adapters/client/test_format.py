"""Each rule of the format, by each client: whole, by bytes, and in chunks.

The cases are those of two public suites, Web Platform Tests (eventsource) and
LaunchDarkly's SSE contract tests, in our own words.
"""

from __future__ import annotations

import httpx2
import pytest

from roundel_adapters.client import StreamEnded
from support.scripted_http import stream
from support.stream_readers import WAYS, play

BOM = "\ufeff"


def case(name, text, *expected):
    """Make a case of events: data, or a tuple of type, data and id."""
    events = [e if isinstance(e, tuple) else ("message", e, "") for e in expected]
    return pytest.param(text, events, id=name)


def lines(end):
    """Return the cases of a line end."""
    name = {"\n": "LF", "\r": "CR", "\r\n": "CRLF"}[end]
    return [
        case(f"{name} {title}", text.replace("/", end), *expected)
        for title, text, *expected in [
            ("one line", "data: 1//", "1"),
            ("two events", "data: 1//data: 2a/data: 2b//", "1", "2a\n2b"),
            ("first line empty", "data:/data: 2/data: 3//", "\n2\n3"),
            ("middle line empty", "data: 1/data:/data: 3//", "1\n\n3"),
            ("one more blank line", "data: 1///data: 2//", "1", "2"),
            ("two more blank lines", "data: 1////data: 2//", "1", "2"),
        ]
    ]


CASES = [
    *lines("\n"),
    *lines("\r"),
    *lines("\r\n"),
    case("mixed line ends", "data: 1\r\ndata: 2\rdata: 3\n\r\n", "1\n2\n3"),
    case("data", "data: Hello\n\n", "Hello"),
    case("many", "".join(f"data: {n}\n\n" for n in range(100)), *map(str, range(100))),
    case("empty data", "data:\n\n", ""),
    case("no colon", "data\n\ndata\ndata\n\n", "", "\n"),
    case("before the final blank line", "data: 1\n\ndata: 2\n", "1"),
    case("no space", "event:greeting\ndata:Hello\n\n", ("greeting", "Hello", "")),
    case("one space is dropped", "event:  a\ndata:  b\n\n", (" a", " b", "")),
    case("a tab is kept", "data:\ta\ndata: b\n\n", "\ta\nb"),
    case("a space before the colon", "data : a\ndata: b\n\n", "b"),
    case("an unknown field", "color: blue\ndata: a\n\n", "a"),
    case("fields have lower case", "Data: a\nDATA: b\ndata: c\n\n", "c"),
    case("a leading space", " data: a\ndata: b\n\n", "b"),
    case("type", "event: test\ndata: a\n\ndata: b\n\n", ("test", "a", ""), "b"),
    case("empty type", "event: \ndata: a\n\n", "a"),
    case("type without data", "event: test\n\ndata: a\n\n", "a"),
    case("the last type counts", "event: a\nevent: b\ndata: c\n\n", ("b", "c", "")),
    case("any order", "data: a\nid: 1\nevent: b\n\n", ("b", "a", "1")),
    case(
        "id is inherited", "id: 1\ndata: a\n\ndata: b\n\n",
        ("message", "a", "1"), ("message", "b", "1"),
    ),
    case("id is cleared", "id: 1\ndata: a\n\nid\ndata\n\n", ("message", "a", "1"), ""),
    case("id with a NUL", "id: a\0b\ndata: c\n\n", "c"),
    case("id alone", "id: 1\n\ndata: a\n\n", ("message", "a", "1")),
    case("data with a NUL", "data:\0\n\n\n", "\0"),
    case("comments", ": a\ndata: 1\n:\0\n:\n\n:\ndata: 2\n\n", "1", "2"),
    case("BOM", f"{BOM}data: a\n\n", "a"),
    case("BOM, type and id", f"{BOM}event: b\nid: 1\ndata: a\n\n", ("b", "a", "1")),
    case("BOM and two events", f"{BOM}data: a\n\ndata: b\n\n", "a", "b"),
    case("BOM and two lines", f"{BOM}data: a\ndata: b\n\n", "a\nb"),
    case("BOM and a comment", f"{BOM}:c\ndata: a\n\n", "a"),
    case("BOM and empty data", f"{BOM}data:\n\n", ""),
    case("BOM in data", f"data: a\n\ndata: {BOM}b\n\n", "a", f"{BOM}b"),
    case("BOM at the start and in data", f"{BOM}data: {BOM}a\n\n", f"{BOM}a"),
    case("two BOMs", f"{BOM}{BOM}data: 1\n\ndata: 2\n\n", "2"),
    case("a late BOM", f"data: 1\n\n{BOM}data: 2\n\ndata: 3\n\n", "1", "3"),
    case("characters of several bytes", "data: €豆腐😀\n\n", "€豆腐😀"),
    case("separators of lines", "data: a\x85b\u2028c\u2029d\v\f\x1c\n\n",
         "a\x85b\u2028c\u2029d\v\f\x1c"),
    case("retry that is no number", "retry: 3s\nretry: -1\ndata: a\n\n", "a"),
]  # fmt: skip


def cuts(content: bytes):
    """Return *content* whole, in single bytes, in pairs, and after each line end."""
    yield [content]
    yield [content[i : i + 1] for i in range(len(content))]
    yield [content[i : i + 2] for i in range(0, len(content), 2)]
    yield content.splitlines(keepends=True)


def read(way, *chunks, **options):
    """Return everything received in its order: events and comments."""
    run = play(way, httpx2, stream(*chunks), **options)
    assert isinstance(run.end, StreamEnded)
    return run.received


@WAYS
@pytest.mark.parametrize(("text", "expected"), CASES)
def test_format(way, text, expected):
    """A stream gives the same events however it is cut into chunks."""
    for chunks in cuts(text.encode()):
        assert expected == read(way, *chunks)


@WAYS
def test_invalid_utf_8(way):
    """Invalid bytes are replaced (WHATWG Encoding, "UTF-8 decode")."""
    content = b"data: a\xffb\n\ndata: \xe2\x82\n\n"
    for chunks in cuts(content):
        events = read(way, *chunks)

        assert ["a\ufffdb", "\ufffd"] == [data for _, data, _ in events]


@WAYS
@pytest.mark.parametrize("parts", [1, 2, 160])
def test_large_event(way, parts):
    """An event of 10 MiB arrives whole."""
    size = 10 << 20
    chunks = [b"x" * (size // parts)] * parts
    events = read(way, b"data: ", *chunks, b"\n\n", max_event_size=size + 100)

    assert [size] == [len(data) for _, data, _ in events]


COMMENTS = [
    (":Hello\n", ["Hello"]),
    (":Hello\n:World\n", ["Hello", "World"]),
    (": a\r:\r\n", ["a", ""]),
    (":Hello\ndata: a\n\n", ["Hello", ("message", "a", "")]),
    ("data: a\n\n:Hello\n", [("message", "a", ""), "Hello"]),
    ("data: a\n\n:1\ndata: b\n:2\n\n", [("message", "a", ""), "1", "2",
                                       ("message", "b", "")]),
    (f"{BOM}:c\r\ndata: a\r\n\r\n", ["c", ("message", "a", "")]),
]  # fmt: skip


@WAYS
@pytest.mark.parametrize(("text", "expected"), COMMENTS)
def test_comments(way, text, expected):
    """Comments are reported in their order among the events."""
    for chunks in cuts(text.encode()):
        received = read(way, *chunks, on_comment=True)

        assert expected == received


@WAYS
def test_comments_of_an_event_over_the_bound(way):
    """With comments an event over the bound ends the stream as without."""
    chunk = b":a\ndata: 12345678\n\n:b\n"
    run = play(way, httpx2, stream(chunk), max_event_size=8, on_comment=True)

    assert isinstance(run.end, StreamEnded)
    assert "max_event_size=8" in str(run.end)
    assert ["a"] == run.received


IDS = [
    ("id: abc\ndata: a\n\n", "abc"),
    ("id: abc\ndata: a\n\ndata: b\n\n", "abc"),
    ("id: abc\ndata: a\n\nid:\ndata: b\n\n", None),
    ("id: abc\ndata: a\n\nid: def\ndata: b", "abc"),
    ("id: abc\ndata: a\n\nid: def\n", "abc"),
    ("id: abc\ndata: a\n\nid: d\0f\ndata: b\n\n", "abc"),
    ("id: abc\n\n", "abc"),
    ("data: a\n\n", "first"),
]


@WAYS
@pytest.mark.parametrize(("text", "sent"), IDS)
def test_id_of_the_next_request(way, text, sent):
    """The id of the last complete event is presented; a cut event is discarded."""
    run = play(way, httpx2, stream(text.encode()), last_event_id="first")
    first, second = run.requests

    assert "first" == first.headers["last-event-id"]
    assert sent == second.headers.get("last-event-id")


@WAYS
@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("retry: 1500", 1.5),
        ("retry:1500", 1.5),
        ("retry: 0001500", 1.5),
        ("retry: 1500\nretry: bogus", 1.5),
        ("retry: 1500\nretry: 2500", 2.5),
        ("retry", 3.0),
        ("retry: ", 3.0),
        ("retry: 1500a", 3.0),
        ("retry: -1500", 3.0),
        ("retry: \u0661\u0665\u0660\u0660", 3.0),
        ("Retry: 1500", 3.0),
    ],
)
def test_retry(way, line, seconds):
    """A line `retry` sets the time of the next request."""
    chunk = f"{line}\ndata: a\n\n".encode()
    run = play(way, httpx2, stream(chunk), max_backoff=0.0)

    assert [pytest.approx(seconds)] == run.delays
