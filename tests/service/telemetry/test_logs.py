"""What is logged: a line of JSON each, and never a secret."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import attrs
import pytest
import structlog
import trio
from structlog.contextvars import bound_contextvars

from roundel_service.telemetry import access_log as access
from roundel_service.telemetry import logs
from roundel_service.telemetry.redaction import redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl-_"
HIDDEN = "[redacted]"

here = structlog.get_logger("here")
elsewhere = logging.getLogger("hypercorn.error")


@contextmanager
def configured(stream: TextIO, **settings: int) -> Iterator[None]:
    logs.configure(stream, **settings)
    (handler,) = logging.root.handlers
    yield
    logging.root.removeHandler(handler)
    logging.root.setLevel(logging.WARNING)
    structlog.reset_defaults()


@attrs.frozen
class Log:
    """What was written."""

    stream: io.StringIO = attrs.field(factory=io.StringIO)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def line(self) -> dict[str, object]:
        """The only line, without its time."""
        (line,) = self.lines
        return {name: value for name, value in line.items() if name != "timestamp"}


@pytest.fixture
def log() -> Iterator[Log]:
    written = Log()
    with configured(written.stream):
        yield written


# The form of a line


def test_line_is_json_with_level_event_and_fields(log):
    """Whatever collects the lines needs no parser of its own."""
    here.warning("something happened", user="alice", v=3, text='a "b"\nc')

    assert {
        "event": "something happened",
        "level": "warning",
        "user": "alice",
        "v": 3,
        "text": 'a "b"\nc',
    } == log.line
    assert 1 == log.text.count("\n")


def test_time_is_iso_8601_in_utc(log):
    """Lines of several machines can be put in order."""
    here.info("now")
    (line,) = log.lines

    assert line["timestamp"][10] == "T"
    assert line["timestamp"].endswith("Z")


def test_lines_of_libraries_look_the_same(log):
    """Hypercorn and the adapters log by the standard library, in the same form."""
    elsewhere.error("connection %d failed", 7)

    assert {
        "event": "connection 7 failed",
        "level": "error",
        "logger": "hypercorn.error",
    } == log.line


@pytest.mark.parametrize("logger", [here, elsewhere], ids=["ours", "a library's"])
def test_traceback_is_a_field_of_its_line(log, logger):
    """An error is one line as well, however long its story is."""
    try:
        int("no number")
    except ValueError:
        logger.exception("it failed")

    assert ("it failed", "error") == (log.line["event"], log.line["level"])
    assert log.line["exception"].startswith("Traceback")
    assert log.line["exception"].endswith("with base 10: 'no number'")


def test_level_bounds_what_is_written_by_anybody():
    """Who wants only warnings gets only warnings."""
    written = Log()
    with configured(written.stream, level=logging.WARNING):
        for logger in (here, elsewhere):
            logger.info("said quietly")
            logger.warning("said")

    assert ["said", "said"] == [line["event"] for line in written.lines]


def test_log_that_cannot_be_written_stops_no_request():
    """A pipe that nobody reads any more is no reason to fail."""
    tried = []

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            tried.append(json.loads(text)["event"])
            raise BrokenPipeError

    with configured(Broken()):
        here.info("lost")
        elsewhere.warning("lost as well")

    assert ["lost", "lost as well"] == tried


# Secrets


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "Authorization", "cookie", "set-cookie", "token", "ticket"),
        *("access_token", "tickets", "key", "keys", "api_key", "apikey", "apiKey"),
        *("producer_keys", "Idempotency-Key", "jwt_secret", "password", "passwd"),
        *("client_secret", "jwt", "credentials", "proof", "privateKey", "X-API-KEY"),
    ],
)
@pytest.mark.parametrize("value", ["abc", b"abc", 123, ["abc"], {"a": "abc"}])
def test_field_that_is_named_like_a_secret_is_not_told(log, name, value):
    """Whatever is in such a field, and however deep it is, stays here."""
    here.info("seen", **{name: value}, headers={name: value}, pairs=[{name: value}])

    assert [HIDDEN, {name: HIDDEN}, [{name: HIDDEN}]] == [
        log.line[field] for field in (name, "headers", "pairs")
    ]


@pytest.mark.parametrize(
    "name",
    ["user", "request_id", "monkey", "keyboard", "turkeys", "Keynote", "op_id", "why"],
)
def test_field_that_is_named_like_no_secret_is_told(log, name):
    """A log that hides everything is of no use."""
    here.info("seen", **{name: "abc"})

    assert "abc" == log.line[name]


@pytest.mark.parametrize("value", [None, True, False])
def test_that_there_is_a_secret_is_none(log, value):
    """Whether a proof was there may be told."""
    here.info("seen", ticket=value)

    assert log.line["ticket"] is value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (JWT, HIDDEN),
        (f"roundel={JWT}; Path=/", f"roundel={HIDDEN}; Path=/"),
        (f"got '{JWT}', expected", f"got '{HIDDEN}', expected"),
        (f"next=%2F%3Fx%3D{JWT}", f"next=%2F%3Fx%3D{HIDDEN}"),
        ("Bearer abc", f"Bearer {HIDDEN}"),
        ("Authorization: bearer  a.b/c= x", f"Authorization: bearer  {HIDDEN} x"),
        ("/v1/stream?ticket=abc&x=1", f"/v1/stream?ticket={HIDDEN}&x=1"),
        ("?url=/v1%3Fticket%3Dabc", f"?url=/v1%3Fticket%3D{HIDDEN}"),
        ("?access_token=abc#here", f"?access_token={HIDDEN}#here"),
        ("Gate(jwt_secret='abc', x=1)", f"Gate(jwt_secret='{HIDDEN}', x=1)"),
        ('{"ticket": "abc"}', f'{{"ticket": "{HIDDEN}"}}'),
        ("valkey://me:pw@db:6379/0", f"valkey://me:{HIDDEN}@db:6379/0"),
    ],
)
@pytest.mark.parametrize("place", ["event", "field", "list", "name", "error", "bytes"])
def test_text_that_looks_like_a_secret_is_not_told(log, text, told, place):
    """Wherever it stands, what is secret of it is cut out and the rest is told."""
    match place:
        case "event":
            elsewhere.warning("%s", text)
            assert told == log.line["event"]
        case "field":
            here.info("seen", text=text)
            assert told == log.line["text"]
        case "list":
            here.info("seen", headers=[("x", text)])
            assert [["x", told]] == log.line["headers"]
        case "name":
            here.info("seen", headers={text: 1})
            assert told in log.line["headers"]
        case "error":
            here.info("seen", error=ValueError(text))
            assert told in log.line["error"].replace("\\'", "'")
        case "bytes":
            here.info("seen", body=text.encode())
            assert told in log.line["body"].replace("\\'", "'")


def test_traceback_tells_no_secret(log):
    """Nor does the message of an error, which may be of anybody's making."""
    try:
        int(f"42\n{JWT}")
    except ValueError:
        here.exception("it failed")

    assert JWT not in log.text
    assert HIDDEN in log.line["exception"]


@pytest.mark.parametrize(
    "text",
    [
        "expected Authorization: Bearer, or the cookie roundel",
        "http://127.0.0.1:8080/v1/stream",
        "the token is not valid",
        "eyJ is how they begin",
    ],
)
def test_plain_words_are_told(log, text):
    """What only speaks of secrets is none."""
    here.info(text)

    assert text == log.line["event"]


@pytest.mark.parametrize(
    "piece", ["eyJ", "eyJa-", "bearer ", "ticket=", "://", "%3DeyJ"]
)
def test_long_text_takes_no_long_time(piece):
    """Whoever gets a text into the log cannot hold the service up with it."""
    text = piece * (200_000 // len(piece))
    began = time.process_time()
    redact(None, "info", {"event": text})

    # It takes some 10 ms; in proportion to the square it would be minutes.
    assert time.process_time() - began < 1


# Requests and streams


@pytest.mark.parametrize(
    "presented", ["a", "A-b_c.9", "0" * 64, "01JD3X8W5Q2V7Z9Y4T6R8P0N1M"]
)
def test_well_formed_request_id_is_taken_over(presented):
    """One id follows a request through all the services that it passes."""
    assert presented == access.request_id(presented)


@pytest.mark.parametrize(
    "presented", [None, "", "0" * 65, "a b", "a\n", "é", "a/b", 'a"', "a,b"]
)
def test_any_other_request_gets_an_id_of_its_own(presented):
    """A line can always be found by its id, and nobody writes into it by one."""
    made = access.request_id(presented)

    assert made != access.request_id(presented)
    assert made == access.request_id(made)


def request_line(**changed: object) -> None:
    line = {"method": "GET", "path": "/v1/badge", "status": 200, "seconds": 0.0123}
    access.request_line(**{**line, "request_id": "r", **changed})


def test_request_is_one_line(log):
    """What was asked, what was answered and how long it took."""
    request_line()

    assert {
        "event": "request",
        "level": "info",
        "method": "GET",
        "path": "/v1/badge",
        "status": 200,
        "duration_ms": 12.3,
        "request_id": "r",
    } == log.line


@pytest.mark.parametrize(
    ("status", "level"), [(404, "info"), (499, "info"), (500, "error")]
)
def test_problem_is_named_and_our_own_fault_is_an_error(log, status, level):
    """What callers do wrong is theirs; what fails here has to be looked at."""
    request_line(status=status, problem="not-found")

    assert ("not-found", status, level) == (
        log.line["problem"],
        log.line["status"],
        log.line["level"],
    )


def test_request_is_told_without_its_query_and_within_bounds(log):
    """A query can hold a ticket, and a path can be as long as a peer likes."""
    request_line(method="M" * 1_000, path="/" + "p" * 1_000 + "?ticket=abc")
    request_line(path="/v1/stream?ticket=abc")

    long, short = log.lines
    assert (16, 512) == (len(long["method"]), len(long["path"]))
    assert "/v1/stream" == short["path"]


@pytest.mark.parametrize("bound", [{}, {"worker": 3, "request_id": "r", "x": JWT}])
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"problem": "not-found", "status": 404},
        {"problem": "internal-error", "status": 500},
        {"method": "POST" * 9, "path": f"/{JWT}", "request_id": JWT},
        {"method": "A=%:+", "path": '/é"\\\n' * 200, "seconds": 0.0},
    ],
)
def test_line_of_a_request_is_written_as_any_other(monkeypatch, log, bound, changed):
    """It has a way of its own, for speed, and on it nothing is told otherwise."""
    with bound_contextvars(**bound):
        request_line(**changed)
        monkeypatch.setattr(access, "Renderer", type(None))
        request_line(**changed)

    direct, usual = (text.rpartition(',"timestamp":') for text in log.text.splitlines())
    assert direct[0] == usual[0]
    assert {('"2', 'Z"}')} == {(at[:2], at[-3:]) for _, _, at in (direct, usual)}
    assert JWT not in log.text


@pytest.mark.parametrize(("status", "count"), [(200, 0), (500, 1)])
def test_request_is_told_from_its_level_on(status, count):
    """Who wants only what is wrong gets only that of requests too."""
    written = Log()
    with configured(written.stream, level=logging.WARNING):
        request_line(status=status)

    assert count == len(written.lines)


def test_end_of_a_stream_is_one_line(log):
    """Who read it, how it was and why it ended."""
    logs.stream_line(
        user="alice",
        level="items",
        reason="max_age",
        seconds=512.34567,
        events_sent=30,
        versions_skipped=4,
        request_id="r",
    )

    assert {
        "event": "stream ended",
        "level": "info",
        "user": "alice",
        "stream_level": "items",
        "reason": "max_age",
        "duration_s": 512.346,
        "events_sent": 30,
        "versions_skipped": 4,
        "request_id": "r",
    } == log.line


async def test_context_belongs_to_its_task_and_those_it_starts(autojump_clock, log):
    """Every line of a request has its id, whatever else is served meanwhile."""

    async def part(name: str) -> None:
        elsewhere.warning(name)

    async def request(name: str, delay: float) -> None:
        with bound_contextvars(request_id=name):
            await trio.sleep(delay)
            here.info(name)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(part, name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(request, "slow", 2)
        nursery.start_soon(request, "quick", 1)
    here.info("outside")

    ids = [(line["event"], line.get("request_id")) for line in log.lines]
    assert [
        *[("quick", "quick")] * 2,
        *[("slow", "slow")] * 2,
        ("outside", None),
    ] == ids
