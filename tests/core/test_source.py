"""The client half of a connection: each pair of the table, and transcripts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import inf
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundel._errors import LocalProtocolError
from roundel._event import Event
from roundel._source import MAX_HEADER_ID, Source
from roundel._source_states import TRANSITIONS, Input, State

STREAM = [("Content-Type", "text/event-stream")]


def make_source(draw: float = 0.0, **arguments: Any) -> Source:
    return Source(now=0.0, random=lambda: draw, **arguments)


def opened_source(draw: float = 0.0, **arguments: Any) -> Source:
    source = make_source(draw, **arguments)
    source.receive_response(200, STREAM, now=0.0)
    return source


def source_in(state: State) -> Source:
    """Return a source in *state* that retries a 503 and allows events of 20 bytes."""
    arguments = {"retry_statuses": {503}, "max_event_size": 20, "idle_timeout": 60.0}
    match state:
        case State.CONNECTING:
            return make_source(**arguments)
        case State.OPEN:
            return opened_source(**arguments)
        case State.WAITING:
            source = opened_source(**arguments)
            source.receive_eof(now=0.0)
        case State.CLOSED:
            source = opened_source(**arguments)
            source.close()
    return source


CALLS: list[tuple[Input, str, Callable[[Source], object]]] = [
    (
        Input.ACCEPT,
        "receive_response",
        lambda source: source.receive_response(200, STREAM, now=1.0),
    ),
    (
        Input.REJECT,
        "receive_response",
        lambda source: source.receive_response(404, STREAM, now=1.0),
    ),
    (
        Input.RETRY,
        "receive_response",
        lambda source: source.receive_response(503, [], now=1.0),
    ),
    (
        Input.DATA,
        "receive_data",
        lambda source: source.receive_data(b"data: 1\n\n", now=1.0),
    ),
    (
        Input.OVERFLOW,
        "receive_data",
        lambda source: source.receive_data(b"data: 1" + b"0" * 20, now=1.0),
    ),
    (Input.DISCONNECT, "receive_eof", lambda source: source.receive_eof(now=1.0)),
    (Input.DISCONNECT, "receive_error", lambda source: source.receive_error(now=1.0)),
    (Input.TIMEOUT, "handle_timeout", lambda source: source.handle_timeout(99.0)),
    (Input.CLOSE, "close", lambda source: source.close()),
]


def attributes_of(source: Source) -> dict[str, Any]:
    fields = attrs.fields(Source)
    return {field.name: getattr(source, field.name) for field in fields}


@pytest.mark.parametrize(
    ("state", "call"),
    [
        pytest.param(state, call, id=f"{state.name}-{call[0].name}-{call[1]}")
        for state, call in product(State, CALLS)
    ],
)
def test_every_pair(
    state: State, call: tuple[Input, str, Callable[[Source], object]]
) -> None:
    """A pair of the table changes the state; any other raises and changes nothing."""
    received, _, act = call
    source = source_in(state)
    before = attributes_of(source)
    if (state, received) in TRANSITIONS:
        act(source)

        assert TRANSITIONS[state, received] is source.state
        assert (source.state is State.CLOSED) == (source.deadline == -inf)
    else:
        with pytest.raises(LocalProtocolError) as caught:
            act(source)

        assert f"not possible while {state.name}" == str(caught.value)
        assert before == attributes_of(source)


def test_every_input_has_a_call() -> None:
    """The calls above cover every input, and CLOSED is final."""
    ends = {after for (state, _), after in TRANSITIONS.items() if state is State.CLOSED}

    assert set(Input) == {received for received, *_ in CALLS}
    assert {State.CLOSED} == ends


# The request.


def test_request() -> None:
    """The first request has `Accept` and `Cache-Control`, and no id."""
    assert [
        ("Accept", "text/event-stream"),
        ("Cache-Control", "no-cache"),
    ] == make_source().request_headers()


@pytest.mark.parametrize(
    ("last_event_id", "value"),
    [
        pytest.param("e.1~f.2", "e.1~f.2", id="a cursor"),
        pytest.param("a b", "a b", id="a space inside"),
        pytest.param("é", None, id="not ASCII"),
        pytest.param("x" * MAX_HEADER_ID, "x" * MAX_HEADER_ID, id="the longest"),
        pytest.param("x" * (MAX_HEADER_ID + 1), None, id="too long"),
        pytest.param("", None, id="empty"),
        pytest.param(" a", None, id="a leading space"),
        pytest.param("a ", None, id="a trailing space"),
        pytest.param("a\tb", None, id="a tab"),
        pytest.param("a\vb", None, id="a control character"),
        pytest.param("a\x1fb", None, id="the last control character"),
        pytest.param("a\x7f", None, id="DEL"),
        pytest.param("a\nb", None, id="a line end"),
        pytest.param("\ud800", None, id="a lone surrogate"),
    ],
)
def test_id_in_the_request(last_event_id: str, value: str | None) -> None:
    """An id that is no safe header value is left out."""
    headers = dict(make_source(last_event_id=last_event_id).request_headers())

    assert value == headers.get("Last-Event-ID")


@pytest.mark.parametrize("last_event_id", ["a b", "é", "a…b", "x" * MAX_HEADER_ID])
def test_id_in_utf_8(last_event_id: str) -> None:
    """A driver that sends UTF-8 gets any printable id (WHATWG HTML 9.2.3)."""
    headers = dict(make_source(last_event_id=last_event_id).request_headers(utf_8=True))

    assert last_event_id == headers["Last-Event-ID"]


@pytest.mark.parametrize(
    "last_event_id", [" é", "é\x85", "\u2028", "\ud800", "é" * 4097]
)
def test_unsafe_id_in_utf_8(last_event_id: str) -> None:
    """Controls, line ends, lone surrogates and long ids are left out in UTF-8 too."""
    headers = dict(make_source(last_event_id=last_event_id).request_headers(utf_8=True))

    assert "Last-Event-ID" not in headers


def test_unsafe_id_replaces_a_safe_one() -> None:
    """An unsafe id is not replaced by the id before it."""
    source = opened_source(last_event_id="old")
    events = source.receive_data(b"id: \tnew\ndata\n\n", now=0.0)

    assert [Event("", id="\tnew")] == events
    assert "\tnew" == source.last_event_id
    assert "Last-Event-ID" not in dict(source.request_headers())


# Final responses.


@pytest.mark.parametrize(
    "value",
    [
        "text/event-stream",
        "text/event-stream;",
        "text/event-stream;charset=windows-1252",
        "text/event-stream ; charset=utf-8",
        " Text/Event-STREAM",
    ],
)
def test_accepted(value: str) -> None:
    """The parameters of the content type are ignored."""
    source = make_source()
    source.receive_response(200, [("x", "y"), ("content-TYPE", value)], now=3.0)

    assert State.OPEN is source.state
    assert "" == source.reason


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        *(
            pytest.param(status, STREAM, f"expected status 200, got {status}")
            for status in (204, 205, 210, 299, 301, 404, 410, 429, 500, 503)
        ),
        pytest.param(
            200, [], "expected content type text/event-stream, got ''", id="no type"
        ),
        pytest.param(
            200,
            [("Content-Type", "text/event-stream-x")],
            "expected content type text/event-stream, got 'text/event-stream-x'",
            id="another type",
        ),
        pytest.param(
            200,
            [*STREAM, ("Content-Type", "a" * 101)],
            f"expected content type text/event-stream, got '{'a' * 100}'",
            id="the last one counts",
        ),
    ],
)
def test_final(status: int, headers: list[tuple[str, str]], reason: str) -> None:
    """Any other response closes the source, with a reason."""
    source = make_source()
    source.receive_response(status, headers, now=0.0)
    source.handle_timeout(9999.0)
    source.close()

    assert (State.CLOSED, reason) == (source.state, source.reason)
    assert -inf == source.deadline


def test_retry_statuses() -> None:
    """The source reconnects after a status of *retry_statuses*."""
    source = make_source(retry_statuses={503})
    source.receive_response(503, [], now=10.0)

    assert State.WAITING is source.state
    assert "expected status 200, got 503" == source.reason
    assert 13.0 == source.deadline


def test_close() -> None:
    """A closed source raises for more data."""
    source = opened_source()
    source.close()
    with pytest.raises(LocalProtocolError, match="not possible while CLOSED"):
        source.receive_data(b"data: late\n\n", now=0.0)

    assert "closed" == source.reason


def test_reason_of_a_close() -> None:
    """A driver can give the reason of a close; the first one is kept."""
    source = make_source()
    source.close("certificate expired")
    source.close()

    assert "certificate expired" == source.reason


# Comments.


def test_comments() -> None:
    """With *with_comments* it has the comments of the latest data."""
    source = opened_source(with_comments=True, max_event_size=20)
    seen = []
    for data in (b":one\n:two\ndata: a\n\n", b"data: b\n\n", b":three\n", b"data: "):
        source.receive_data(data, now=0.0)
        seen.append(source.comments)
    source.receive_data(b":four" + b"x" * 20, now=0.0)

    assert [["one", "two"], [], ["three"], []] == seen
    assert (State.CLOSED, []) == (source.state, source.comments)


def test_comments_are_not_collected() -> None:
    """Without *with_comments* there are none."""
    source = opened_source()
    source.receive_data(b":one\n", now=0.0)

    assert [] == source.comments


# Reconnection.


def test_transcript() -> None:
    """Each reconnect presents the newest id."""
    source = make_source(retry=2000)
    source.receive_response(200, STREAM, now=1.0)
    events = source.receive_data(b"id: 1\ndata: one\n\nid: 2\nda", now=2.0)
    source.receive_eof(now=10.0)
    lost = (source.state, source.reason, source.deadline)
    source.handle_timeout(11.9)
    early = source.state
    source.handle_timeout(12.0)
    source.handle_timeout(12.0)
    again = dict(source.request_headers())["Last-Event-ID"]
    source.receive_response(200, STREAM, now=12.1)
    # WPT format-field-id-2: an event without an id reports the one before it.
    events += source.receive_data(b"data: two\n\n", now=12.2)
    source.receive_error(now=13.0)
    failed = source.reason
    source.handle_timeout(99.0)
    source.receive_error("no route", now=99.0)

    assert ("the network failed", "no route") == (failed, source.reason)
    assert [Event("one", id="1"), Event("two", id="1")] == events
    assert (State.WAITING, "the stream ended", 12.0) == lost
    assert State.WAITING is early
    assert "1" == again
    assert State.WAITING is source.state


def test_events_in_chunks() -> None:
    """Chunks may cut an event anywhere."""
    source = opened_source()
    reasons = [make_source().reason, source.reason]
    events = [
        *source.receive_data(b"data: one\n\n", now=0.0),
        *source.receive_data(b"data: two\n\nda", now=0.0),
        *source.receive_data(b"ta: three\n\n", now=0.0),
    ]

    assert ["one", "two", "three"] == [event.data for event in events]
    assert ["", ""] == reasons


def test_id_is_cleared() -> None:
    """An empty id clears the id of the next request."""
    source = opened_source(last_event_id="1")
    source.receive_data(b"id\n\n", now=0.0)
    source.receive_eof(now=0.0)

    assert "" == source.last_event_id


@pytest.mark.parametrize("before", ["head", "body"])
def test_idle_timeout(before: str) -> None:
    """After *idle_timeout* without a byte, before or after the head, it reconnects."""
    source = make_source(idle_timeout=45.0)
    if before == "body":
        source.receive_response(200, STREAM, now=0.0)
    deadline = source.deadline
    if before == "body":
        source.receive_data(b":", now=30.0)
    since = 30.0 if before == "body" else 0.0
    source.handle_timeout(since + 44.9)
    state_before = source.state
    source.handle_timeout(since + 45.0)

    assert 45.0 == deadline
    assert State.WAITING is not state_before
    assert State.WAITING is source.state
    assert "nothing was received for 45.0 seconds" == source.reason
    assert since + 45.0 + 3.0 == source.deadline


def test_idle_timeout_of_a_reconnect() -> None:
    """The idle timeout of a connection starts with its request."""
    source = make_source(idle_timeout=45.0)
    source.receive_error(now=1.0)
    source.handle_timeout(5.0)

    assert (State.CONNECTING, 50.0) == (source.state, source.deadline)


def test_no_idle_timeout() -> None:
    """Without an idle timeout an open source has no deadline."""
    source = opened_source()
    deadlines = [make_source().deadline, source.deadline]
    source.receive_data(b":", now=1.0)

    assert [inf, inf, inf] == [*deadlines, source.deadline]


# Reconnection time and backoff.


@pytest.mark.parametrize(
    ("line", "delay"),
    [
        (b"retry: 700", 3.0),  # the line has not ended
        (b"retry: 700\n", 0.7),  # it counts without a blank line
        (b"retry: 0\n", 0.1),
        (b"retry: 99999999999999999999\n", 600.0),
        (b"retry: 1.5\n", 3.0),
        (b"retry: -1\n", 3.0),
    ],
)
def test_retry(line: bytes, delay: float) -> None:
    """The peer sets the reconnection time of all connections, within bounds."""
    source = opened_source()
    source.receive_data(line, now=0.0)
    source.receive_eof(now=100.0)
    first = source.deadline - 100.0
    source.handle_timeout(1000.0)
    source.receive_error(now=1000.0)

    assert pytest.approx(delay) == first
    assert pytest.approx(delay) == source.deadline - 1000.0
    assert pytest.approx(delay * 1000) == source.retry


def test_backoff() -> None:
    """The random span doubles with each failure up to *max_backoff*."""
    draw = 1 - 2**-53
    spans, now = [], 0.0
    source = make_source(draw, retry=1000, max_backoff=10.0)
    for _ in range(100):
        source.receive_error(now=now)
        spans.append(round(source.deadline - now, 6))
        now = source.deadline
        source.handle_timeout(now)

    assert [1.25, 3.0, 5.0, 9.0, 11.0] == spans[:5]
    assert 11.0 == spans[-1]


@given(
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 10**30),
    st.integers(1, 200),
    st.integers(1, 10**6),
    st.floats(0, 1e6),
)
def test_delay_bounds(
    draw: float, retry: int, failures: int, floor: int, max_backoff: float
) -> None:
    """A delay is between the reconnection time and that plus *max_backoff*."""
    source = make_source(
        draw, retry=retry, min_retry=floor, max_retry=10**6, max_backoff=max_backoff
    )
    for _ in range(failures):
        source.receive_error(now=0.0)
        delay = source.deadline
        source.handle_timeout(inf)

    assert floor / 1000 <= delay <= 1000 + max_backoff
    assert min(max(retry, floor), 10**6) / 1000 <= delay


def test_default_backoff() -> None:
    """The default of *max_backoff* is 60 s."""
    source = make_source(0.5)
    for _ in range(10):
        source.receive_error(now=0.0)
        delay = source.deadline
        source.handle_timeout(inf)

    assert 33.0 == delay


def test_delays_are_even() -> None:
    """The delays use the whole span evenly."""
    delays = []
    for step in range(10):
        source = make_source(step / 10)
        source.receive_error(now=0.0)
        source.handle_timeout(10.0)
        source.receive_error(now=0.0)
        delays.append(round(source.deadline, 6))

    assert [3.0, 3.6, 4.2, 4.8, 5.4, 6.0, 6.6, 7.2, 7.8, 8.4] == delays


@pytest.mark.parametrize(
    ("open_for", "span"),
    [
        pytest.param(4.9, 4.0, id="lost too early: one more failure"),
        pytest.param(5.0, 0.25, id="stable: failures are reset"),
    ],
)
def test_stable(open_for: float, span: float) -> None:
    """Only a stream that was open for *stable_after* resets the failures."""
    source = make_source(0.5, retry=1000)
    for _ in range(2):
        source.receive_error(now=0.0)
        source.handle_timeout(10.0)
    source.receive_response(200, STREAM, now=10.0)
    source.receive_eof(now=10.0 + open_for)

    assert pytest.approx(10.0 + open_for + 1.0 + span / 2) == source.deadline


def test_failures_after_a_stable_stream() -> None:
    """After a stable stream the next failure is the first one."""
    source = opened_source(0.5, retry=1000)
    source.receive_eof(now=100.0)
    source.handle_timeout(200.0)
    source.receive_error(now=200.0)

    assert 201.125 == source.deadline


SUNDAY = "Sun, 06 Nov 1994 08:49:37 GMT"
RETRY_AFTER = [
    ([("Retry-After", "120")], 120.0),
    ([("Date", SUNDAY), ("Retry-After", "Sun, 06 Nov 1994 08:50:07 GMT")], 30.0),
    ([("Date", SUNDAY), ("Retry-After", "Sun, 06 Nov 2094 08:50:07 GMT")], 600.0),
    ([("Retry-After", "601")], 600.0),
    ([("Retry-After", "0")], 3.0),
    ([("Retry-After", "soon")], 3.0),
]


@pytest.mark.parametrize(("headers", "delay"), RETRY_AFTER)
def test_retry_after(headers: list[tuple[str, str]], delay: float) -> None:
    """`Retry-After` delays a retry, up to *max_retry*; never less than usual."""
    source = make_source(retry_statuses={503})
    source.receive_response(503, headers, now=0.0)

    assert (State.WAITING, delay) == (source.state, source.deadline)


# Bounds.


def test_event_over_the_bound() -> None:
    """An event over the bound closes the source; events before it are returned."""
    source = opened_source(max_event_size=100)
    events = source.receive_data(
        b"retry: 5000\nid: 1\ndata: one\n\nid: 2\ndata: " + b"x" * 100, now=0.0
    )

    assert [Event("one", id="1")] == events
    assert State.CLOSED is source.state
    assert "max_event_size=100" in source.reason
    assert ("1", 5000) == (source.last_event_id, source.retry)


def test_event_over_the_bound_in_a_later_connection() -> None:
    """The bound applies to each connection."""
    source = opened_source(max_event_size=100)
    source.receive_eof(now=0.0)
    source.handle_timeout(99.0)
    source.receive_response(200, STREAM, now=99.0)

    assert [] == source.receive_data(b"data: " + b"x" * 100, now=99.0)
    assert State.CLOSED is source.state


@pytest.mark.parametrize(
    "arguments",
    [
        {"retry": -1},
        {"min_retry": 0},
        {"min_retry": 10, "max_retry": 9},
        {"max_backoff": -0.1},
        {"stable_after": -1.0},
        {"idle_timeout": 0.0},
        {"last_event_id": "12345", "max_event_size": 4},
    ],
)
def test_invalid_bounds(arguments: dict[str, Any]) -> None:
    """Invalid bounds raise."""
    with pytest.raises(LocalProtocolError, match=r"^(last_event_id: )?expected"):
        make_source(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"retry": 0},
        {"min_retry": 1, "max_retry": 1},
        {"max_backoff": 0.0, "stable_after": 0.0},
        {"idle_timeout": 0.5},
    ],
)
def test_narrowest_bounds(arguments: dict[str, Any]) -> None:
    """The narrowest valid bounds work."""
    source = make_source(0.9, **arguments)
    source.receive_error(now=0.0)

    assert 0.0 < source.deadline < 10.0
