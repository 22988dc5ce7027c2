"""`FastpathApp`: the requests that it accepts, and its responses."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from roundel_adapters.server.fastpath.interface import Headers
from roundel_service import app as service
from roundel_service.http.messages import EventStreamResponse
from support.service import KEY, SECRET, settings, wall_clock


@pytest.fixture(scope="module")
def app():
    return service.build(settings(), clock=lambda: 0.0).fastpath


ROUTES = [
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
    ("GET", "/v1/badg%65"),
    ("GET", "http://roundel.test/v1/badge"),
    ("GET", "/v1/users/a%20b/badge"),
    ("GET", "/v1/users/a%2Fb/badge"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_routes_have_a_handler(app, method, path):
    """Every route of the contract is served on the fast path, and so are escapes."""
    assert app.find_handler(method, path) is not None


def test_long_poll_takes_asgi(app):
    """ASGI notices that the client left."""
    assert app.find_handler("GET", "/v1/badge", b"wait=5") is None
    assert app.find_handler("GET", "/v1/badge", b"%77ait%3D5&w%61it=5") is None


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
        ("GET", "/v1/badge\n"),
        ("GET", "/v1/badge#x"),
        ("GET", "/v1/users//badge"),
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
def test_other_requests_take_asgi(app, method, path):
    """What an unusual path means is decided in one place."""
    assert app.find_handler(method, path) is None


@given(st.text(st.characters(max_codepoint=255), max_size=12))
def test_path_with_control_or_other_characters_takes_asgi(name):
    """A parameter in the path is printable ASCII, escapes among it."""
    handler = _APP.find_handler("GET", f"/v1/users/{name}/badge")

    is_plain = all(" " <= letter <= "~" and letter not in "/#" for letter in name)
    assert (handler is not None) == (bool(name) and is_plain)


_APP = service.build(settings(), clock=lambda: 0.0).fastpath


async def call(built, method, path, body=b"", **fields):
    """Return the response of the fast path."""
    given = [(name.lower().replace("_", "-"), text) for name, text in fields.items()]
    handler = built.fastpath.find_handler(method, path, b"")
    return await handler(Headers(given), body)


@pytest.fixture
async def running(nursery):
    """Run a service."""
    built = service.build(settings(), clock=wall_clock)
    nursery.start_soon(built.run)
    return built


def bearer(built, user="alice"):
    return f"Bearer {built.authenticator.sign(user, ttl=60)}"


async def test_response_has_body_and_headers(autojump_clock, running):
    """The headers of every response are there too."""
    response = await call(running, "GET", "/livez", x_request_id="mine")

    assert (200, b'{"status":"ok"}') == (response.status, response.body)
    assert "application/json" == response.headers["Content-Type"]
    assert "mine" == response.headers["X-Request-Id"]


async def test_event_stream_is_not_open_before_its_lifespan(autojump_clock, running):
    """The server enters the lifespan when it starts to drive the stream."""
    token = bearer(running)
    response = await call(running, "GET", "/v1/stream", authorization=token)

    assert isinstance(response, EventStreamResponse)
    assert "text/event-stream; charset=utf-8" == response.headers["Content-Type"]
    assert 0 == running.hub.streams
    with response.lifespan:
        assert 1 == running.hub.streams
        data = b"".join(response.stream.data_to_send(trio.current_time()))
    assert data.startswith(b"retry: 5000\nevent: hello\n")
    assert 0 == running.hub.streams


async def test_exception_is_a_problem_document(autojump_clock, running, monkeypatch):
    """A bug in a handler is a 500 response, and the connection stays usable."""
    users = []

    async def fail(user):
        users.append(user)
        raise RuntimeError("a bug")

    monkeypatch.setattr(running.hub, "channel", fail)
    path, producer = "/v1/users/bob@x/badge", f"Bearer {KEY}"
    response = await call(running, "GET", path, authorization=producer)

    assert (500, ["bob@x"]) == (response.status, users)
    assert "application/problem+json" == response.headers["Content-Type"]


def test_repr_of_the_headers_has_no_secret():
    """A traceback with local variables does not show a token."""
    assert SECRET not in repr(Headers([("authorization", SECRET)]))
