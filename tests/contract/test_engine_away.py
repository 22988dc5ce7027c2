"""An unavailable engine: writes are 503, streams stay open."""

from __future__ import annotations

import json

import pytest
import trio

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.memory import MemoryEngine
from support.service import (
    RunningService,
    body,
    data,
    first_events,
    post,
    settings,
    wall_clock,
)


class Away:
    """A memory engine that can be unavailable.

    A claim takes a second, as in an engine that makes it durable.
    """

    def __init__(self) -> None:
        self._engine = MemoryEngine(clock=wall_clock)
        self.is_away = False

    def _check(self) -> None:
        if self.is_away:
            raise EngineUnavailable("the store does not answer")

    async def check(self):
        self._check()

    async def read(self, user):
        self._check()
        return await self._engine.read(user)

    async def peek(self, name):
        self._check()
        return await self._engine.peek(name)

    async def apply(self, work):
        if self.is_away:
            return [EngineUnavailable("the store does not answer") for _ in work]
        return await self._engine.apply(work)

    async def holders(self, retract):
        self._check()
        return await self._engine.holders(retract)

    async def claim(self, key, value, *, ttl):
        await trio.sleep(1)
        self._check()
        return await self._engine.claim(key, value, ttl=ttl)

    def __getattr__(self, name):
        return getattr(self._engine, name)


@pytest.fixture
def engine() -> Away:
    return Away()


@pytest.fixture
async def world(nursery, engine) -> RunningService:
    built = service.build(settings(), clock=wall_clock, engine=engine)
    await nursery.start(built.run)
    return RunningService(built, AsgiClient(built.app))


NOTE = {"to": {"user": "alice"}, "title": "x"}
OPS = {"op_id": "o", "ops": [{"read": []}]}
USERS = [
    ("GET", "/v1/badge", None), ("GET", "/v1/items", None), ("POST", "/v1/ops", OPS),
    ("POST", "/v1/tickets", {}),
]  # fmt: skip
PRODUCERS = [
    ("POST", "/v1/notify", NOTE), ("DELETE", "/v1/items?source=s", None),
    ("PUT", "/v1/users/alice/gauges/g", {"count": 1, "source_version": 1}),
    ("DELETE", "/v1/users/alice/gauges/g", None),
    ("GET", "/v1/users/alice/badge", None), ("GET", "/v1/users/alice/explain", None),
    ("POST", "/v1/users/alice/disconnect", {"revoke": True}),
    ("DELETE", "/v1/users/alice", None),
]  # fmt: skip


def check(answer) -> None:
    problem = body(answer, 503)

    assert "urn:roundel:problem:engine-unavailable" == problem["type"]
    assert "the store does not answer" == problem["detail"]
    assert "2" == answer.headers["retry-after"]


@pytest.mark.parametrize(("method", "path", "document"), USERS + PRODUCERS)
async def test_calls_are_503(autojump_clock, world, engine, method, path, document):
    """Every call is 503 with `Retry-After`, and succeeds after the recovery."""
    by_user = (method, path, document) in USERS
    client = world.user() if by_user else world.producer
    content = b"" if document is None else json.dumps(document).encode()
    engine.is_away = True
    check(await client.request(method, path, body=content))
    engine.is_away = False

    assert 200 == (await client.request(method, path, body=content)).status


async def test_each_recipient_has_a_problem(autojump_clock, world, engine):
    """Of several recipients, each has its own problem, in notify and in a batch."""
    engine.is_away = True
    both = {**NOTE, "to": {"users": ["alice", "bob"]}}
    many = body(await post(world.producer, "/v1/notify", both))
    line = json.dumps(NOTE).encode()
    batch = await world.producer.request("POST", "/v1/batch", body=line)

    assert [503, 503] == [r["problem"]["status"] for r in many["results"]]
    assert 503 == json.loads(batch.body)["status"]


async def test_each_line_with_a_key_has_a_problem(autojump_clock, world, engine):
    """The key cannot be claimed: no line takes effect, and each has a problem."""
    content, key = json.dumps(NOTE).encode(), {"Idempotency-Key": "k"}
    engine.is_away = True
    batch = await world.producer.request(
        "POST", "/v1/batch", body=content + b"\n" + content, headers=key
    )
    check(await world.producer.request("POST", "/v1/notify", body=content, headers=key))

    assert [503, 503] == [json.loads(li)["status"] for li in batch.body.splitlines()]


async def test_keys_of_many_lines_are_claimed_concurrently(autojump_clock, world):
    """Two lines take as long as one."""
    began = trio.current_time()
    batch = await world.producer.request(
        "POST",
        "/v1/batch",
        body=2 * (json.dumps(NOTE).encode() + b"\n"),
        headers={"Idempotency-Key": "k"},
    )

    assert 2 == len(batch.body.splitlines())
    assert 1 == trio.current_time() - began


async def test_open_streams_stay(autojump_clock, world, engine):
    """Open streams keep their state and get the changes after the recovery."""
    async with world.user().stream("/v1/stream") as stream:
        await first_events(stream)
        engine.is_away = True
        await post(world.producer, "/v1/notify", NOTE)
        ping = await stream.next_event()
        engine.is_away = False
        await world.notify()
        badge = await stream.next_event()

    assert ("ping", 0) == (ping.type, data(ping)["v"])
    assert ("badge", 1) == (badge.type, data(badge)["unread"])


async def test_new_streams_are_asked_to_reconnect_later(autojump_clock, world, engine):
    """A browser does not reconnect after a 503, so the response is a 200."""
    engine.is_away = True
    async with world.user().stream("/v1/stream") as stream:
        bye = await stream.next_event()
        end = await stream.next_event()

    assert 200 == stream.status
    assert ("bye", "shed") == (bye.type, data(bye)["reason"])
    assert end is None


async def test_ticket_that_cannot_be_claimed(autojump_clock, world, engine):
    """The stream ends, and resumes by its own id after the recovery."""
    ticket = body(await post(world.user(), "/v1/tickets", {}))
    claim = engine.claim

    async def fail(key, value, *, ttl):
        raise EngineUnavailable("the store does not answer")

    engine.claim = fail
    async with world.anonymous.stream(ticket["url"]) as stream:
        _, state = await first_events(stream)
        bye = await stream.next_event()
    engine.claim = claim
    async with world.anonymous.stream(
        ticket["url"], headers={"Last-Event-ID": state.id}
    ) as again:
        hello = await again.next_event()

    assert ("bye", "shed") == (bye.type, data(bye)["reason"])
    assert ("hello", "current") == (hello.type, data(hello)["resume"])


async def test_readiness_has_the_reason(autojump_clock, world, engine):
    """`/readyz` has the reason, and is 200 after the recovery."""
    ready = AsgiClient(world.service.operator_app)
    engine.is_away = True
    away = await ready.request("GET", "/readyz")
    engine.is_away = False
    back = await ready.request("GET", "/readyz")

    assert {"engine": "the store does not answer"} == body(away, 503)["reasons"]
    assert 200 == back.status


async def test_service_survives_hours_without_the_engine(autojump_clock, world, engine):
    """Hours without the engine end neither the audit nor the expiry task."""
    async with world.user().stream("/v1/stream?level=items") as stream:
        await world.notify(ttl=5)
        engine.is_away = True
        await trio.sleep(300)
        engine.is_away = False
        kinds = [event.type async for event in _until(stream, "change", 2)]

    assert 2 == kinds.count("change")


async def _until(stream, kind: str, times: int):
    while times:
        event = await stream.next_event()
        times -= event.type == kind
        yield event
