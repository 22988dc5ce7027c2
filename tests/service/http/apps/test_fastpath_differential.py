"""Each request gets the same response with the fast path and without it.

A case is sent over a real socket to two services: one that has a fast path, and one
that serves everything by ASGI. Compared are the status code, the header fields, the
body, and whether the connection serves another request. Allowed differences are:

- the reason phrase, which ASGI does not send;
- the order and the case of the field names, and the sizes of chunks;
- ``Connection: close``, which only the fast path sends with an event stream;
- the time, and what is random: identifiers and the age limit of a stream.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from itertools import pairwise

import attrs
import pytest
import trio

from roundel_service import app as service
from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.memory import MemoryEngine
from roundel_service.http.handlers.web import web_routes
from roundel_service.http.messages import MAX_TARGET
from roundel_service.http.openapi import pages
from roundel_service.http.problems import Problem
from support.comparable_client import ComparableClient
from support.server import serving
from support.service import KEY, START, settings

pytestmark = pytest.mark.slow

TOKEN = service.build(settings(), clock=lambda: START).authenticator.sign(
    "alice", ttl=86_400
)
PRODUCER = f"Authorization: Bearer {KEY}"
USER = f"Authorization: Bearer {TOKEN}"
COOKIE = f"Cookie: theme=dark; roundel={TOKEN}"


@attrs.frozen
class Send:
    """Bytes to send, and how many responses to read then.

    Of an endless body, *events* events are read and the rest is left.
    """

    data: bytes
    responses: int = 1
    events: int | None = None
    method: str = "GET"


@attrs.frozen
class Case:
    """What is sent on one connection, and whether the fast path serves any of it."""

    sends: tuple[Send, ...]
    is_fast: bool
    settings: dict[str, str] = attrs.field(factory=dict)
    error: Exception | None = None


def request(target, *fields, method="GET", body=b"", version="1.1", host="Host: x"):
    """Return a request as bytes."""
    lines = [f"{method} {target} HTTP/{version}", host, *fields]
    head = "".join(f"{line}\r\n" for line in lines if line)
    return f"{head}\r\n".encode("latin-1") + body


def call(method, target, document, *fields):
    """Return a request with a JSON body."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    length = f"Content-Length: {len(body)}"
    return request(target, length, *fields, method=method, body=body)


def notify(title="Hello", *fields):
    document = {"to": {"user": "alice"}, "title": title}
    return call("POST", "/v1/notify", document, PRODUCER, *fields)


def fast(*sends, **options):
    return _case(sends, is_fast=True, **options)


def asgi(*sends, **options):
    return _case(sends, is_fast=False, **options)


def _case(sends, **options):
    made = tuple(each if isinstance(each, Send) else Send(each) for each in sends)
    return Case(made, **options)


def packets(data, *ends):
    """Send *data* in packets that end at *ends*, and read one response."""
    places = [0, *ends, len(data)]
    parts = [data[a:b] for a, b in pairwise(places)]
    return [*(Send(part, responses=0) for part in parts[:-1]), Send(parts[-1])]


def chunked(body):
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


TO_ALL = {"to": {"all": True}, "title": "Hello"}
BATCH = b"".join(
    json.dumps({"to": {"user": user}, "title": "Hello"}).encode() + b"\n"
    for user in ("alice", "bob", "")
)
UPDATE = {"to": {"user": "alice"}, "source": "s", "set": {"title": "Bye"}}
GAUGE = "/v1/users/alice/gauges/mail"
MUTED = {"muted": {"categories": ["news"]}}
OP = {"op_id": "o", "ops": [{"read_upto": 1}]}
CORS = {"cors_origins": "https://page.example"}
LIVE = request("/livez")

ROUTES = {
    "notify": fast(notify()),
    "notify-twice": fast(notify(), notify("Again")),
    "notify-key": fast(*[notify("Hello", "Idempotency-Key: k")] * 2),
    "batch": fast(call("POST", "/v1/batch", BATCH, PRODUCER)),
    "batch-empty": fast(call("POST", "/v1/batch", b"", PRODUCER)),
    "update": fast(notify(), call("POST", "/v1/update", UPDATE, PRODUCER)),
    "retract": fast(notify(), request("/v1/items?source=s", PRODUCER, method="DELETE")),
    "set-gauge": fast(call("PUT", GAUGE, {"count": 3, "source_version": 1}, PRODUCER)),
    "drop-gauge": fast(request(GAUGE, PRODUCER, method="DELETE")),
    "badge-of-user": fast(notify(), request("/v1/users/alice/badge", PRODUCER)),
    "notify-topic": fast(call("POST", "/v1/notify", TO_ALL, PRODUCER)),
    "topic": fast(
        call("POST", "/v1/notify", TO_ALL, PRODUCER),
        request("/v1/topics/all?limit=1", PRODUCER),
        request("/v1/topics/all/explain", PRODUCER),
        request("/v1/topics/all", PRODUCER, method="DELETE"),
    ),
    "followers": fast(
        call("POST", "/v1/topics/team-7/followers", {"add": ["alice"]}, PRODUCER),
        request("/v1/users/alice/topics", PRODUCER),
    ),
    "items-of-user": fast(
        notify(), request("/v1/users/alice/items?state=scheduled", PRODUCER)
    ),
    "streams-of-user": fast(request("/v1/users/alice/streams", PRODUCER)),
    "explain": fast(notify(), request("/v1/users/alice/explain", PRODUCER)),
    "disconnect": fast(
        call("POST", "/v1/users/alice/disconnect", {"revoke": True}, PRODUCER),
        request("/v1/badge", USER),
    ),
    "delete-user": fast(request("/v1/users/alice", PRODUCER, method="DELETE")),
    "ticket": fast(call("POST", "/v1/tickets", {"user": "alice"}, PRODUCER)),
    "badge": fast(notify(), request("/v1/badge", USER)),
    "badge-cookie": fast(request("/v1/badge", COOKIE)),
    "items": fast(notify(), request("/v1/items?state=all&limit=5", USER)),
    "ops": fast(notify(), call("POST", "/v1/ops", OP, USER)),
    "badge-filtered": fast(notify(), request("/v1/badge?categories=default", USER)),
    "preferences": fast(
        call("PUT", "/v1/preferences", MUTED, USER), request("/v1/preferences", USER)
    ),
    "preferences-of-user": fast(
        call("PUT", "/v1/users/alice/preferences", MUTED, PRODUCER),
        request("/v1/users/alice/preferences", PRODUCER),
    ),
    "livez": fast(LIVE),
    "stream": fast(Send(request("/v1/stream", USER), events=2)),
    "stream-items": fast(
        notify(), Send(request("/v1/stream?level=items", COOKIE), events=2)
    ),
    "stream-accept": fast(
        Send(request("/v1/stream", USER, "Accept: text/event-stream"), events=2)
    ),
    "long-poll": asgi(request("/v1/badge?wait=1", USER)),
    "request-id": fast(request("/livez", "X-Request-Id: mine")),
    "request-id-bad": fast(request("/livez", "X-Request-Id: not mine")),
    "cors": fast(request("/livez", "Origin: https://page.example"), settings=CORS),
    "cors-other": fast(request("/livez", "Origin: https://y.example"), settings=CORS),
    "preflight": asgi(
        request("/v1/ops", "Origin: https://page.example", method="OPTIONS"),
        settings=CORS,
    ),
}

PROBLEMS = {
    "no-token": fast(request("/v1/badge")),
    "no-token-post": fast(call("POST", "/v1/notify", {}, "X: y")),
    "bad-token": fast(request("/v1/badge", "Authorization: Bearer x.y.z")),
    "two-tokens": fast(request("/v1/badge", USER, USER)),
    "two-cookies": fast(request("/v1/badge", COOKIE, COOKIE)),
    "cookie-not-ascii": fast(request("/v1/badge", f'Cookie: a="é"; roundel={TOKEN}')),
    "wrong-role": fast(request("/v1/users/alice/badge", USER)),
    "foreign-write": fast(
        call("POST", "/v1/ops", OP, COOKIE, "Origin: https://y.example")
    ),
    "cross-site-write": fast(
        call("POST", "/v1/ops", OP, COOKIE, "Sec-Fetch-Site: cross-site")
    ),
    "same-origin-write": fast(
        call("POST", "/v1/ops", OP, COOKIE, "Sec-Fetch-Site: same-origin")
    ),
    "basic-and-cookie": fast(request("/v1/badge", COOKIE, "Authorization: Basic eA==")),
    "cookies-of-one-user": fast(
        request("/v1/badge", f'Cookie: roundel="{TOKEN}"; roundel=x')
    ),
    "own-write": fast(call("POST", "/v1/ops", OP, COOKIE, "Origin: https://x")),
    "not-json": fast(call("POST", "/v1/notify", b"{", PRODUCER)),
    "not-utf-8": fast(call("POST", "/v1/notify", b'{"title":"\xff"}', PRODUCER)),
    "invalid-fields": fast(call("POST", "/v1/notify", {"titel": 1}, PRODUCER)),
    "item-too-large": fast(notify("x" * 9_000)),
    "key-reused": fast(
        notify("One", "Idempotency-Key: k"), notify("Two", "Idempotency-Key: k")
    ),
    "two-keys": fast(notify("One", "Idempotency-Key: a", "Idempotency-Key: b")),
    "unknown-parameter": fast(request("/v1/badge?x=1", USER)),
    "repeated-parameter": fast(request("/v1/items?limit=1&limit=2", USER)),
    "escaped-query": fast(request("/v1/items?category=a%20b&state=%61ll", USER)),
    "query-not-utf-8": fast(request("/v1/items?category=%FF", USER)),
    "query-raw-latin-1": asgi(request("/v1/items?category=é", USER)),
    "query-raw-utf-8": asgi(request("/v1/items?category=Ã©", USER)),
    "query-malformed": fast(request("/v1/items?category=%zz&%=1", USER)),
    "query-plus": fast(request("/v1/items?category=a+b", USER)),
    "too-many-parameters": fast(request(f"/v1/items?{'a=1&' * 30}", USER)),
    "not-acceptable": fast(request("/v1/stream", USER, "Accept: text/html")),
    "used-up-rate": fast(
        *[request("/v1/badge", USER)] * 3, settings={"user_rate": "1e-18"}
    ),
    "body-with-get": fast(call("GET", "/v1/badge", b"x", USER)),
    "unavailable": fast(notify(), error=EngineUnavailable("no answer")),
    "unavailable-read": fast(
        request("/v1/users/alice/badge", PRODUCER), error=EngineUnavailable("no")
    ),
    "unavailable-stream": fast(
        request("/v1/stream", USER), error=EngineUnavailable("no answer")
    ),
    "exception": fast(
        request("/v1/users/alice/badge", PRODUCER), error=RuntimeError("a bug")
    ),
    "no-route": asgi(request("/nowhere")),
    "no-method": asgi(request("/v1/badge", method="POST")),
    "lower-case-method": asgi(request("/v1/badge", USER, method="get")),
    "query-too-long": fast(request(f"/v1/items?category={'x' * 8_200}", USER)),
    "query-at-the-limit": fast(request(f"/v1/badge?{'x' * 8_192}", USER)),
    "query-above-the-limit": fast(request(f"/v1/badge?{'x' * 8_193}", USER)),
    "query-of-a-poll": asgi(request(f"/v1/badge?wait=0&{'x' * 8_190}", USER)),
    "query-long": fast(request(f"/v1/items?category={'x' * 8_000}", USER)),
    "body-too-large": asgi(
        request("/v1/notify", PRODUCER, "Content-Length: 2000000", method="POST")
    ),
}

PATHS = {
    "head": asgi(Send(request("/livez", method="HEAD"), method="HEAD")),
    "head-no-token": asgi(Send(request("/v1/badge", method="HEAD"), method="HEAD")),
    "options": asgi(request("/v1/badge", method="OPTIONS")),
    "escaped-letter": fast(request("/v1/badg%65", USER)),
    "escaped-space": fast(request("/v1/users/a%20b/badge", PRODUCER)),
    "escaped-slash": fast(request("/v1/users/a%2Fb/badge", PRODUCER)),
    "escaped-non-ascii": fast(request("/v1/users/%C3%A9/badge", PRODUCER)),
    "raw-non-ascii": asgi(request("/v1/users/é/badge", PRODUCER)),
    "plus": fast(request("/v1/users/a+b/badge", PRODUCER)),
    "at-sign": fast(request("/v1/users/a@x.example/badge", PRODUCER)),
    "semicolon": fast(request("/v1/users/a;b/badge", PRODUCER)),
    "name-too-long": fast(request(f"/v1/users/{'x' * 300}/badge", PRODUCER)),
    "empty-segment": asgi(request("/v1/users//badge", PRODUCER)),
    "double-slash": asgi(request("//v1/badge", USER)),
    "trailing-slash": asgi(request("/v1/badge/", USER)),
    "dot-segment": asgi(request("/v1/./badge", USER)),
    "fragment": asgi(request("/livez#x")),
    "empty-query": fast(request("/livez?")),
    "two-question-marks": fast(request("/v1/items??limit=1", USER)),
    "asterisk": asgi(request("*", method="OPTIONS")),
    "absolute-form": fast(request("http://x/livez")),
    "absolute-form-other-host": fast(request("http://y/livez")),
    "target-too-long": asgi(request(f"/v1/users/{'x' * 13_000}/badge", PRODUCER)),
    "long-path": fast(request(f"/v1/users/{'x' * 9_000}/badge", PRODUCER)),
}

FRAMING = {
    "close": fast(request("/livez", "Connection: close")),
    "close-upper-case": fast(request("/livez", "connection: CLOSE")),
    "close-in-a-list": fast(request("/livez", "Connection: x, close")),
    "keep-alive": fast(request("/livez", "Connection: keep-alive")),
    "http-1.0": asgi(request("/livez", version="1.0")),
    "http-1.0-keep-alive": asgi(
        request("/livez", "Connection: keep-alive", version="1.0")
    ),
    "http-1.0-stream": asgi(request("/v1/stream", version="1.0")),
    "http-2.0": asgi(request("/livez", version="2.0")),
    "no-host": asgi(request("/livez", host="")),
    "two-hosts": asgi(request("/livez", "Host: x")),
    "host-with-space": asgi(request("/livez", host="Host: a b")),
    "host-with-user": asgi(request("/livez", host="Host: u@x")),
    "host-with-two-ports": asgi(request("/livez", host="Host: x:1:2")),
    "host-with-escape": asgi(request("/livez", host="Host: x%41")),
    "host-ipv6": fast(request("/livez", host="Host: [::1]:80")),
    "http-9.9": asgi(request("/livez", version="9.9")),
    "close-post-crlf": asgi(notify("Hello", "Connection: close") + b"\r\n"),
    "http-1.0-post-crlf": asgi(
        notify().replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n"
    ),
    "two-leading-crlf": asgi(b"\r\n\r\n" + LIVE),
    "crlf-between": asgi(Send(notify() + b"\r\n" + LIVE, responses=2)),
    "empty-host": fast(request("/livez", host="Host:")),
    "bare-lf": asgi(LIVE.replace(b"\r\n", b"\n")),
    "bare-cr": asgi(LIVE.replace(b"Host: x", b"Host: x\rX: y")),
    "obs-fold": asgi(request("/livez", "X: a\r\n b")),
    "space-before-colon": asgi(request("/livez", "X : a")),
    "no-colon": asgi(request("/livez", "X")),
    "nul": asgi(request("/livez", "X: a\0b")),
    "name-not-a-token": asgi(request("/livez", "(X): a")),
    "value-latin-1": fast(request("/livez", "X: é")),
    "value-with-spaces": fast(request("/livez", "X-Request-Id: \t a \t")),
    "two-spaces-in-line": asgi(LIVE.replace(b"GET ", b"GET  ")),
    "leading-crlf": asgi(b"\r\n" + LIVE),
    "length-plus": asgi(request("/livez", "Content-Length: +0")),
    "length-minus": asgi(request("/livez", "Content-Length: -1")),
    "length-hex": asgi(request("/livez", "Content-Length: 0x1")),
    "length-empty": asgi(request("/livez", "Content-Length:")),
    "length-list": asgi(request("/livez", "Content-Length: 0, 0")),
    "length-zero": fast(request("/livez", "Content-Length: 0")),
    "length-zeros": fast(notify().replace(b"Content-Length: ", b"Content-Length: 00")),
    "length-huge": asgi(request("/livez", f"Content-Length: {'9' * 30}")),
    "lengths-equal": asgi(request("/livez", *["Content-Length: 0"] * 2)),
    "lengths-differ": asgi(request("/livez", "Content-Length: 0", "Content-Length: 1")),
    "length-and-chunked": asgi(
        request(
            "/v1/notify",
            PRODUCER,
            "Content-Length: 3",
            "Transfer-Encoding: chunked",
            method="POST",
            body=b"0\r\n\r\n",
        )
    ),
    "chunked": asgi(
        request(
            "/v1/batch",
            PRODUCER,
            "Transfer-Encoding: chunked",
            method="POST",
            body=chunked(BATCH),
        )
    ),
    "chunked-malformed": asgi(
        request(
            "/v1/notify",
            PRODUCER,
            "Transfer-Encoding: chunked",
            method="POST",
            body=b"zz\r\n",
        )
    ),
    "gzip": asgi(request("/livez", "Transfer-Encoding: gzip")),
    "expect": asgi(
        Send(request("/v1/notify", PRODUCER, "Expect: 100-continue",
                     "Content-Length: 2", method="POST"), responses=0),
        Send(b"{}"),
    ),
    "expect-unknown": asgi(request("/livez", "Expect: x")),
    "upgrade-h2c": asgi(request("/livez", "Upgrade: x", "Connection: Upgrade")),
    "head-too-long": asgi(request("/livez", f"X: {'x' * 20_000}")),
    "head-long": fast(request("/livez", f"X: {'x' * 15_000}")),
    "many-fields": fast(request("/livez", *[f"X{n}: y" for n in range(300)])),
    "pipelined": asgi(Send(LIVE + notify() + LIVE, responses=3)),
    "pipelined-close": asgi(
        Send(request("/livez", "Connection: close") + LIVE, responses=2)
    ),
    "crlf-after-body": asgi(notify() + b"\r\n"),
    "head-in-packets": fast(*packets(LIVE, 3, 20, len(LIVE) - 1)),
    "body-in-packets": fast(*packets(notify(), notify().index(b"{"), -3)),
    "large-body": asgi(call("POST", "/v1/batch", BATCH * 1_000, PRODUCER)),
    "tls": asgi(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "not-http": asgi(b"SSH-2.0-OpenSSH\r\n\r\n"),
}  # fmt: skip

PAGES = {path: fast(request(path)) for path in (*pages(), *web_routes())}

CASES = ROUTES | PAGES | PROBLEMS | PATHS | FRAMING


class FailingEngine:
    """A memory engine whose mailboxes raise *error*."""

    def __init__(self, engine, error):
        self._engine = engine
        self._error = error

    def __getattr__(self, name):
        return getattr(self._engine, name)

    async def read(self, user):
        raise self._error

    async def apply(self, work):
        return [self._error for _ in work]


class RecordingApp:
    """A fast path that records whether it was used."""

    def __init__(self, app):
        self._app = app
        self.is_used = False

    def find_handler(self, method, path, query):
        handler = self._app.find_handler(method, path, query)
        if handler is None:
            return None

        async def recorded(headers, body):
            self.is_used = True
            return await handler(headers, body)

        return recorded


def build(case):
    """Build a service with a fixed clock and fixed epochs."""
    engine = MemoryEngine(clock=lambda: START, key=b"key")
    if case.error is not None:
        engine = FailingEngine(engine, case.error)
    return service.build(settings(**case.settings), clock=lambda: START, engine=engine)


async def responses(case, *, is_fast):
    """Return the responses of a case, and whether its connection lives on."""
    built = build(case)
    app = RecordingApp(built.fastpath)
    got = []
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(built.run)
            async with serving(
                built.app, app if is_fast else None, max_target=MAX_TARGET
            ) as served:
                stream = await trio.open_tcp_stream("127.0.0.1", served.port)
                async with stream:
                    client = ComparableClient(stream)
                    for send in case.sends:
                        await client.send(send.data)
                        for _ in range(send.responses):
                            got.append(await client.read(send.method, send.events))
                    is_used = app.is_used
                    if case.sends[-1].events is None:
                        await client.send(LIVE)
                        got.append(await client.read())
                built.hub.drain()
            nursery.cancel_scope.cancel()
    return got, is_used


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_response_is_the_same_without_the_fast_path(case):
    """Status, header fields, body, and whether the connection lives on."""
    with_fast_path, is_used = await responses(case, is_fast=True)
    without, _ = await responses(case, is_fast=False)

    assert without == with_fast_path
    assert case.is_fast == is_used


def test_every_route_has_a_case():
    """A new route has to be compared too."""
    app = service.build(settings(), clock=lambda: START).fastpath
    lines = [
        re.match(rb"([A-Z]+) ([^ ?]+)", send.data)
        for case in CASES.values()
        for send in case.sends
    ]
    requested = set()
    for line in filter(None, lines):
        with suppress(Problem):
            requested.add(app.router.match(line[1].decode(), line[2]).route)

    assert set(app.router.routes) == requested
