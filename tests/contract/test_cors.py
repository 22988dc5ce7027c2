"""CORS: which pages of other origins may call."""

from __future__ import annotations

import pytest

from roundel_service.settings import ConfigError
from support.service import body, post, settings

APP, OTHER = "https://app.example", "http://localhost:5173"

ROUTES = [
    "/v1/notify",
    "/v1/batch",
    "/v1/items",
    "/v1/users/alice/gauges/c",
    "/v1/users/alice/badge",
    "/v1/users/auth0%7C507f/explain",
    "/v1/users/a%2Fb/disconnect",
    "/v1/users/alice",
    "/v1/tickets",
    "/v1/badge",
    "/v1/ops",
    "/v1/stream",
    "/livez",
]


@pytest.fixture
def open_world(make_world):
    """Create a service that allows two origins."""
    return make_world(cors_origins=f"{APP}, {OTHER}")


def _cors(answer):
    return {n: v for n, v in answer.headers.items() if n.startswith("access-control")}


async def _preflight(world, path, origin, asked="authorization"):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": asked,
    }
    return await world.anonymous.request("OPTIONS", path, headers=headers)


@pytest.mark.parametrize("path", ROUTES)
async def test_preflight_of_each_route_is_answered(autojump_clock, open_world, path):
    """A listed page may use every method; a preflight needs no credentials."""
    answer = await _preflight(open_world, path, APP)
    cors = _cors(answer)

    assert (204, b"") == (answer.status, answer.body)
    assert APP == cors["access-control-allow-origin"]
    assert "true" == cors["access-control-allow-credentials"]
    assert "GET, HEAD, POST, PUT, DELETE" == cors["access-control-allow-methods"]
    assert "Origin" == answer.headers["vary"]


ASKED = [
    "authorization,content-type",
    "traceparent, tracestate, baggage",
    "X-Requested-With",
    "sentry-trace,x-datadog-origin,x-b3-traceid,ngsw-bypass",
    "x-!#$%&'*+.^_`|~0",
    ", ".join(["x"] * 1_365 + ["y"]),
]


@pytest.mark.parametrize("asked", ASKED, ids=range(len(ASKED)))
async def test_preflight_allows_each_header_asked_for(
    autojump_clock, open_world, asked
):
    """Tracing and libraries add headers of their own to the requests of a page."""
    answer = await _preflight(open_world, "/v1/badge", APP, asked)

    assert asked == answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    "asked", ["x" * 4_097, "a b", "a\tb", "a;b", '"a"', "\xe9", "a\x7f", "*, (x)"]
)
async def test_preflight_repeats_no_other_text(autojump_clock, open_world, asked):
    """A text that is no list of header names, or too long, is not repeated."""
    answer = await _preflight(open_world, "/v1/badge", APP, asked)

    assert "access-control-allow-headers" not in answer.headers


async def test_preflight_can_ask_for_headers_in_several_fields(
    autojump_clock, open_world
):
    """RFC 9110 5.3: several fields are one list; without any, none is allowed."""
    headers = {"Origin": APP, "Access-Control-Request-Headers": ["a", "b,c"]}
    request = open_world.anonymous.request
    several = await request("OPTIONS", "/v1/badge", headers=headers)
    none = await request("OPTIONS", "/v1/badge", headers={"Origin": APP})

    assert "a, b,c" == several.headers["access-control-allow-headers"]
    assert "access-control-allow-headers" not in none.headers


@pytest.mark.parametrize("origin", [APP, OTHER])
async def test_response_names_the_requesting_origin(autojump_clock, open_world, origin):
    """A response allows the one origin that sent the request."""
    client = open_world.user().with_headers({"Origin": origin})
    cors = _cors(await client.request("GET", "/v1/badge"))

    assert {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "ETag, Retry-After, X-Request-Id",
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


async def _too_large(world):
    return await world.producer.request(
        "POST", "/v1/notify", body=b" " * 2_000_000, headers={"Origin": APP}
    )


async def _query_too_long(world):
    target = f"/v1/items?category={'x' * 9_000}"
    return await world.user().request("GET", target, headers={"Origin": APP})


async def _empty_segment(world):
    return await world.anonymous.request("GET", "//livez", headers={"Origin": APP})


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
    "413": _too_large,
    "414": _query_too_long,
    "404-path": _empty_segment,
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


BAD = [
    "*", f"{APP},*", "null", "file:", "app.example", f"{APP}/x", f"{APP}/", f"{APP},",
    "https://*", "https://*.", "https://*.example", "https://*.com", "*.example.org",
    "https://a.*.example.org", "https://*a.example.org", "https://**.example.org",
    "https://*.*.example.org", "https://*.example.org/", "https://*.0.0.1", "*://a.b",
    "https://", "https://a b", "https://u@a.example", "https://a.example?x",
    "https://a.example#x", "https://a.example:", "https://a.example:x",
    "https://a.example:65536", "https://a.example:0443", "https://.a.example",
    "https://a..example", "https://a.example.", "https://[::1", "https://[::g]",
    "https://[fe80::1%25eth0]", "https://1.2.3", "https://256.0.0.1", "http://-a_.%41",
    "1a://localhost", "a_b://localhost", "https://\N{SNOWMAN WITHOUT SNOW}\0.example",
    "https://" + "a" * 64 + ".example", "app://a/b", "app://a@b",
]  # fmt: skip


@pytest.mark.parametrize("origins", BAD)
async def test_invalid_origin_is_refused(origins):
    """An invalid origin is rejected at start; `*` never goes with credentials."""
    with pytest.raises(ConfigError, match="ROUNDEL_CORS_ORIGINS"):
        settings(cors_origins=origins)


async def test_etag_is_of_use_to_a_listed_page(autojump_clock, open_world):
    """A page can revalidate with the entity tag that it may read."""
    client = open_world.user().with_headers({"Origin": APP})
    answer = await client.request("GET", "/v1/badge")

    assert "ETag" in answer.headers["access-control-expose-headers"].split(", ")
    assert f'"{body(answer)["epoch"]}.0"' == answer.headers["etag"]


# Origins of any scheme, and of all hosts below one


ORIGINS = {
    "app": ("capacitor://localhost", {"capacitor://localhost"}),
    "app-with-port": ("ionic://localhost:8100", {"ionic://localhost:8100"}),
    "extension": ("chrome-extension://abc_d-e", {"chrome-extension://abc_d-e"}),
    "app-keeps-case": ("My+App.1-x://Some-Host", {"my+app.1-x://Some-Host"}),
    "electron": ("capacitor-electron://-", {"capacitor-electron://-"}),
    "file": ("file://", {"file://"}),
    "capitals": ("HTTPS://App.Example", {"https://app.example"}),
    "default-port": ("https://app.example:443", {"https://app.example"}),
    "port-of-the-other": ("http://app.example:443", {"http://app.example:443"}),
    "punycode": ("https://bücher.example", {"https://xn--bcher-kva.example"}),
    "sharp-s": ("https://straße.example", {"https://xn--strae-oqa.example"}),
    "ipv4": ("http://127.0.0.1:3000", {"http://127.0.0.1:3000"}),
    "ipv6": ("http://[::1]:3000", {"http://[::1]:3000"}),
    "ipv6-long": ("http://[0:0:0:0:0:0:0:1]:80", {"http://[::1]"}),
    "one-label": ("http://intranet", {"http://intranet"}),
    "wildcard": (
        "https://*.example.org",
        {"https://a.example.org", "https://b.a.example.org"},
    ),
    "wildcard-port": ("http://*.app.test:3000", {"http://a.app.test:3000"}),
    "wildcard-default-port": ("https://*.example.org:443", {"https://a.example.org"}),
    "wildcard-capitals": ("HTTPS://*.Example.ORG", {"https://a.example.org"}),
    "wildcard-punycode": (
        "https://*.bücher.example",
        {"https://a.xn--bcher-kva.example"},
    ),
    "wildcard-localhost": ("http://*.localhost:5173", {"http://a.localhost:5173"}),
    "wildcard-of-an-app": ("app://*.example.org", {"app://a.example.org"}),
}


@pytest.mark.parametrize(("listed", "origins"), ORIGINS.values(), ids=ORIGINS)
async def test_page_of_a_listed_origin_may_call(
    autojump_clock, make_world, listed, origins
):
    """Origins are compared as browsers send them, however they are listed."""
    world = make_world(cors_origins=listed)
    for origin in origins:
        preflight = await _preflight(world, "/v1/badge", origin)

        assert origin == preflight.headers["access-control-allow-origin"]


OUTSIDE = [
    "https://example.org",
    "https://.example.org",
    "https://a..example.org",
    "https://a.example.org.",
    "https://evilexample.org",
    "https://a.example.org.evil.test",
    "https://evil.test/.example.org",
    "https://evil.test#.example.org",
    "https://evil.test?.example.org",
    "https://evil.test\\.example.org",
    "https://u@a.example.org",
    "https://evil.test:80.example.org",
    "https://a.example.org:8443",
    "https://a.example.org:",
    "https://a.example.org/",
    "https://A.example.org",
    "https://*.example.org",
    "https://a.*.example.org",
    "https://a b.example.org",
    "https://a%2eexample.org",
    "http://a.example.org",
    "xhttps://a.example.org",
    "https:a.example.org",
    "https://a.example.org https://b.example.org",
    "https://" + "a." * 2_000 + "example.org",
    "null",
    "*",
]


@pytest.mark.parametrize("origin", OUTSIDE)
async def test_wildcard_is_for_hosts_below_only(autojump_clock, make_world, origin):
    """Neither the host itself nor a trick with its name is below it."""
    world = make_world(cors_origins="https://*.example.org")
    token = world.service.authenticator.sign("alice", ttl=60)
    fields = {"Cookie": f"roundel={token}", "Origin": origin}
    document = {"ops": [{"seen_upto": 0}]}
    write = await post(world.anonymous.with_headers(fields), "/v1/ops", document)

    assert {} == _cors(await _preflight(world, "/v1/badge", origin))
    assert 403 == write.status


async def test_page_below_a_wildcard_may_write_by_cookie(autojump_clock, make_world):
    """The list is the same for CORS and for writes by cookie."""
    world = make_world(cors_origins="https://*.example.org,capacitor://localhost")
    token = world.service.authenticator.sign("alice", ttl=60)
    for origin in ("https://a.b.example.org", "capacitor://localhost"):
        fields = {"Cookie": f"roundel={token}", "Origin": origin}
        browser = world.anonymous.with_headers(
            {**fields, "Sec-Fetch-Site": "cross-site"}
        )

        assert (
            200 == (await post(browser, "/v1/ops", {"ops": [{"seen_upto": 0}]})).status
        )
