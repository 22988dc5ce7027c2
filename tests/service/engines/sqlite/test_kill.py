"""`kill -9` at random times: acknowledged writes survive, and each page is correct.

The environment variable `KILL_ROUNDS` sets the number of rounds. To print a summary:
`pytest -m nightly -s tests/service/engines/sqlite/test_kill.py`.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

import attrs
import httpx2
import pytest
import trio

from roundel import Event
from roundel_adapters.client import connect
from roundel_adapters.wakeup import Wakeup
from roundel_service.engines.sqlite.engine import SqliteEngine
from support.process import ServiceProcess, run_service, token
from support.service import KEY, Client
from support.sqlite_files import fetch_all, running

ROUNDS = int(os.environ.get("KILL_ROUNDS", "30"))
USERS = [f"user-{number}" for number in range(24)]
WRITERS = 12
TIMEOUT = 30.0
"""Timeout of requests and of pages, in seconds."""
SETTINGS = {
    "ROUNDEL_MAILBOX_ITEMS": "10000",
    "ROUNDEL_MAILBOX_BYTES": "67108864",
    "ROUNDEL_USER_RATE": "1e9",
    # Small, so that the cache evicts mailboxes during writes.
    "ROUNDEL_CACHE_BYTES": "1048576",
}


@attrs.define(eq=False)
class Page:
    """A page that reconnects to each new process with its last event id."""

    user: str
    level: str
    client: Client = attrs.field(factory=Client)
    changed: Wakeup = attrs.field(factory=Wakeup)
    resumed: list[str] = attrs.field(factory=list)

    async def run(self, client: httpx2.AsyncClient, url: str) -> None:
        """Read the stream until cancelled."""
        stream = connect(
            client,
            f"{url}/v1/stream?level={self.level}",
            headers=lambda: {"Authorization": f"Bearer {token(self.user)}"},
            last_event_id=self.client.cursor,
        )
        async for event in stream:
            self._receive(event)

    def _receive(self, event: Event) -> None:
        if event.type == "hello":
            self.resumed.append(event.data.partition('"resume":"')[2].split('"')[0])
        self.client.receive(event)
        self.changed.notify()

    async def wait_for(self, badge: dict) -> None:
        """Wait until the page shows *badge*."""
        while not self._is_shown(badge):
            await self.changed.wait()

    def _is_shown(self, badge: dict) -> bool:
        # A version with an unchanged badge is not delivered.
        shown = {**self.client.badge, "v": badge["v"]}
        is_whole = self.level == "badge" or self.client.unread == badge["unread"]
        return shown == badge and is_whole


@attrs.define
class KillRun:
    """The acknowledged writes of all rounds, and the pages."""

    folder: Path
    rng: random.Random
    pages: list[Page] = attrs.field(factory=list)
    items: dict[str, list[str]] = attrs.field(factory=dict)
    read: set[str] = attrs.field(factory=set)
    versions: dict[str, tuple[str, int]] = attrs.field(factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / "roundel.db"

    async def round(self) -> None:
        """Start the service, check the pages, write, and kill the service."""
        engine = {"ROUNDEL_ENGINE": f"sqlite:{self.path}", **SETTINGS}
        async with run_service(self.folder, **engine) as served, _client() as client:
            url = f"http://127.0.0.1:{served.port}"
            async with trio.open_nursery() as nursery:
                for page in self.pages:
                    nursery.start_soon(page.run, client, url)
                await self.check_pages(client, url)
                for _ in range(WRITERS):
                    nursery.start_soon(self.write, client, url)
                await trio.sleep(self.rng.uniform(0.02, 1.0))
                await self.kill(served)
                nursery.cancel_scope.cancel()
        await self.check_file()

    async def kill(self, served: ServiceProcess) -> None:
        served.process.kill()
        await served.process.wait()

    async def check_pages(self, client: httpx2.AsyncClient, url: str) -> None:
        """Wait until each page shows the current badge."""
        with trio.fail_after(TIMEOUT):
            for page in self.pages:
                headers = {"Authorization": f"Bearer {token(page.user)}"}
                response = await client.get(f"{url}/v1/badge", headers=headers)
                await page.wait_for(response.json())

    async def write(self, client: httpx2.AsyncClient, url: str) -> None:
        """Write until the service is killed, and record the acknowledged writes."""
        with suppress(httpx2.TransportError):
            while True:
                if self.items and self.rng.random() < 0.2:
                    await self._mark(client, url)
                else:
                    await self._notify(client, url)

    async def _notify(self, client: httpx2.AsyncClient, url: str) -> None:
        request = {
            "to": {"users": self.rng.sample(USERS, self.rng.randint(1, 3))},
            "title": "t" * self.rng.randint(1, 99),
        }
        headers = {"Authorization": f"Bearer {KEY}"}
        response = await client.post(f"{url}/v1/notify", json=request, headers=headers)
        assert response.status_code == 200, response.text
        for result in response.json()["results"]:
            self.items.setdefault(result["user"], []).append(result["item"])
            self._acknowledge(result["user"], result["epoch"], result["v"])

    async def _mark(self, client: httpx2.AsyncClient, url: str) -> None:
        user = self.rng.choice(list(self.items))
        item = self.rng.choice(self.items[user])
        request = {
            "op_id": f"{self.rng.getrandbits(64)}",
            "ops": [{"read": [item]}],
        }
        headers = {"Authorization": f"Bearer {token(user)}"}
        response = await client.post(f"{url}/v1/ops", json=request, headers=headers)
        assert response.status_code == 200, response.text
        self.read.add(item)
        badge = response.json()
        self._acknowledge(user, badge["epoch"], badge["v"])

    def _acknowledge(self, user: str, epoch: str, v: int) -> None:
        known, latest = self.versions.get(user, (epoch, 0))
        assert known == epoch, "the epoch changed after a restart"
        self.versions[user] = epoch, max(v, latest)

    async def check_file(self) -> None:
        """Check that the file contains all acknowledged writes."""
        assert [("ok",)] == fetch_all(self.path, "PRAGMA integrity_check")
        async with running(self.path) as engine:
            for user, names in self.items.items():
                await self._check(engine, user, names)

    async def _check(self, engine: SqliteEngine, user: str, names: list[str]) -> None:
        record = await engine.read(user)
        epoch, v = self.versions[user]
        assert (epoch, True) == (record.mailbox.epoch, v <= record.mailbox.v)
        assert record.badge == record.mailbox.badge
        items = record.mailbox.items
        assert set(names) <= set(items)
        assert all(items[name].read for name in names if name in self.read)


def _client() -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx2.AsyncClient(limits=limits, timeout=TIMEOUT)


async def kill_repeatedly(folder: Path, rounds: int) -> KillRun:
    """Kill the service *rounds* times; check the file and the pages after each."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    kill_run = KillRun(folder, random.Random(seed))
    kill_run.pages += [Page(user, "items") for user in USERS[:8]]
    kill_run.pages += [Page(user, "badge") for user in USERS[8:16]]
    for _ in range(rounds):
        await kill_run.round()
    engine = {"ROUNDEL_ENGINE": f"sqlite:{kill_run.path}", **SETTINGS}
    async with (
        run_service(folder, **engine) as served,
        _client() as client,
        trio.open_nursery() as nursery,
    ):
        url = f"http://127.0.0.1:{served.port}"
        for page in kill_run.pages:
            nursery.start_soon(page.run, client, url)
        await kill_run.check_pages(client, url)
        nursery.cancel_scope.cancel()
    acknowledged = sum(map(len, kill_run.items.values()))
    resumed = [outcome for page in kill_run.pages for outcome in page.resumed]
    counts = {outcome: resumed.count(outcome) for outcome in sorted(set(resumed))}
    marked = len(kill_run.read)
    print(f"{rounds} rounds, {acknowledged} items and {marked} marks: {counts}")
    return kill_run


@pytest.mark.slow
async def test_acknowledged_writes_survive_three_kills(tmp_path):
    """Acknowledged writes survive each kill, and each page becomes correct."""
    kill_run = await kill_repeatedly(tmp_path, 3)

    assert kill_run.items


@pytest.mark.nightly
async def test_acknowledged_writes_survive_thirty_kills(tmp_path):
    """The same with more rounds, so that kills also hit rare states."""
    kill_run = await kill_repeatedly(tmp_path, ROUNDS)

    assert sum(map(len, kill_run.items.values())) > 20 * ROUNDS
