"""CORS: which pages of other origins may call."""

from __future__ import annotations

import pytest

from roundel_service.settings import ConfigError
from support.service import body, post, settings

APP, OTHER = "https://app.example", "http://localhost:5173"

ROUTES = {
    "/v1/notify": "POST",
    "/v1/batch": "POST",
    "/v1/items": "DELETE, GET",
    "/v1/users/alice/gauges/c": "DELETE, PUT",
    "/v1/users/alice/badge": "GET",
    "/v1/users/alice/explain": "GET",
    "/v1/users/alice/disconnect": "POST",
    "/v1/users/alice": "DELETE",
    "/v1/tickets": "POST",
    "/v1/badge": "GET",
    "/v1/ops": "POST",
    "/v1/stream": "GET",
}


@pytest.fixture
def open_world(make_world):
    """Create a service that allows two origins."""
    return make_world(cors_origins=f"{APP}, {OTHER}")


def _cors(answer):
    return {n: v for n, v in answer.headers.items() if n.startswith("access-control")}


async def _preflight(world, path, origin, method="GET"):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization",
    }
    return await world.anonymous.request("OPTIONS", path, headers=headers)


@pytest.mark.parametrize(("path", "methods"), ROUTES.items(), ids=ROUTES)
async def test_preflight_of_each_route_is_answered(
    autojump_clock, open_world, path, methods
):
    """A listed page may use every route's method; a preflight needs no credentials."""
    answer = await _preflight(open_world, path, APP)
    cors = _cors(answer)

    assert (204, b"") == (answer.status, answer.body)
    assert APP == cors["access-control-allow-origin"]
    assert "true" == cors["access-control-allow-credentials"]
    assert methods == ", ".join(
        sorted(cors["access-control-allow-methods"].split(", "))
    )
    assert "Origin" == answer.headers["vary"]


async def test_preflight_allows_just_the_contracts_headers(autojump_clock, open_world):
    """The allowed headers are a fixed list, not those the page requests."""
    answer = await _preflight(open_world, "/v1/badge", APP)
    allowed = answer.headers["access-control-allow-headers"]

    assert {
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "Last-Event-ID",
        "If-None-Match",
    } == set(allowed.split(", "))


@pytest.mark.parametrize("origin", [APP, OTHER])
async def test_response_names_the_requesting_origin(autojump_clock, open_world, origin):
    """A response allows the one origin that sent the request."""
    client = open_world.user().with_headers({"Origin": origin})
    cors = _cors(await client.request("GET", "/v1/badge"))

    assert {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "ETag",
    } == cors


async def _not_modified(world):
    tag = (await world.user().request("GET", "/v1/badge")).headers["etag"]
    headers = {"If-None-Match": tag, "Origin": APP}
    return await world.user().request("GET", "/v1/badge", headers=headers)


async def _nobody(world):
    return await world.anonymous.request("GET", "/v1/badge", headers={"Origin": APP})


async def _invalid(world):
    return await post(world.producer.with_headers({"Origin": APP}), "/v1/notify", {})


async def _nowhere(world):
    return await world.anonymous.request("GET", "/nowhere", headers={"Origin": APP})


async def _wrong_method(world):
    return await world.anonymous.request("PATCH", "/v1/ops", headers={"Origin": APP})


async def _batch(world):
    return await world.producer.with_headers({"Origin": APP}).request(
        "POST", "/v1/batch"
    )


async def _stream(world):
    return (
        await world.user().with_headers({"Origin": APP}).request("HEAD", "/v1/stream")
    )


ANSWERS = {
    "304": _not_modified,
    "401": _nobody,
    "422": _invalid,
    "404": _nowhere,
    "405": _wrong_method,
    "batch": _batch,
    "stream": _stream,
}


@pytest.mark.parametrize("call", ANSWERS.values(), ids=ANSWERS)
async def test_listed_page_can_read_every_response(autojump_clock, open_world, call):
    """Error responses have the CORS headers too."""
    answer = await call(open_world)

    assert APP == answer.headers["access-control-allow-origin"]
    assert "true" == answer.headers["access-control-allow-credentials"]
    assert "Origin" == answer.headers["vary"]


async def test_live_stream_can_be_read_across_origins(autojump_clock, open_world):
    """A stream has the CORS headers."""
    client = open_world.user().with_headers({"Origin": APP})
    async with client.stream("/v1/stream") as stream:
        assert APP == stream.headers["access-control-allow-origin"]


FOREIGN = {
    "other": "https://evil.test",
    "null": "null",
    "star": "*",
    "scheme": "http://app.example",
    "port": "https://app.example:444",
    "suffix": "https://app.example.evil.test",
    "prefix": "https://evil-app.example",
    "slash": f"{APP}/",
    "case": "https://APP.example",
    "two": f"{APP}, {OTHER}",
    "empty": "",
}


@pytest.mark.parametrize("origin", FOREIGN.values(), ids=FOREIGN)
async def test_unlisted_origin_is_not_allowed(autojump_clock, open_world, origin):
    """A page of an unlisted origin gets no CORS header but `Vary`."""
    preflight = await _preflight(open_world, "/v1/badge", origin)
    client = open_world.user().with_headers({"Origin": origin})
    simple = await client.request("GET", "/v1/badge")

    assert ({}, {}) == (_cors(preflight), _cors(simple))
    assert "Origin" == preflight.headers["vary"] == simple.headers["vary"]


async def test_response_without_an_origin_varies_by_it(autojump_clock, open_world):
    """`Vary` keeps caches from reusing one origin's response for another."""
    answer = await open_world.user().request("GET", "/v1/badge")

    assert {} == _cors(answer)
    assert "Origin" == answer.headers["vary"]


async def test_without_a_list_there_is_no_cors(autojump_clock, world):
    """No origin is allowed by default."""
    preflight = await _preflight(world, "/v1/badge", APP)
    client = world.user().with_headers({"Origin": APP})
    simple = await client.request("GET", "/v1/badge")

    assert ({}, {}) == (_cors(preflight), _cors(simple))
    assert "vary" not in simple.headers


@pytest.mark.parametrize(
    "origins", ["*", f"{APP},*", "null", "https://*.example", "app.example", f"{APP}/x"]
)
async def test_list_is_of_exact_origins(origins):
    """An invalid origin is rejected at start; `*` never goes with credentials."""
    with pytest.raises(ConfigError, match="ROUNDEL_CORS_ORIGINS"):
        settings(cors_origins=origins)


async def test_etag_is_of_use_to_a_listed_page(autojump_clock, open_world):
    """A page can revalidate with the entity tag that it may read."""
    client = open_world.user().with_headers({"Origin": APP})
    answer = await client.request("GET", "/v1/badge")

    assert "ETag" == answer.headers["access-control-expose-headers"]
    assert f'"{body(answer)["epoch"]}.0"' == answer.headers["etag"]
