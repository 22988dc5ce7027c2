"""Every allowed user name works, on every engine, with and without the fast path.

Each example takes several names that are easily confused, such as a name and its own
percent-encoded form. Every call is made for every name. A name that became another
anywhere would change the numbers of the other.
"""

from __future__ import annotations

import json
import secrets
import unicodedata
from functools import partial
from urllib.parse import quote

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from roundel import Parser
from roundel_service import app as service
from roundel_service.domain.names import check_user_name
from roundel_service.domain.record import RecordLimits
from roundel_service.testing import Setup
from roundel_service.testing.environment import Clock
from support import service as running
from support.engines import ENGINES, memory, redis, sqlite, store_urls, valkey
from support.server import serving

__all__ = ["memory", "redis", "sqlite", "store_urls", "valkey"]  # Fixtures.

pytestmark = pytest.mark.slow

# What has a meaning in paths, queries, keys, patterns, cursors, logs or JSON.
SPECIAL = "/%#?&=+;:.~-_|{}[]()*\\\"'<>@, \u2028\u0301e\u00e9\ufffd\ufeff\u202e"
letters = st.sampled_from(SPECIAL) | st.characters(exclude_categories=["Cs", "Cc"])
texts = (
    st.text(letters, min_size=1, max_size=12)
    | st.text(letters, min_size=100, max_size=255)
    | st.sampled_from(
        [".", "..", "a/gauges/b", "null", "%00", "%2F", "\U0010ffff" * 128]
    )
)


def confusable(name: str) -> list[str]:
    """Return valid names that some step may take for *name*, and *name*."""
    variants = [
        *(name, quote(name, safe=""), f"{name}/", f"/{name}", name.upper()),
        *(unicodedata.normalize(form, name) for form in ("NFC", "NFD", "NFKC")),
        *(name.split("/")[0], name.split("\u2028")[0], name.strip("\ufeff")),
    ]
    return [n for n in dict.fromkeys(variants) if check_user_name(n) is None][:4]


examples = texts.filter(lambda name: check_user_name(name) is None).map(confusable)


class Calls:
    """Calls a service over sockets."""

    def __init__(self, port, authenticator, clock):
        self._port = port
        self._authenticator = authenticator
        self.clock = clock
        self._tokens = {}

    async def _connect(self, method, target, bearer, body=b"", *fields):
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        credential = [f"Authorization: Bearer {bearer}"] if bearer else []
        head = [
            f"{method} {target} HTTP/1.1",
            *("Host: x", f"Content-Length: {len(body)}", "Connection: close"),
            *credential,
            *fields,
        ]
        await stream.send_all("\r\n".join([*head, "", ""]).encode("ascii") + body)
        return stream

    async def _call(self, method, target, bearer, document=None):
        body = b"" if document is None else json.dumps(document).encode()
        received = b""
        async with await self._connect(method, target, bearer, body) as stream:
            async for chunk in stream:
                received += chunk
        head, _, content = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(content)

    async def producer(self, method, target, document=None):
        """Return the document of a producer's call."""
        status, answer = await self._call(method, target, running.KEY, document)
        assert status == 200, answer
        return answer

    async def of(self, method, name, rest="", document=None):
        """Return the document of a producer's call about one user."""
        target = f"/v1/users/{quote(name, safe='')}{rest}"
        return await self.producer(method, target, document)

    async def user(self, name, target):
        """Return status and document of a call of the user."""
        if name not in self._tokens:
            self._tokens[name] = self._authenticator.sign(name, ttl=60)
        return await self._call("GET", target, self._tokens[name])

    async def stream(self, target, cursor=""):
        """Open a stream; return its hello and the last event id."""
        fields = [f"Last-Event-ID: {cursor}"] if cursor else []
        parser, events = Parser(), []
        stream = await self._connect("GET", target, None, b"", *fields)
        async with stream:
            received = b""
            while b"\r\n\r\n" not in received:
                received += await stream.receive_some()
            head, _, rest = received.partition(b"\r\n\r\n")
            assert b"200" == head.split()[1], received
            while True:
                # Sizes of chunks are no fields of an event.
                events += parser.receive_data(rest)
                if len(events) > 1 or (cursor and events):
                    return json.loads(events[0].data), parser.last_event_id
                rest = await stream.receive_some()


async def check_calls(calls: Calls, names: list[str]) -> None:
    """Make every call for every name."""
    note = {"to": {"users": names}, "title": "Hello", "source": "s"}
    results = (await calls.producer("POST", "/v1/notify", note))["results"]
    assert names == [result["user"] for result in results]
    counts = {name: 10 * number for number, name in enumerate(names, 1)}
    for name, count in counts.items():
        gauge = {"count": count, "source_version": 1}
        await calls.of("PUT", name, "/gauges/mail", gauge)
    for name, count in counts.items():
        badge = await calls.of("GET", name, "/badge")
        assert (1 + count, {"default", "mail"}) == (badge["unread"], {*badge["by"]})
        assert (200, badge) == await calls.user(name, "/v1/badge")
        status, items = await calls.user(name, "/v1/items")
        assert (200, 1) == (status, len(items["items"]))
        explained = await calls.of("GET", name, "/explain")
        assert [1, 1] == [len(explained["counted"]), len(explained["gauges"])]
        ticket = await calls.producer("POST", "/v1/tickets", {"user": name})
        hello, cursor = await calls.stream(ticket["url"])
        assert badge["epoch"] == hello["epoch"]
        hello, _ = await calls.stream(ticket["url"], cursor)
        assert ("current", badge["epoch"]) == (hello["resume"], hello["epoch"])
    await check_ends(calls, names)


async def check_ends(calls: Calls, names: list[str]) -> None:
    """Retract from, revoke and forget one user after another."""
    calls.clock.now += 5.0
    for number, name in enumerate(names):
        query = f"source=s&user={quote(name, safe='')}"
        retracted = await calls.producer("DELETE", f"/v1/items?{query}")
        assert {"removed": 1, "users": 1, "topics": 0, "waiting": 0} == retracted
        revoked = await calls.of("POST", name, "/disconnect", {"revoke": True})
        assert name == revoked["user"]
        assert 401 == (await calls.user(name, "/v1/badge"))[0]
        assert name == (await calls.of("DELETE", name))["user"]
        for other in names[number + 1 :]:
            assert 200 == (await calls.user(other, "/v1/badge"))[0]
    for name in names:
        assert 0 == (await calls.of("GET", name, "/badge"))["unread"]


async def check_names(make_engine, is_fast, names) -> None:
    """Serve a new store, and check *names* in it."""
    clock = Clock(running.START)
    setup = Setup(name=secrets.token_hex(8), clock=clock, limits=RecordLimits())
    engine = make_engine(setup)
    built = service.build(running.settings(), clock=clock, engine=engine)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(built.run)
            fastpath = built.fastpath if is_fast else None
            async with serving(built.app, fastpath) as served:
                calls = Calls(served.port, built.authenticator, clock)
                await check_calls(calls, names)
                found = await engine.users(None, 99)
                built.hub.drain()
            nursery.cancel_scope.cancel()
    assert sorted(names) == sorted(found)


@pytest.mark.parametrize("is_fast", [True, False], ids=["fast", "asgi"])
@pytest.mark.parametrize("name", ENGINES)
def test_names_that_are_confused_stay_apart(name, is_fast, request):
    """All calls reach the user of exactly this name, and no other."""
    make_engine = request.getfixturevalue(name)

    @settings(max_examples=10, deadline=None)
    @given(examples)
    def check(names: list[str]) -> None:
        trio.run(partial(check_names, make_engine, is_fast, names))

    check()
