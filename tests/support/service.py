"""A service in memory, on virtual time, and who talks to it."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from roundel import Event
from roundel_adapters.testing import AsgiClient, AsgiEventStream, AsgiResponse
from roundel_service import app as service
from roundel_service import settings as config

KEY = "a-producer-key"
SECRET = "a-secret-of-more-than-32-bytes-for-tests"
START = 1_763_690_000.0


def wall_clock() -> float:
    """Seconds since 1970, on the tests' own time."""
    return START + trio.current_time()


@attrs.frozen
class RunningService:
    """A running service and clients of every role."""

    service: service.Service
    anonymous: AsgiClient

    @property
    def producer(self) -> AsgiClient:
        return self.anonymous.with_headers({"Authorization": f"Bearer {KEY}"})

    def user(self, name: str = "alice", ttl: float = 86_400) -> AsgiClient:
        token = self.service.authenticator.sign(name, ttl=ttl)
        return self.anonymous.with_headers({"Authorization": f"Bearer {token}"})

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


def body(answer: AsgiResponse, status: int = 200) -> Any:
    """Return the JSON of an answer that must have this status."""
    assert answer.status == status, answer.body.decode()
    return json.loads(answer.body)


def data(event: Event | None) -> Any:
    """Return the JSON of an event that must be there."""
    assert event is not None, "the stream has ended"
    assert "\n" not in event.data
    return json.loads(event.data)


async def opened(stream: AsgiEventStream) -> tuple[Any, Event | None]:
    """Return the JSON of the hello of a stream, and its first state frame."""
    return data(await stream.next_event()), await stream.next_event()


async def frames_so_far(stream: AsgiEventStream) -> list[Event]:
    """Return the events that come without any more time or changes."""
    await trio.testing.wait_all_tasks_blocked()
    return stream.ready_events()


async def frames_to_the_end(stream: AsgiEventStream) -> list[Event]:
    """Return all events until the stream has ended."""
    events = []
    while event := await stream.next_event():
        events.append(event)
    return events


async def resumed(
    world: RunningService,
    level: str,
    cursor: str,
    *,
    query: str = "",
    user: str = "alice",
) -> tuple[str, list[Event]]:
    """Return the outcome and the state frames of a stream that presents *cursor*."""
    headers = {"Last-Event-ID": cursor}
    target = f"/v1/stream?level={level}{query}"
    async with world.user(user).stream(target, headers=headers) as stream:
        hello, *state = await frames_so_far(stream)
        return data(hello)["resume"], state


async def cursor_now(world: RunningService, user: str = "alice") -> str:
    """Return the cursor of a client that has everything."""
    return body(await world.user(user).request("GET", "/v1/items"))["cursor"]


def counted(world: RunningService, name: str, **labels: str) -> float:
    """Return a number as a scrape tells it."""
    families = text_string_to_metric_families(world.service.hub.metrics.text().decode())
    return next(
        sample.value
        for family in families
        for sample in family.samples
        if (sample.name, sample.labels) == (name, labels)
    )


class Valve:
    """An ASGI app whose peer takes no body while the valve is shut."""

    def __init__(self, world: RunningService) -> None:
        self._app = world.service.app
        self._opened = trio.Event()
        self.world = attrs.evolve(world, anonymous=AsgiClient(self))

    def shut(self) -> None:
        if self._opened.is_set():
            self._opened = trio.Event()

    def open(self) -> None:
        self._opened.set()

    async def __call__(self, scope, receive, send) -> None:
        async def slowly(message) -> None:
            if message["type"] == "http.response.body":
                await self._opened.wait()
            await send(message)

        await self._app(scope, receive, slowly)


@attrs.define
class Client:
    """A page that believes what it is told, and fails at a hole or a repetition."""

    epoch: str = ""
    v: int = -1
    items: dict = attrs.field(factory=dict)
    badge: dict = attrs.field(factory=dict)
    cursor: str = ""

    def receive(self, *events: Event) -> Client:
        for event in events:
            self._receive(event.type, data(event))
            self.cursor = event.id or self.cursor
        return self

    def _receive(self, kind: str, told: dict) -> None:
        match kind:
            case "hello" if told["resume"] == "reset":
                self._forget()
            case "reset":
                self._forget()
            case "badge":
                assert self.v < told["v"]
                self.epoch, self.v, self.badge = told["epoch"], told["v"], told
            case "snapshot":
                self.epoch, self.v, self.badge = told["epoch"], told["v"], told["badge"]
                self.items = {item["id"]: item for item in told["items"]}
            case "change":
                assert (self.epoch, self.v) == (told["epoch"], told["from"])
                self.v, self.badge = told["v"], told["badge"]
                for op in told["ops"]:
                    self._change(op)
            case "ping":
                assert told["v"] <= self.v

    def _forget(self) -> None:
        self.v = -1
        self.items.clear()

    def _change(self, op: dict) -> None:
        match op:
            case {"add": item}:
                assert item["id"] not in self.items
                self.items[item["id"]] = item
            case {"set": ids, **flags}:
                for item_id in ids:
                    self.items[item_id].update(flags)
            case {"remove": ids}:
                for item_id in ids:
                    del self.items[item_id]

    @property
    def unread(self) -> int:
        return sum(
            not (item["read"] or item["archived"]) for item in self.items.values()
        )


class LateEngine:
    """An engine elsewhere: an answer may be out of date by the time it comes."""

    def __init__(self, engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str):
        return getattr(self._engine, name)

    async def read(self, user: str):
        record = await self._engine.read(user)
        for _ in range(4):
            await trio.lowlevel.checkpoint()
        return record


def settings(**changes: str) -> config.Settings:
    proofs = {"producer_keys": KEY, "jwt_secret": SECRET}
    given = {"engine": "memory", **proofs, **changes}
    return config.load(given, {})


@pytest.fixture
async def make_world(nursery):
    """Make a service, with some settings changed."""

    def make(**changes: str) -> RunningService:
        built = service.build(settings(**changes), clock=wall_clock)
        nursery.start_soon(built.run)
        return RunningService(built, AsgiClient(built.app))

    return make


@pytest.fixture
async def world(make_world) -> RunningService:
    """Make a service with the default settings."""
    return make_world()
