"""A soak test of twelve minutes: memory levels off, and every badge is correct.

The environment variables `SOAK_SECONDS` and `SOAK_STREAMS` set the length and size.
`pytest -m nightly -s tests/service/test_soak.py` prints the measurements.
"""

from __future__ import annotations

import mmap
import os
import random
import resource
from contextlib import suppress
from pathlib import Path
from statistics import linear_regression

import attrs
import httptools
import httpx2
import pytest
import trio

from roundel import Parser
from roundel_adapters.wakeup import Wakeup
from support.process import ServiceProcess, get, run_service, token
from support.service import KEY, Client

pytestmark = pytest.mark.nightly

SECONDS = float(os.environ.get("SOAK_SECONDS", "720"))
STREAMS = min(
    int(os.environ.get("SOAK_STREAMS", "5000")),
    resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500,
)
USERS = max(STREAMS // 5, 1)
SLOW = 50
"""Number of streams of which one is read slowly."""
MEAN_CONNECTION_TIME = 200.0
"""Mean time until a page disconnects, in seconds."""
TICK = 1 / 30
SAMPLE = 2.0
MAX_SLOPE = 1.0
"""Maximum growth of memory in the last half, in MiB a minute.

It is above 0, since operation ids are stored for a day, and the heap fluctuates.
"""
# Small, so that mailboxes and change logs are full from the start.
SETTINGS = {
    "ROUNDEL_MAILBOX_ITEMS": "20",
    "ROUNDEL_RING_CHANGES": "20",
    "ROUNDEL_MAX_AGE": f"{SECONDS / 2.4}",
}

rng = random.Random(25)


@attrs.define(eq=False)
class Page:
    """A browser tab, which reconnects with its last event id."""

    running: ServiceProcess
    user: str
    level: str
    is_slow: bool
    client: Client = attrs.field(factory=Client)
    changed: Wakeup = attrs.field(factory=Wakeup)
    is_catching_up: bool = False
    connections: int = 0
    retry: float = 1.0
    chunks: list[bytes] = attrs.field(factory=list)

    async def run(self) -> None:
        """Connect repeatedly until cancelled."""
        while True:
            connection = trio.move_on_after(rng.expovariate(1 / MEAN_CONNECTION_TIME))
            with connection, suppress(trio.BrokenResourceError, ConnectionError):
                await self._read()
            if not connection.cancelled_caught:
                await trio.sleep(self.retry)

    async def _read(self) -> None:
        buffer = 4_096 if self.is_slow else None
        stream = await self.running.send(self._request(), buffer=buffer)
        self.connections += 1
        http, parser = httptools.HttpResponseParser(self), Parser()
        try:
            while data := await self._receive(stream):
                http.feed_data(data)
                self._apply(parser)
        finally:
            self.running.peers.remove(stream.socket)
            await trio.aclose_forcefully(stream)

    def _request(self) -> bytes:
        request = get(f"/v1/stream?level={self.level}", self.user)
        if not self.client.cursor:
            return request
        position = f"last-event-id: {self.client.cursor}\r\n\r\n".encode()
        return request.removesuffix(b"\r\n") + position

    async def _receive(self, stream: trio.SocketStream) -> bytes:
        if self.is_slow and not self.is_catching_up:
            await trio.sleep(1)
            return await stream.receive_some(512)
        return await stream.receive_some()

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def _apply(self, parser: Parser) -> None:
        body, self.chunks = b"".join(self.chunks), []
        for event in parser.receive_data(body):
            self.client.receive(event)
            if event.type == "bye":
                self.retry = parser.retry / 1_000 if parser.retry else 1.0
        self.changed.notify()

    async def wait_for(self, badge: dict) -> None:
        """Wait until the page shows *badge*."""
        while not self._is_shown(badge):
            await self.changed.wait()

    def _is_shown(self, badge: dict) -> bool:
        if self.level == "items":
            is_whole = badge["unread"] == self.client.unread
            return badge == self.client.badge and is_whole
        # A version with an unchanged badge is not delivered.
        return {**self.client.badge, "v": badge["v"]} == badge


@attrs.define
class Load:
    """The writers: producers, and users that read their items."""

    running: ServiceProcess
    client: httpx2.AsyncClient
    calls: int = 0

    async def post(self, target: str, body: dict, credential: str = KEY) -> None:
        url = f"http://127.0.0.1:{self.running.port}{target}"
        headers = {"Authorization": f"Bearer {credential}"}
        response = await self.client.post(url, json=body, headers=headers)
        assert response.status_code == 200, response.text
        self.calls += 1

    async def fill(self) -> None:
        """Fill everything with a bound, so that later growth is a leak."""
        for start in range(0, USERS, 1_000):
            users = [f"user-{i}" for i in range(start, min(start + 1_000, USERS))]
            for _ in range(25):
                await self.post("/v1/notify", notification({"users": users}))

    async def run(self) -> None:
        """Send a write at each tick until cancelled."""
        while True:
            await trio.sleep(TICK)
            user = f"user-{rng.randrange(USERS)}"
            match rng.random():
                case chance if chance < 0.05:
                    read = {"read_all": True, "as_of": 1 << 40}
                    request = {"op_id": f"op-{self.calls}", "ops": [read]}
                    await self.post("/v1/ops", request, token(user))
                case chance if chance < 0.2:
                    users = {f"user-{rng.randrange(USERS)}" for _ in range(20)}
                    to = {"users": sorted(users)}
                    await self.post("/v1/notify", notification(to))
                case _:
                    await self.post("/v1/notify", notification({"user": user}))


def notification(to: dict) -> dict:
    """Return a notification; half of them expire soon, which changes badges."""
    category = rng.choice(["mention", "dm", "deploy"])
    title = "Hello " + "x" * rng.randrange(99)
    expiry = {"ttl": rng.uniform(1, 20)} if rng.random() < 0.5 else {}
    return {"to": to, "category": category, "title": title, **expiry}


def resident(pid: int) -> float:
    """Return the resident memory of a process, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * mmap.PAGESIZE / (1 << 20)


async def sampled(pid: int, seconds: float) -> list[tuple[float, float]]:
    """Sample the memory for *seconds*; return pairs of minutes and MiB."""
    start, samples = trio.current_time(), []
    while (at := trio.current_time() - start) < seconds:
        samples.append((at / 60, resident(pid)))
        await trio.sleep(SAMPLE)
    return samples


async def metrics(
    running: ServiceProcess, client: httpx2.AsyncClient
) -> dict[str, float]:
    """Return the metrics, by name and labels."""
    text = (await client.get(f"{running.ops}/metrics")).text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(n) for name, n in (line.rsplit(" ", 1) for line in lines)}


async def test_memory_levels_off_and_every_badge_is_correct(tmp_path):
    """After twelve minutes there is no leak, no error and no wrong badge."""
    async with (
        run_service(tmp_path, **SETTINGS) as running,
        httpx2.AsyncClient(timeout=60) as client,
        trio.open_nursery() as nursery,
    ):
        load = Load(running, client)
        pages = [page(running, i) for i in range(STREAMS)]
        for each in pages:
            nursery.start_soon(each.run)
            await trio.sleep(0.002)
        for each in pages:
            while each.client.v < 0:
                await each.changed.wait()
        await load.fill()
        writing = trio.CancelScope()
        nursery.start_soon(run_in, writing, load.run)
        samples = await sampled(running.process.pid, SECONDS)

        writing.cancel()
        for each in pages:
            each.is_catching_up = True
        checked = rng.sample(pages, min(500, STREAMS))
        with trio.fail_after(300):
            for each in checked:
                await agrees(each, client)
        counters = await metrics(running, client)
        nursery.cancel_scope.cancel()

    half = samples[len(samples) // 2 :]
    slope = linear_regression(*zip(*half, strict=True)).slope
    report(samples, slope, pages, load, counters)
    assert 0 == counters["roundel_badge_audit_mismatch_total"]
    assert counters["roundel_badge_audit_checked_total"] > 0
    assert [] == [line for line in running.lines() if line["level"] == "error"]
    assert slope <= MAX_SLOPE


async def agrees(page: Page, client: httpx2.AsyncClient) -> None:
    """Wait until *page* shows the current badge of the server."""
    headers = {"Authorization": f"Bearer {token(page.user)}"}
    url = f"http://127.0.0.1:{page.running.port}/v1/badge"
    agreed = trio.Event()
    while not agreed.is_set():
        badge = (await client.get(url, headers=headers)).json()
        # An expiry changes the badge in the meantime, so it is read again.
        with trio.move_on_after(5):
            await page.wait_for(badge)
            agreed.set()


def page(running: ServiceProcess, number: int) -> Page:
    level = "items" if number % 2 else "badge"
    user = f"user-{number % USERS}"
    return Page(running, user, level, is_slow=number % SLOW == 0)


async def run_in(scope: trio.CancelScope, run) -> None:
    with scope:
        await run()


def report(samples, slope, pages, load, counters) -> None:
    """Print the measurements."""
    picked = samples[:: max(1, len(samples) // 12)]
    print(f"\n{STREAMS} streams, {USERS} users, {SECONDS:g} s")
    print("MiB by minute:", *(f"{at:.1f}:{mib:.1f}" for at, mib in picked))
    print(f"slope of the last half: {slope:.3f} MiB a minute")
    print(f"{sum(p.connections for p in pages)} connections, {load.calls} calls")
    for name, value in counters.items():
        if name.startswith(("roundel_events", "roundel_streams_")):
            print(f"{name} {value:g}")
