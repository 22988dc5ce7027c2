"""A service in memory, on virtual time, and its clients."""

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
from roundel_service.engines.base import Engine

KEY = "a-producer-key-for-tests"
SECRET = "a-secret-of-more-than-32-bytes-for-tests"
START = 1_763_690_000.0


def wall_clock() -> float:
    """Return seconds since 1970 in virtual time."""
    return START + trio.current_time()


@attrs.frozen
class RunningService:
    """A running service, with a client for each role."""

    service: service.Service
    anonymous: AsgiClient

    @property
    def producer(self) -> AsgiClient:
        return self.anonymous.with_headers({"Authorization": f"Bearer {KEY}"})

    def user(self, name: str = "alice", ttl: float = 86_400) -> AsgiClient:
        token = self.service.authenticator.sign(name, ttl=ttl)
        return self.anonymous.with_headers({"Authorization": f"Bearer {token}"})

    async def notify(self, user: str = "alice", **fields: Any) -> dict[str, Any]:
        """Publish a notification and return the result for *user*."""
        request = {"to": {"user": user}, "title": "Hello", **fields}
        response = await post(self.producer, "/v1/notify", request)
        return body(response)["results"][0]

    async def do(self, user: str = "alice", **op: Any) -> dict[str, Any]:
        """Send one operation as *user* and return the response."""
        op_id = f"op-{trio.current_time()}-{op}"[:128]
        request = {"op_id": op_id, "ops": [op]}
        return body(await post(self.user(user), "/v1/ops", request))

    async def badge(self, user: str = "alice") -> dict[str, Any]:
        return body(await self.user(user).request("GET", "/v1/badge"))


async def post(client: AsgiClient, target: str, document: object, **headers: str):
    content = json.dumps(document).encode()
    return await client.request("POST", target, body=content, headers=headers)


def body(response: AsgiResponse, status: int = 200) -> Any:
    """Return the JSON of *response*, which must have this status."""
    assert response.status == status, response.body.decode()
    return json.loads(response.body)


def data(event: Event | None) -> Any:
    """Return the JSON of *event*; `None` is the end of the stream and fails."""
    assert event is not None, "the stream has ended"
    assert "\n" not in event.data
    return json.loads(event.data)


async def first_events(stream: AsgiEventStream) -> tuple[Any, Event | None]:
    """Return the data of hello, and the event that follows it."""
    return data(await stream.next_event()), await stream.next_event()


async def events_so_far(stream: AsgiEventStream) -> list[Event]:
    """Return the events that are pending, without more time or changes."""
    await trio.testing.wait_all_tasks_blocked()
    return stream.ready_events()


async def remaining_events(stream: AsgiEventStream) -> list[Event]:
    """Return all events until the stream ends."""
    events = []
    while event := await stream.next_event():
        events.append(event)
    return events


async def resume(
    world: RunningService,
    level: str,
    cursor: str,
    *,
    query: str = "",
    user: str = "alice",
) -> tuple[str, list[Event]]:
    """Open a stream with *cursor*; return its resume outcome and the events then."""
    headers = {"Last-Event-ID": cursor}
    target = f"/v1/stream?level={level}{query}"
    async with world.user(user).stream(target, headers=headers) as stream:
        hello, *state = await events_so_far(stream)
        return data(hello)["resume"], state


async def current_cursor(world: RunningService, user: str = "alice") -> str:
    """Return the cursor of a client that is up to date."""
    return body(await world.user(user).request("GET", "/v1/items"))["cursor"]


def metric_value(world: RunningService, name: str, **labels: str) -> float:
    """Return the value of a metric in a scrape."""
    families = text_string_to_metric_families(world.service.hub.metrics.text().decode())
    return next(
        sample.value
        for family in families
        for sample in family.samples
        if (sample.name, sample.labels) == (name, labels)
    )


class Valve:
    """Wraps the app: no chunk of a body is sent while the valve is closed."""

    def __init__(self, world: RunningService) -> None:
        self._app = world.service.app
        self._opened = trio.Event()
        self.world = attrs.evolve(world, anonymous=AsgiClient(self))

    def close(self) -> None:
        if self._opened.is_set():
            self._opened = trio.Event()

    def open(self) -> None:
        self._opened.set()

    async def __call__(self, scope, receive, send) -> None:
        async def send_when_open(message) -> None:
            if message["type"] == "http.response.body":
                await self._opened.wait()
            await send(message)

        await self._app(scope, receive, send_when_open)


@attrs.define
class Client:
    """A page that applies events; it fails at a gap or a repeated version."""

    epoch: str = ""
    v: int = -1
    items: dict = attrs.field(factory=dict)
    badge: dict = attrs.field(factory=dict)
    cursor: str = ""

    def receive(self, *events: Event) -> Client:
        for event in events:
            self._apply(event.type, data(event))
            self.cursor = event.id or self.cursor
        return self

    def _apply(self, event_type: str, fields: dict) -> None:
        match event_type:
            case "hello" if fields["resume"] == "reset":
                self._reset()
            case "reset":
                self._reset()
            case "badge":
                assert self.v < fields["v"]
                self.epoch, self.v, self.badge = fields["epoch"], fields["v"], fields
            case "snapshot":
                self.epoch, self.v = fields["epoch"], fields["v"]
                self.badge = fields["badge"]
                self.items = {item["id"]: item for item in fields["items"]}
            case "change":
                assert (self.epoch, self.v) == (fields["epoch"], fields["from"])
                self.v, self.badge = fields["v"], fields["badge"]
                for op in fields["ops"]:
                    self._apply_op(op)
            case "ping":
                assert self.epoch in ("", fields["epoch"])
                assert fields["v"] <= self.v

    def _reset(self) -> None:
        self.v = -1
        self.items.clear()

    def _apply_op(self, op: dict) -> None:
        match op:
            case {"add": item}:
                assert item["id"] not in self.items
                self.items[item["id"]] = item
            case {"set": ids, **flags}:
                # A replay leaves out items that are gone by now.
                for item_id in filter(self.items.__contains__, ids):
                    self.items[item_id].update(flags)
            case {"remove": ids}:
                for item_id in ids:
                    self.items.pop(item_id, None)

    @property
    def unread(self) -> int:
        return sum(
            not (item["read"] or item["archived"]) for item in self.items.values()
        )


class StaleReadEngine:
    """A remote engine: a record may be outdated when the read returns it."""

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
    credentials = {"producer_keys": KEY, "jwt_secret": SECRET}
    values = {"engine": "memory", **credentials, **changes}
    return config.load(values, {})


@pytest.fixture
async def make_world(nursery):
    """Return a function that runs a service with changed settings."""

    def make(*, engine: Engine | None = None, **changes: str) -> RunningService:
        built = service.build(settings(**changes), clock=wall_clock, engine=engine)
        nursery.start_soon(built.run)
        return RunningService(built, AsgiClient(built.app))

    return make


@pytest.fixture
async def world(make_world) -> RunningService:
    """Return a running service with the default settings."""
    return make_world()
