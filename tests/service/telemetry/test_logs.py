"""The log: one line of JSON per event, without secrets."""

from __future__ import annotations

import io
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import attrs
import pytest
import structlog
import trio
from structlog.contextvars import bound_contextvars

from roundel_service.telemetry import access_log, logs
from roundel_service.telemetry.redaction import redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl-_"
REDACTED = "[redacted]"

here = structlog.get_logger("here")
elsewhere = logging.getLogger("hypercorn.error")


@contextmanager
def configured(stream: TextIO, **settings: int) -> Iterator[None]:
    elsewhere.setLevel(logging.NOTSET)  # Hypercorn itself may have set one.
    logs.configure(stream, **settings)
    (handler,) = logging.root.handlers
    yield
    logging.root.removeHandler(handler)
    logging.root.setLevel(logging.WARNING)
    structlog.reset_defaults()


@attrs.frozen
class Log:
    """The written lines."""

    stream: io.StringIO = attrs.field(factory=io.StringIO)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def line(self) -> dict[str, object]:
        """The only line, without its timestamp."""
        (line,) = self.lines
        return {name: value for name, value in line.items() if name != "timestamp"}


@pytest.fixture
def log() -> Iterator[Log]:
    written = Log()
    with configured(written.stream):
        yield written


# Format


def test_line_is_json_with_level_event_and_fields(log):
    """A line is a JSON object with level, event and fields."""
    here.warning("something happened", user="alice", v=3, text='a "b"\nc')

    assert {
        "event": "something happened",
        "level": "warning",
        "user": "alice",
        "v": 3,
        "text": 'a "b"\nc',
    } == log.line
    assert 1 == log.text.count("\n")


SEPARATORS = ["a\u2028b", "\u2029", "a\x85b", "jos\u00e9\u2028", "\r\n\v\f\x1c\x1d\x1e"]


@pytest.mark.parametrize("user", SEPARATORS)
@pytest.mark.parametrize("logger", [here, elsewhere], ids=["structlog", "logging"])
def test_line_is_one_line_for_every_reader(log, user, logger):
    """A user name with a line separator forges no second line."""
    if logger is here:
        logger.warning("hello", user=user)
    else:
        logger.warning("hello %s", user)
    access_log.request_line(
        method="GET", path=user, status=200, seconds=0, request_id="r"
    )
    first, second = log.lines

    assert user in (first.get("user"), str(first["event"]).removeprefix("hello "))
    assert user == second["path"]


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb\u2028"])
def test_text_that_is_not_unicode_is_logged(log, text):
    """A path or an argument that is not UTF-8 must not fail its caller."""
    here.info("hello", path=text)

    assert text == log.line["path"]


def test_time_is_iso_8601_in_utc(log):
    """The timestamp is in UTC, so that lines of several machines can be sorted."""
    here.info("now")
    (line,) = log.lines

    assert line["timestamp"][10] == "T"
    assert line["timestamp"].endswith("Z")


def test_standard_logging_has_the_same_format(log):
    """Lines of Hypercorn and of the adapters are JSON too."""
    elsewhere.error("connection %d failed", 7)

    assert {
        "event": "connection 7 failed",
        "level": "error",
        "logger": "hypercorn.error",
    } == log.line


@pytest.mark.parametrize("logger", [here, elsewhere], ids=["ours", "a library's"])
def test_traceback_is_a_field_of_its_line(log, logger):
    """An error with a traceback is one line."""
    try:
        int("no number")
    except ValueError:
        logger.exception("it failed")

    assert ("it failed", "error") == (log.line["event"], log.line["level"])
    assert log.line["exception"].startswith("Traceback")
    assert log.line["exception"].endswith("with base 10: 'no number'")


def test_level_applies_to_all_loggers():
    """The level applies to structlog and to standard logging."""
    written = Log()
    with configured(written.stream, level=logging.WARNING):
        for logger in (here, elsewhere):
            logger.info("said quietly")
            logger.warning("said")

    assert ["said", "said"] == [line["event"] for line in written.lines]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_lines_of_http_libraries_are_left_out(level):
    """A line of an HTTP library quotes the response, and on `debug` the credentials."""
    stream = io.StringIO()
    with configured(stream, level=level):
        for name in ("httpx2", "httpcore2.http11", "httpx"):
            logging.getLogger(name).info("HTTP Request")
            logging.getLogger(name).warning("a warning")

    assert 3 == stream.getvalue().count("a warning")
    assert "HTTP Request" not in stream.getvalue()


def test_broken_pipe_is_ignored():
    """A log that cannot be written does not raise."""
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
def test_field_with_a_secret_name_is_redacted(log, name, value):
    """A field with the name of a secret is redacted, at any depth."""
    here.info("seen", **{name: value}, headers={name: value}, pairs=[{name: value}])

    assert [REDACTED, {name: REDACTED}, [{name: REDACTED}]] == [
        log.line[field] for field in (name, "headers", "pairs")
    ]


@pytest.mark.parametrize(
    "name",
    ["user", "request_id", "monkey", "keyboard", "turkeys", "Keynote", "op_id", "why"],
)
def test_field_with_another_name_is_logged(log, name):
    """A field whose name only resembles that of a secret is logged."""
    here.info("seen", **{name: "abc"})

    assert "abc" == log.line[name]


@pytest.mark.parametrize("value", [None, True, False])
def test_presence_of_a_secret_is_logged(log, value):
    """`None` and booleans are logged: whether a secret was present is not secret."""
    here.info("seen", ticket=value)

    assert log.line["ticket"] is value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (JWT, REDACTED),
        (f"roundel={JWT}; Path=/", f"roundel={REDACTED}; Path=/"),
        (f"got '{JWT}', expected", f"got '{REDACTED}', expected"),
        (f"next=%2F%3Fx%3D{JWT}", f"next=%2F%3Fx%3D{REDACTED}"),
        ("Bearer abc", f"Bearer {REDACTED}"),
        ("Authorization: bearer  a.b/c= x", f"Authorization: bearer  {REDACTED} x"),
        ("/v1/stream?ticket=abc&x=1", f"/v1/stream?ticket={REDACTED}&x=1"),
        ("?url=/v1%3Fticket%3Dabc", f"?url=/v1%3Fticket%3D{REDACTED}"),
        ("?access_token=abc#here", f"?access_token={REDACTED}#here"),
        (
            "HmacKey(jwt_secret='abc', x=1)",
            f"HmacKey(jwt_secret='{REDACTED}', x=1)",
        ),
        ('{"ticket": "abc"}', f'{{"ticket": "{REDACTED}"}}'),
        ("valkey://me:pw@db:6379/0", f"valkey://me:{REDACTED}@db:6379/0"),
    ],
)
@pytest.mark.parametrize("place", ["event", "field", "list", "name", "error", "bytes"])
def test_secret_in_text_is_redacted(log, text, expected, place):
    """A secret inside text is redacted, and the rest of the text is logged."""
    match place:
        case "event":
            elsewhere.warning("%s", text)
            assert expected == log.line["event"]
        case "field":
            here.info("seen", text=text)
            assert expected == log.line["text"]
        case "list":
            here.info("seen", headers=[("x", text)])
            assert [["x", expected]] == log.line["headers"]
        case "name":
            here.info("seen", headers={text: 1})
            assert expected in log.line["headers"]
        case "error":
            here.info("seen", error=ValueError(text))
            assert expected in log.line["error"].replace("\\'", "'")
        case "bytes":
            here.info("seen", body=text.encode())
            assert expected in log.line["body"].replace("\\'", "'")


def test_secret_in_a_traceback_is_redacted(log):
    """A secret in the message of an error is redacted in the traceback."""
    try:
        int(f"42\n{JWT}")
    except ValueError:
        here.exception("it failed")

    assert JWT not in log.text
    assert REDACTED in log.line["exception"]


@pytest.mark.parametrize(
    "text",
    [
        "expected Authorization: Bearer, or the cookie roundel",
        "http://127.0.0.1:8080/v1/stream",
        "the token is not valid",
        "eyJ is how they begin",
    ],
)
def test_text_about_secrets_is_logged(log, text):
    """Text that mentions secrets without containing one is unchanged."""
    here.info(text)

    assert text == log.line["event"]


@pytest.mark.parametrize(
    "part", ["eyJ", "eyJa-", "bearer ", "ticket=", "://", "%3DeyJ"]
)
def test_redaction_takes_linear_time(part):
    """A long text of a client cannot block the service."""
    text = part * (200_000 // len(part))
    start = time.process_time()
    redact(None, "info", {"event": text})

    # It takes about 10 ms; in quadratic time it would take minutes.
    assert time.process_time() - start < 1


# Requests and streams


@pytest.mark.parametrize(
    "presented", ["a", "A-b_c.9", "0" * 64, "01JD3X8W5Q2V7Z9Y4T6R8P0N1M"]
)
def test_well_formed_request_id_is_kept(presented):
    """A well-formed X-Request-Id of the client is kept."""
    assert presented == access_log.request_id(presented)


@pytest.mark.parametrize(
    "presented", [None, "", "0" * 65, "a b", "a\n", "é", "a/b", 'a"', "a,b"]
)
def test_malformed_request_id_is_replaced(presented):
    """A missing or malformed X-Request-Id is replaced by a new, well-formed id."""
    made = access_log.request_id(presented)

    assert made != access_log.request_id(presented)
    assert made == access_log.request_id(made)


def request_line(**changed: object) -> None:
    line = {"method": "GET", "path": "/v1/badge", "status": 200, "seconds": 0.0123}
    access_log.request_line(**{**line, "request_id": "r", **changed})


def test_request_line(log):
    """A request is one line with method, path, status and duration."""
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
def test_request_line_with_a_problem(log, status, level):
    """A request with a problem has its name; from 500 on the level is `error`."""
    request_line(status=status, problem="not-found")

    assert ("not-found", status, level) == (
        log.line["problem"],
        log.line["status"],
        log.line["level"],
    )


def test_request_line_is_bounded_and_has_no_query(log):
    """The query, which may contain a ticket, is left out; method and path are cut."""
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
def test_request_line_equals_that_of_structlog(monkeypatch, log, bound, changed):
    """The fast formatter of request lines writes what structlog would write."""
    with bound_contextvars(**bound):
        request_line(**changed)
        monkeypatch.setattr(access_log, "Renderer", type(None))
        request_line(**changed)

    direct, usual = (text.rpartition(',"timestamp":') for text in log.text.splitlines())
    assert direct[0] == usual[0]
    assert {('"2', 'Z"}')} == {(at[:2], at[-3:]) for _, _, at in (direct, usual)}
    assert JWT not in log.text


@pytest.mark.parametrize(("status", "count"), [(200, 0), (500, 1)])
def test_level_applies_to_request_lines(status, count):
    """At the level WARNING only failed requests are logged."""
    written = Log()
    with configured(written.stream, level=logging.WARNING):
        request_line(status=status)

    assert count == len(written.lines)


def test_stream_line(log):
    """The end of a stream is one line with user, reason and counts."""
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


async def test_request_id_is_bound_to_its_tasks(autojump_clock, log):
    """Each line of a request has its id, also in tasks that the request started."""

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


def test_closed_standard_stream_is_ignored():
    """A process that was started without one logs nothing, and keeps no line."""
    with logs.writer_of(None) as stream:
        assert os.devnull == stream.name
