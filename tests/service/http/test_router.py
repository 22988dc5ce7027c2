"""The routes of raw paths, the same on the fast path and by ASGI.

Each path is sent over a socket to both. A path of a user is called with `DELETE`, whose
response names the user.
"""

from __future__ import annotations

import json

import pytest
import trio

from roundel_service import app as service
from roundel_service.engines.memory import MemoryEngine
from roundel_service.http.problems import Problem
from roundel_service.http.router import Route, Router
from support.server import serving
from support.service import KEY, START, settings

NAMES = {
    # Each segment is decoded once, after the path was split at its slashes.
    "alice": "alice",
    "%61lice": "alice",
    "a%2Fb": "a/b",
    "a%2fb%2F": "a/b/",
    "%2F": "/",
    "%2F%2F": "//",
    "bob%2Fgauges%2Fdm": "bob/gauges/dm",
    "a%252Fb": "a%2Fb",
    "%25": "%",
    "100%25": "100%",
    "auth0%7C507f": "auth0|507f",
    "auth0|507f": "auth0|507f",
    "spiffe:%2F%2Fa%2Fb": "spiffe://a/b",
    "o'brien@x.example": "o'brien@x.example",
    "%7Bx%7D": "{x}",
    "{x}": "{x}",
    "{user}": "{user}",
    "a%20b": "a b",
    "a+b": "a+b",
    "a%2Bb": "a+b",
    "a;v=1,2": "a;v=1,2",
    "a%3Fb": "a?b",
    "a%23": "a#",
    "a%5Cb": "a\\b",
    "a\\b": "a\\b",
    # Dot segments are names here: a client that means them resolves them itself.
    ".": ".",
    "..": "..",
    "%2e%2E": "..",
    # Composed and decomposed letters are different names.
    "jos%C3%A9": "jos\u00e9",
    "jose%CC%81": "jose\u0301",
    "%F0%9F%98%80": "\U0001f600",
    "a%E2%80%A8b": "a\u2028b",
    "%EF%BF%BD": "\ufffd",
}
BAD_NAMES = {
    "%00": "expected no control characters",
    "a%0Ab": "expected no control characters",
    "a%C2%85b": "expected no control characters",
    "%20a": "expected no white space at the ends",
    "a%C2%A0": "expected no white space at the ends",
    "%23a": "expected no # at the beginning",
    # Bytes that are not UTF-8: alone, cut short, too long, a surrogate, too large.
    "%FF": "expected valid UTF-8 without lone surrogates",
    "jos%E9": "expected valid UTF-8 without lone surrogates",
    "%C3": "expected valid UTF-8 without lone surrogates",
    "%C0%AF": "expected valid UTF-8 without lone surrogates",
    "%ED%A0%80": "expected valid UTF-8 without lone surrogates",
    "%F4%90%80%80": "expected valid UTF-8 without lone surrogates",
    # Escapes that are none.
    "%": "expected valid UTF-8 without lone surrogates",
    "100%": "expected valid UTF-8 without lone surrogates",
    "%zz": "expected valid UTF-8 without lone surrogates",
    "%2": "expected valid UTF-8 without lone surrogates",
    "%u00e9": "expected valid UTF-8 without lone surrogates",
    "u" * 256: "expected 1 to 255 characters, got 256",
    "%E2%82%AC" * 171: "expected at most 512 bytes in UTF-8, got 513",
}
STATUSES = {
    "/livez": 200,
    "/%6Civez": 200,
    "/livez?": 200,
    "http://x/livez": 200,
    "HTTP://x:80/livez": 200,
    "https://x/livez": 200,
    "http://[::1]:80/livez": 200,
    # An empty segment, also one that proxies merge.
    "//livez": 404,
    "///livez": 404,
    "/livez/": 404,
    "/livez//": 404,
    "http://x//livez": 404,
    "/v1//badge": 404,
    "/v1/users//badge": 404,
    "/v1/users/alice//badge": 404,
    "/v1/users/alice/badge/": 404,
    "/v1/users/": 404,
    # An escape that would separate segments, or end them.
    "/v1%2Fbadge": 404,
    "/v1%2fusers/alice/badge": 404,
    "/v1/users%2Falice/badge": 404,
    "/v1/users/alice%2Fbadge/": 404,
    "%2Flivez": 404,
    "/%2Flivez": 404,
    "/livez%2F": 404,
    "/livez%00": 404,
    "/livez%3Fx": 404,
    "/livez%20": 404,
    "/livez%": 404,
    "/%256Civez": 404,
    "/LIVEZ": 404,
    # Dot segments stand for themselves.
    "/./livez": 404,
    "/../livez": 404,
    "/%2e/livez": 404,
    "/v1/../livez": 404,
    "/v1/badge/..": 404,
    # Not a path: RFC 9112 3.2.
    "/": 404,
    "?": 404,
    "*": 405,
    "livez": 404,
    "x:/livez": 404,
    "http://x": 404,
    "http://x?/livez": 404,
    "http://[x/livez": 404,
    "ftp://x/livez": 404,
    "/livez#x": 404,
    "/v1/users/alice#/badge": 404,
    "/livez;x": 404,
    "/livez\\": 404,
    "/openapiXjson": 404,
    # Bytes that have to be escaped: RFC 3986 2.
    "/v1/users/jos\u00e9/badge": 400,
}


async def ask(stream, method, target):
    """Send a request of a producer; return the status and the document."""
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    await stream.send_all(f"{head}Connection: close\r\n\r\n".encode("latin-1"))
    received = b""
    async for chunk in stream:
        received += chunk
    head, _, content = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content) if content[:1] == b"{" else None


class Outcomes:
    """The outcomes of all paths on one of the two ways."""

    def __init__(self, port):
        self._port = port

    async def _ask(self, method, target):
        with trio.fail_after(5):
            async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
                return await ask(stream, method, target)

    async def names(self):
        """Return the user that each path of `NAMES` calls."""
        return {
            segment: (await self._ask("DELETE", f"/v1/users/{segment}"))[1]["user"]
            for segment in NAMES
        }

    async def reasons(self):
        """Return why each path of `BAD_NAMES` calls no user."""
        reasons = {}
        for segment in BAD_NAMES:
            status, problem = await self._ask("DELETE", f"/v1/users/{segment}")
            assert (422, "user") == (status, problem["errors"][0]["field"])
            reasons[segment] = problem["errors"][0]["detail"]
        return reasons

    async def statuses(self):
        """Return the status of each path of `STATUSES`."""
        return {path: (await self._ask("GET", path))[0] for path in STATUSES}


@pytest.mark.slow
@pytest.mark.parametrize("is_fast", [True, False], ids=["fast", "asgi"])
async def test_path_is_split_first_and_decoded_then(is_fast):
    """An escaped slash belongs to a name; outside of a name it is no path."""
    built = service.build(
        settings(), clock=lambda: START, engine=MemoryEngine(clock=lambda: START)
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(built.run)
        async with serving(built.app, built.fastpath if is_fast else None) as served:
            outcomes = Outcomes(served.port)
            assert NAMES == await outcomes.names()
            assert BAD_NAMES == await outcomes.reasons()
            assert STATUSES == await outcomes.statuses()
        nursery.cancel_scope.cancel()


async def test_gauge_of_a_name_with_slashes_is_left_alone(autojump_clock, world):
    """`DELETE /v1/users/bob%2Fgauges%2Fdm` deletes that user, and no gauge of bob."""
    gauge = b'{"count": 3, "source_version": 1}'
    path = "/v1/users/bob/gauges/dm"
    await world.producer.request("PUT", path, body=gauge)
    escaped = await world.producer.request("DELETE", "/v1/users/bob%2Fgauges%2Fdm")

    assert "bob/gauges/dm" == json.loads(escaped.body)["user"]
    assert 3 == (await world.badge("bob"))["unread"]


async def handler(request):
    raise NotImplementedError


ROUTES = [
    Route("GET", "/a", handler),
    Route("POST", "/a", handler),
    Route("PUT", "/a/{x}", handler),
    Route("GET", "/a/b", handler),
    Route("GET", "/a/{x}/c/{y}", handler),
]


@pytest.mark.parametrize(
    ("method", "path", "route", "params"),
    [
        ("GET", b"/a", 0, {}),
        ("HEAD", b"/a", 0, {}),
        ("POST", b"/a", 1, {}),
        ("PUT", b"/a/z", 2, {"x": "z"}),
        ("GET", b"/a/b", 3, {}),
        ("GET", b"/a/b/c/d", 4, {"x": "b", "y": "d"}),
        ("GET", b"/a/%2F/c/%2E", 4, {"x": "/", "y": "."}),
    ],
)
def test_match_has_the_route_and_its_parameters(method, path, route, params):
    """A path without parameters comes first."""
    match = Router(ROUTES).match(method, path)

    assert (ROUTES[route], params) == (match.route, match.params)


@pytest.mark.parametrize("mount", ["/m/n", "/m/n/"])
@pytest.mark.parametrize(
    ("path", "is_found"),
    [
        (b"/m/n/a", True),
        (b"/m/%6E/a", True),
        (b"http://x/m/n/a", True),
        (b"/a", False),
        (b"/m/a", False),
        (b"/m%2Fn/a", False),
        (b"/m//n/a", False),
        (b"/m/n//a", False),
        (b"/m/na", False),
    ],
)
def test_mounted_application_has_its_routes_below_its_path(mount, path, is_found):
    """ASGI: the raw path includes `root_path`, with or without a slash at the end."""
    router = Router(ROUTES)
    if is_found:
        assert ROUTES[0] == router.match("GET", path, mounted_at=mount).route
    else:
        with pytest.raises(Problem):
            router.match("GET", path, mounted_at=mount)


def test_root_is_no_mount():
    """Some servers write a slash for no `root_path`."""
    assert ROUTES[0] == Router(ROUTES).match("GET", b"/a", mounted_at="/").route


@pytest.mark.parametrize(
    ("method", "path", "problem", "allow"),
    [
        ("PUT", b"/a", "method-not-allowed", "GET, HEAD, POST"),
        ("GET", b"/a/z", "method-not-allowed", "PUT"),
        ("PUT", b"/a/b", "method-not-allowed", "GET, HEAD"),
        ("get", b"/a", "method-not-allowed", "GET, HEAD, POST"),
        ("GET", b"/a/z/c", "not-found", None),
        ("GET", b"/b", "not-found", None),
        ("GET", b"", "not-found", None),
    ],
)
def test_other_requests_raise_a_problem(method, path, problem, allow):
    """A 405 lists the methods of its path."""
    with pytest.raises(Problem) as caught:
        Router(ROUTES).match(method, path)

    assert (problem, allow) == (caught.value.name, caught.value.headers.get("Allow"))


async def test_options_of_the_server_has_every_method(autojump_clock, world):
    """`OPTIONS *` asks for the server's methods (RFC 9110 9.3.7)."""
    answer = await world.anonymous.request("OPTIONS", "*")

    assert (200, b"") == (answer.status, answer.body)
    assert "OPTIONS, HEAD, DELETE, GET, POST, PUT" == answer.headers["allow"]
