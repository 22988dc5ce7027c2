"""The short way into the contract: what it handles, and what comes of it."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from roundel_adapters.server.fastpath import interface as plain
from roundel_service import app as service
from support.service import KEY, SECRET, settings, wall_clock


@pytest.fixture(scope="module")
def short():
    return service.build(settings(), clock=lambda: 0.0).fastpath


TAKEN = [
    ("POST", "/v1/notify"),
    ("POST", "/v1/batch"),
    ("DELETE", "/v1/items"),
    ("GET", "/v1/items"),
    ("PUT", "/v1/users/alice/gauges/mail"),
    ("DELETE", "/v1/users/alice/gauges/mail"),
    ("GET", "/v1/users/alice/badge"),
    ("GET", "/v1/users/alice/explain"),
    ("POST", "/v1/users/alice/disconnect"),
    ("DELETE", "/v1/users/alice"),
    ("POST", "/v1/tickets"),
    ("GET", "/v1/badge"),
    ("POST", "/v1/ops"),
    ("GET", "/v1/stream"),
    ("GET", "/livez"),
]


@pytest.mark.parametrize(("method", "path"), TAKEN)
def test_calls_of_the_contract_are_taken(short, method, path):
    """Asked for as they are written down."""
    assert short.handles(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", "/v1/badge"),
        ("OPTIONS", "/v1/badge"),
        ("PATCH", "/v1/badge"),
        ("get", "/v1/badge"),
        ("GET", "/v1/badge/"),
        ("GET", "//v1/badge"),
        ("GET", "/v1//badge"),
        ("GET", "/v1/./badge"),
        ("GET", "/v1/badg%65"),
        ("GET", "/v1/badge\n"),
        ("GET", "/v1/badge#x"),
        ("GET", "http://roundel.test/v1/badge"),
        ("GET", "/v1/users//badge"),
        ("GET", "/v1/users/a%20b/badge"),
        ("GET", "/v1/users/a/b/badge"),
        ("GET", "/v1/users/alice#/badge"),
        ("GET", "/v1/users/é/badge"),
        ("GET", "/v1/users/a\nb/badge"),
        ("GET", "/openapiXjson"),
        ("GET", "/nowhere"),
        ("GET", "*"),
        ("GET", ""),
    ],
)
def test_everything_else_is_for_the_application(short, method, path):
    """What a strange path means is decided in one place."""
    assert not short.handles(method, path)


@given(st.text(st.characters(max_codepoint=255), max_size=12))
def test_name_in_a_path_is_taken_only_as_it_is(name):
    """Nothing in it is to be decoded, and nothing ends it early."""
    taken = _SHORT.handles("GET", f"/v1/users/{name}/badge")

    is_plain = all("!" <= letter <= "~" and letter not in "/%#" for letter in name)
    assert taken == (bool(name) and is_plain)


_SHORT = service.build(settings(), clock=lambda: 0.0).fastpath


class Nothing:
    """A body that is empty."""

    def buffered(self):
        return b""

    def __aiter__(self):
        return self

    async def __anext__(self):
        raise StopAsyncIteration


def asked(method, path, query=b"", **fields):
    given = [(name.lower().replace("_", "-"), text) for name, text in fields.items()]
    return plain.FastRequest(
        method=method,
        path=path,
        query=query,
        headers=plain.Headers(given),
        body=Nothing(),
    )


@pytest.fixture
async def running(nursery):
    """Run a service."""
    built = service.build(settings(), clock=wall_clock)
    nursery.start_soon(built.run)
    return built


def bearer(built, user="alice"):
    return f"Bearer {built.authenticator.sign(user, ttl=60)}"


async def test_answer_is_whole_and_has_its_fields(autojump_clock, running):
    """What every answer has, it has too."""
    request = asked("GET", "/livez", x_request_id="mine")
    reply = await running.fastpath(request)

    assert isinstance(reply, plain.Response)
    assert (200, b'{"status":"ok"}') == (reply.status, reply.body)
    assert "application/json" == reply.headers["Content-Type"]
    assert "mine" == reply.headers["X-Request-Id"]


async def test_stream_is_given_with_its_bell(autojump_clock, running):
    """Who drives it needs the stream, what wakes it, and what it is served within."""
    request = asked("GET", "/v1/stream", authorization=bearer(running))
    reply = await running.fastpath(request)

    assert isinstance(reply, plain.EventStreamResponse)
    assert "text/event-stream; charset=utf-8" == reply.headers["Content-Type"]
    assert 0 == running.hub.streams
    with reply.lifespan:
        assert 1 == running.hub.streams
        told = b"".join(reply.stream.data_to_send(trio.current_time()))
    assert told.startswith((b"retry: ", b"event: hello"))
    assert 0 == running.hub.streams


async def test_failure_is_a_problem_document(autojump_clock, running, monkeypatch):
    """A fault in a handler is answered, so that its connection can go on."""
    users = []

    async def fail(user):
        users.append(user)
        raise RuntimeError("a bug")

    monkeypatch.setattr(running.hub, "channel", fail)
    path, producer = "/v1/users/bob@x/badge", f"Bearer {KEY}"
    reply = await running.fastpath(asked("GET", path, authorization=producer))

    assert (500, ["bob@x"]) == (reply.status, users)
    assert "application/problem+json" == reply.headers["Content-Type"]


def test_secret_is_not_in_a_request_as_it_is_shown():
    """Nobody finds a token in a traceback."""
    shown = repr(asked("GET", "/v1/badge", authorization=SECRET))

    assert SECRET not in shown
