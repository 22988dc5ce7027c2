"""Problem documents, and errors before a handler runs."""

from __future__ import annotations

import pytest
import trio

from roundel_adapters.testing import AsgiClient
from roundel_service.http.access_control import AccessControl, RateLimits
from roundel_service.http.apps.quart_app import create_app
from roundel_service.http.cors import Cors
from roundel_service.http.dispatcher import Dispatcher
from roundel_service.http.router import Router
from roundel_service.http.routes import create_routes
from roundel_service.streams.hub import Hub
from support.service import KEY, body, post, wall_clock

NOTE = {"to": {"user": "alice"}, "title": "Hello"}


async def _malformed(world):
    return await world.producer.request("POST", "/v1/notify", body=b"{")


async def _nobody(world):
    return await world.anonymous.request("GET", "/v1/badge")


async def _wrong_role(world):
    return await world.producer.request("GET", "/v1/badge")


async def _nowhere(world):
    return await world.anonymous.request("GET", "/v2/badge")


async def _wrong_method(world):
    return await world.anonymous.request("PATCH", "/v1/badge")


async def _not_acceptable(world):
    headers = {"Accept": "application/json"}
    return await world.user().request("GET", "/v1/stream", headers=headers)


async def _slow(world):
    async def chunks():
        yield b"{"
        await trio.sleep_forever()

    return await world.producer.request("POST", "/v1/notify", body=chunks())


async def _reused(world):
    headers = {"Idempotency-Key": "k"}
    await post(world.producer, "/v1/notify", NOTE, **headers)
    return await post(world.producer, "/v1/notify", {**NOTE, "body": "x"}, **headers)


async def _large(world):
    return await post(world.producer, "/v1/notify", {**NOTE, "body": "x" * 9_000})


async def _long(world):
    return await world.user().request("GET", f"/v1/badge?{'x' * 9_000}")


async def _invalid(world):
    return await post(world.producer, "/v1/notify", {**NOTE, "titel": "x"})


async def _too_often(world):
    answers = [await world.user().request("GET", "/v1/badge") for _ in range(201)]
    return answers[-1]


PROBLEMS = {
    400: _malformed,
    401: _nobody,
    403: _wrong_role,
    404: _nowhere,
    405: _wrong_method,
    406: _not_acceptable,
    408: _slow,
    409: _reused,
    413: _large,
    414: _long,
    422: _invalid,
}


@pytest.mark.parametrize(
    ("status", "call"),
    [*PROBLEMS.items(), pytest.param(429, _too_often, marks=pytest.mark.slow)],
)
async def test_every_error_is_a_problem_document(autojump_clock, world, status, call):
    """RFC 9457: all errors have the same form."""
    answer = await call(world)
    problem = body(answer, status)

    assert "application/problem+json" == answer.headers["content-type"]
    assert "no-store" == answer.headers["cache-control"]
    assert str(len(answer.body)) == answer.headers["content-length"]
    assert status == problem["status"]
    assert problem["type"].startswith("urn:roundel:problem:")
    assert problem["title"]
    assert problem["detail"]
    assert {"type", "title", "status", "detail"} == problem.keys() - {"errors"}
    assert ("errors" in problem) is (status == 422)


async def test_errors_have_an_entry_for_each_bad_field(autojump_clock, world):
    """An entry has the path of the field and the reason."""
    note = {"to": {"users": ["ok", "#not-ok"]}, "title": "", "ttl": "1"}
    errors = body(await post(world.producer, "/v1/notify", note), 422)["errors"]

    assert ["to.users[1]", "title", "ttl"] == [error["field"] for error in errors]
    assert all({"field", "detail"} == error.keys() for error in errors)
    assert all(error["detail"] for error in errors)


QUERIES = {
    "notify": ("POST", "/v1/notify"),
    "batch": ("POST", "/v1/batch"),
    "retract": ("DELETE", "/v1/items?source=s"),
    "set-gauge": ("PUT", "/v1/users/alice/gauges/c"),
    "drop-gauge": ("DELETE", "/v1/users/alice/gauges/c"),
    "badge-of-user": ("GET", "/v1/users/alice/badge"),
    "explain": ("GET", "/v1/users/alice/explain"),
    "disconnect": ("POST", "/v1/users/alice/disconnect"),
    "forget": ("DELETE", "/v1/users/alice"),
    "tickets": ("POST", "/v1/tickets"),
    "badge": ("GET", "/v1/badge"),
    "items": ("GET", "/v1/items"),
    "ops": ("POST", "/v1/ops"),
}
USERS = {"/v1/badge", "/v1/items", "/v1/ops"}


@pytest.mark.parametrize(("method", "target"), QUERIES.values(), ids=QUERIES)
async def test_unknown_query_parameter_is_rejected(
    autojump_clock, world, method, target
):
    """An unknown parameter is an error, never ignored."""
    await world.notify()
    client = world.user() if target in USERS else world.producer
    mark = "&" if "?" in target else "?"
    answer = await client.request(method, f"{target}{mark}unknown=1&other")
    errors = body(answer, 422)["errors"]

    assert {"unknown", "other"} == {error["field"] for error in errors}
    assert {"unknown field"} == {error["detail"] for error in errors}
    assert 1 == (await world.badge())["v"]


ALLOWED = {
    "/v1/notify": {"POST", "OPTIONS"},
    "/v1/batch": {"POST", "OPTIONS"},
    "/v1/items": {"GET", "HEAD", "DELETE", "OPTIONS"},
    "/v1/users/alice/gauges/c": {"PUT", "DELETE", "OPTIONS"},
    "/v1/users/alice/badge": {"GET", "HEAD", "OPTIONS"},
    "/v1/users/alice/explain": {"GET", "HEAD", "OPTIONS"},
    "/v1/users/alice/disconnect": {"POST", "OPTIONS"},
    "/v1/users/alice": {"DELETE", "OPTIONS"},
    "/v1/tickets": {"POST", "OPTIONS"},
    "/v1/badge": {"GET", "HEAD", "OPTIONS"},
    "/v1/ops": {"POST", "OPTIONS"},
    "/v1/stream": {"GET", "HEAD", "OPTIONS"},
    "/livez": {"GET", "HEAD", "OPTIONS"},
}


@pytest.mark.parametrize(("path", "allowed"), ALLOWED.items(), ids=ALLOWED)
async def test_wrong_method_is_405_with_allow(autojump_clock, world, path, allowed):
    """RFC 9110 15.5.6: `Allow` has every method of the path."""
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "TRACE"} - allowed:
        answer = await world.producer.request(method, path)

        assert body(answer, 405)["type"] == "urn:roundel:problem:method-not-allowed"
        assert allowed == set(answer.headers["allow"].split(", "))


@pytest.mark.parametrize(("path", "allowed"), ALLOWED.items(), ids=ALLOWED)
async def test_options_lists_the_methods(autojump_clock, world, path, allowed):
    """`OPTIONS` lists the methods of the path."""
    answer = await world.anonymous.request("OPTIONS", path)

    assert (204, b"") == (answer.status, answer.body)
    assert allowed == set(answer.headers["allow"].split(", "))


NOWHERE = [
    "/", "/v1", "/v1/", "/v2/badge", "/v1/badge/", "/v1//badge", "/V1/badge",
    "/v1/users/alice", "/v1/users/", "/v1/users//badge", "/v1/users/a/b/badge",
    "/v1/users/alice/gauges/", "/static/x", "/..%2Fx",
]  # fmt: skip


@pytest.mark.parametrize("path", NOWHERE)
async def test_unknown_path_is_404(autojump_clock, world, path):
    """Paths are exact: no redirect, no normalisation."""
    method = "PUT" if path == "/v1/users/alice" else "GET"
    answer = await world.producer.request(method, path)

    assert (405 if method == "PUT" else 404) == answer.status
    assert "application/problem+json" == answer.headers["content-type"]
    assert "location" not in answer.headers


HEADS = {
    "badge": "/v1/badge",
    "items": "/v1/items",
    "livez": "/livez",
    "bad-query": "/v1/badge?x=1",
    "nowhere": "/nowhere",
}


@pytest.mark.parametrize("target", HEADS.values(), ids=HEADS)
async def test_head_is_get_without_the_body(autojump_clock, world, target):
    """RFC 9110 9.3.2: the same status and fields, and no content."""
    get = await world.user().request("GET", target)
    head = await world.user().request("HEAD", target)

    def fields(answer):
        return {n: v for n, v in answer.headers.items() if n != "x-request-id"}

    assert (get.status, fields(get)) == (head.status, fields(head))
    assert b"" == head.body


async def test_livez_needs_no_credentials(autojump_clock, world):
    """The liveness check needs no credentials."""
    assert body(await world.anonymous.request("GET", "/livez")) == {"status": "ok"}


async def test_request_id_is_accepted_or_generated(autojump_clock, world):
    """A valid `X-Request-Id` is returned; any other is replaced."""
    given = await world.anonymous.request(
        "GET", "/livez", headers={"X-Request-Id": "a-1"}
    )
    bad = await world.anonymous.request("GET", "/x", headers={"X-Request-Id": "a b"})

    assert "a-1" == given.headers["x-request-id"]
    assert 16 == len(bad.headers["x-request-id"])


class BrokenEngine:
    """An engine that raises an `OSError`."""

    is_shared = False

    def listen(self, listener, users):
        pass

    async def read(self, *given, **options):
        raise OSError("no such device: /dev/secret")

    apply = holders = claim = claimed = report_presence = read


async def test_internal_error_is_500_without_details(autojump_clock, world, caplog):
    """The log has the details; the response has none."""
    hub = Hub(BrokenEngine(), clock=wall_clock)
    access = AccessControl(
        world.service.authenticator,
        hub.engine,
        cors=Cors(),
        rates=RateLimits(),
        metrics=hub.metrics,
        clock=wall_clock,
    )
    router = Router(create_routes(hub, access))
    client = AsgiClient(create_app(Dispatcher(access.cors, hub.metrics), router))
    producer = client.with_headers({"Authorization": f"Bearer {KEY}"})
    answer = await post(producer, "/v1/notify", NOTE)

    assert body(answer, 500)["type"] == "urn:roundel:problem:internal-error"
    assert b"secret" not in answer.body
    assert "no such device" in caplog.text


@pytest.mark.parametrize(
    "content",
    [b"{'a': 1}", b"{}{}", b'{"a":NaN}', b'{"a":1e999}', b"\x00"],
    ids=["quotes", "two", "nan", "range", "nul"],
)
async def test_nearly_json_is_400(autojump_clock, world, content):
    """A body has to be JSON as in RFC 8259."""
    answer = await world.user().request("POST", "/v1/ops", body=content)

    assert body(answer, 400)["type"] == "urn:roundel:problem:malformed-body"
