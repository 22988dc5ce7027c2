"""A mailbox that the engine cannot decode: its user is 503, other users are served."""

from __future__ import annotations

import json

import pytest

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service.domain.operations import DeleteUser
from roundel_service.engines.damage import DAMAGED, DamageLog
from roundel_service.engines.memory import MemoryEngine
from support.service import (
    RunningService,
    body,
    data,
    post,
    remaining_events,
    settings,
    wall_clock,
)


class DamagedEngine:
    """A memory engine in which the mailboxes of *damaged* cannot be decoded."""

    def __init__(self, *damaged: str) -> None:
        self._engine = MemoryEngine(clock=wall_clock)
        self._damage = DamageLog()
        self.damaged = {*damaged}

    async def read(self, user):
        if user in self.damaged:
            raise self._damage.record(user, ValueError("garbled"))
        return await self._engine.read(user)

    async def apply(self, work):
        self.damaged -= {user for user, op in work if isinstance(op, DeleteUser)}
        return [
            self._damage.record(user, ValueError("garbled"))
            if user in self.damaged
            else (await self._engine.apply([(user, operation)]))[0]
            for user, operation in work
        ]

    def __getattr__(self, name):
        return getattr(self._engine, name)


@pytest.fixture
async def world(nursery) -> RunningService:
    engine = DamagedEngine("alice", "#t")
    built = service.build(settings(), clock=wall_clock, engine=engine)
    await nursery.start(built.run)
    return RunningService(built, AsgiClient(built.app))


NOTE = {"to": {"user": "alice"}, "title": "x"}
BOTH = {"to": {"users": ["alice", "bob"]}, "title": "x"}
OF_THE_USER = [
    ("GET", "/v1/badge", None),
    ("GET", "/v1/items", None),
    ("POST", "/v1/ops", {"op_id": "o", "ops": [{"read": []}]}),
]
OF_A_PRODUCER = [
    ("POST", "/v1/notify", NOTE),
    ("DELETE", "/v1/items?source=s&user=alice", None),
    ("PUT", "/v1/users/alice/gauges/g", {"count": 1, "source_version": 1}),
    ("GET", "/v1/users/alice/badge", None),
    ("GET", "/v1/users/alice/explain", None),
]


@pytest.mark.parametrize(("method", "path", "document"), OF_THE_USER + OF_A_PRODUCER)
async def test_calls_are_503(autojump_clock, world, method, path, document):
    """Every call that needs the damaged mailbox says that it is damaged."""
    by_user = (method, path, document) in OF_THE_USER
    client = world.user() if by_user else world.producer
    content = b"" if document is None else json.dumps(document).encode()
    answer = await client.request(method, path, body=content)
    problem = body(answer, 503)

    assert "urn:roundel:problem:mailbox-damaged" == problem["type"]
    assert DAMAGED == problem["detail"]
    assert "60" == answer.headers["retry-after"]


async def test_other_recipients_get_their_results(autojump_clock, world):
    """The recipient with the damaged mailbox has a problem in its result."""
    alice, bob = body(await post(world.producer, "/v1/notify", BOTH))["results"]

    assert ("alice", 503) == (alice["user"], alice["problem"]["status"])
    assert ("bob", 1) == (bob["user"], bob["badge"]["unread"])


async def test_stream_is_asked_to_reconnect_later(autojump_clock, world):
    """A browser does not reconnect after a 503, so the response is a 200."""
    async with world.user().stream("/v1/stream") as stream:
        (bye,) = await remaining_events(stream)

    assert (200, "shed") == (stream.status, data(bye)["reason"])


async def test_deleting_the_user_ends_the_damage(autojump_clock, world):
    """`DELETE /v1/users/{user}` replaces the damaged mailbox by an empty one."""
    body(await world.producer.request("DELETE", "/v1/users/alice"))
    result = await world.notify()

    assert 1 == result["badge"]["unread"]


async def test_deleting_a_topic_ends_its_damage(autojump_clock, world):
    """`DELETE /v1/topics/{topic}` replaces the damaged topic by an empty one."""
    to_topic = {"to": {"topic": "t"}, "title": "x"}
    refused = body(await post(world.producer, "/v1/notify", to_topic), 503)
    deleted = body(await world.producer.request("DELETE", "/v1/topics/t"))
    (published,) = body(await post(world.producer, "/v1/notify", to_topic))["results"]

    assert "DELETE /v1/users/{user} or /v1/topics/{topic}" in refused["detail"]
    assert (0, 0, 0) == (deleted["removed"], deleted["waiting"], deleted["v"])
    assert (deleted["epoch"], 1) == (published["epoch"], published["v"])
