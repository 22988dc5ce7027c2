"""A service in memory, on virtual time, and who talks to it."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio

from roundel import Event
from roundel_adapters.testing import Answer, AsgiClient
from roundel_service import config, service

KEY = "a-producer-key"
SECRET = "a-secret-of-more-than-32-bytes-for-tests"
START = 1_763_690_000.0


def wall_clock() -> float:
    """Seconds since 1970, on the tests' own time."""
    return START + trio.current_time()


@attrs.frozen
class World:
    """A running service and clients of every role."""

    service: service.Service
    anybody: AsgiClient

    @property
    def producer(self) -> AsgiClient:
        return self.anybody({"Authorization": f"Bearer {KEY}"})

    def user(self, name: str = "alice", ttl: float = 86_400) -> AsgiClient:
        token = self.service.gate.sign(name, ttl=ttl)
        return self.anybody({"Authorization": f"Bearer {token}"})

    async def notify(self, user: str = "alice", **fields: Any) -> dict[str, Any]:
        """Put one notification in and return the result for its user."""
        request = {"to": {"user": user}, "title": "Hello", **fields}
        answer = await post(self.producer, "/v1/notify", request)
        return body(answer)["results"][0]

    async def do(self, user: str = "alice", **op: Any) -> dict[str, Any]:
        """Do one operation as the user and return the answer."""
        op_id = f"op-{trio.current_time()}-{op}"[:128]
        request = {"op_id": op_id, "ops": [op]}
        return body(await post(self.user(user), "/v1/ops", request))

    async def badge(self, user: str = "alice") -> dict[str, Any]:
        return body(await self.user(user).request("GET", "/v1/badge"))


async def post(client: AsgiClient, target: str, document: object, **headers: str):
    content = json.dumps(document).encode()
    return await client.request("POST", target, body=content, headers=headers)


def body(answer: Answer, status: int = 200) -> Any:
    """Return the JSON of an answer that must have this status."""
    assert answer.status == status, answer.body.decode()
    return json.loads(answer.body)


def data(event: Event | None) -> Any:
    """Return the JSON of an event that must be there."""
    assert event is not None, "the stream has ended"
    assert "\n" not in event.data
    return json.loads(event.data)


def settings(**changes: str) -> config.Settings:
    given = {"producer_keys": KEY, "jwt_secret": SECRET, **changes}
    return config.load(given, {})


@pytest.fixture
async def make_world(nursery):
    """Make a service, with some settings changed."""

    def make(**changes: str) -> World:
        built = service.build(settings(**changes), clock=wall_clock)
        nursery.start_soon(built.run)
        return World(built, AsgiClient(built.app))

    return make


@pytest.fixture
async def world(make_world) -> World:
    """Make a service with the default settings."""
    return make_world()
