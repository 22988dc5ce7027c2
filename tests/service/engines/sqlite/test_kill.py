"""`kill -9` at random moments: what was acknowledged is there, and every page is right.

`KILL_ROUNDS` of the environment makes it more rounds. What it saw is printed:
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
PATIENCE = 30.0
ROOM = {
    "ROUNDEL_MAILBOX_ITEMS": "10000",
    "ROUNDEL_MAILBOX_BYTES": "67108864",
    "ROUNDEL_USER_RATE": "1e9",
    # Small, so that mailboxes go and come while they are written to.
    "ROUNDEL_CACHE_BYTES": "1048576",
}


@attrs.define(eq=False)
class Page:
    """A page that comes back to each new service by its last event id."""

    user: str
    level: str
    client: Client = attrs.field(factory=Client)
    news: Wakeup = attrs.field(factory=Wakeup)
    resumed: list[str] = attrs.field(factory=list)

    async def live(self, client: httpx2.AsyncClient, url: str) -> None:
        """Read for as long as the service lives, until cancelled."""
        stream = connect(
            client,
            f"{url}/v1/stream?level={self.level}",
            headers=lambda: {"Authorization": f"Bearer {token(self.user)}"},
            last_event_id=self.client.cursor,
        )
        async for event in stream:
            self._take(event)

    def _take(self, event: Event) -> None:
        if event.type == "hello":
            self.resumed.append(event.data.partition('"resume":"')[2].split('"')[0])
        self.client.receive(event)
        self.news.notify()

    async def wait_for(self, badge: dict) -> None:
        """Wait until the page shows *badge*."""
        while not self._shows(badge):
            await self.news.wait()

    def _shows(self, badge: dict) -> bool:
        # A page of the badge is not told of versions at which it stays the same.
        shown = {**self.client.badge, "v": badge["v"]}
        is_whole = self.level == "badge" or self.client.unread == badge["unread"]
        return shown == badge and is_whole


@attrs.define
class Story:
    """What was acknowledged over all rounds, and the pages that lived through them."""

    folder: Path
    dice: random.Random
    pages: list[Page] = attrs.field(factory=list)
    items: dict[str, list[str]] = attrs.field(factory=dict)
    read: set[str] = attrs.field(factory=set)
    versions: dict[str, tuple[str, int]] = attrs.field(factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / "roundel.db"

    async def round(self) -> None:
        """Start, see that all is there, write, and be killed."""
        engine = {"ROUNDEL_ENGINE": f"sqlite:{self.path}", **ROOM}
        async with run_service(self.folder, **engine) as served, _client() as client:
            url = f"http://127.0.0.1:{served.port}"
            async with trio.open_nursery() as nursery:
                for page in self.pages:
                    nursery.start_soon(page.live, client, url)
                await self.check_pages(client, url)
                for _ in range(WRITERS):
                    nursery.start_soon(self.write, client, url)
                await trio.sleep(self.dice.uniform(0.02, 1.0))
                await self.kill(served)
                nursery.cancel_scope.cancel()
        await self.check_file()

    async def kill(self, served: ServiceProcess) -> None:
        served.process.kill()
        await served.process.wait()

    async def check_pages(self, client: httpx2.AsyncClient, url: str) -> None:
        """Wait until each page is right."""
        with trio.fail_after(PATIENCE):
            for page in self.pages:
                proof = {"Authorization": f"Bearer {token(page.user)}"}
                answer = await client.get(f"{url}/v1/badge", headers=proof)
                await page.wait_for(answer.json())

    async def write(self, client: httpx2.AsyncClient, url: str) -> None:
        """Write until the service is gone, and remember what was acknowledged."""
        with suppress(httpx2.TransportError):
            while True:
                if self.items and self.dice.random() < 0.2:
                    await self._mark(client, url)
                else:
                    await self._notify(client, url)

    async def _notify(self, client: httpx2.AsyncClient, url: str) -> None:
        request = {
            "to": {"users": self.dice.sample(USERS, self.dice.randint(1, 3))},
            "title": "t" * self.dice.randint(1, 99),
        }
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = await client.post(f"{url}/v1/notify", json=request, headers=headers)
        assert answer.status_code == 200, answer.text
        for result in answer.json()["results"]:
            self.items.setdefault(result["user"], []).append(result["item"])
            self._acknowledge(result["user"], result["epoch"], result["v"])

    async def _mark(self, client: httpx2.AsyncClient, url: str) -> None:
        user = self.dice.choice(list(self.items))
        item = self.dice.choice(self.items[user])
        request = {
            "op_id": f"{self.dice.getrandbits(64)}",
            "ops": [{"read": [item]}],
        }
        headers = {"Authorization": f"Bearer {token(user)}"}
        answer = await client.post(f"{url}/v1/ops", json=request, headers=headers)
        assert answer.status_code == 200, answer.text
        self.read.add(item)
        badge = answer.json()
        self._acknowledge(user, badge["epoch"], badge["v"])

    def _acknowledge(self, user: str, epoch: str, v: int) -> None:
        known, latest = self.versions.get(user, (epoch, 0))
        assert known == epoch, "a restart is no reason for another epoch"
        self.versions[user] = epoch, max(v, latest)

    async def check_file(self) -> None:
        """Check that all that was acknowledged is in the file."""
        assert [("ok",)] == fetch_all(self.path, "PRAGMA integrity_check")
        async with running(self.path) as engine:
            for user, names in self.items.items():
                await self._check(engine, user, names)

    async def _check(self, engine: SqliteEngine, user: str, names: list[str]) -> None:
        record = await engine.read(user)
        epoch, v = self.versions[user]
        assert (epoch, True) == (record.mailbox.epoch, v <= record.mailbox.v)
        assert record.badge == record.mailbox.badge
        held = record.mailbox.items
        assert set(names) <= set(held)
        assert all(held[name].read for name in names if name in self.read)


def _client() -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx2.AsyncClient(limits=limits, timeout=PATIENCE)


async def lives(folder: Path, rounds: int) -> Story:
    """Kill the service again and again, and see that nothing was lost."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    story = Story(folder, random.Random(seed))
    story.pages += [Page(user, "items") for user in USERS[:8]]
    story.pages += [Page(user, "badge") for user in USERS[8:16]]
    for _ in range(rounds):
        await story.round()
    engine = {"ROUNDEL_ENGINE": f"sqlite:{story.path}", **ROOM}
    async with (
        run_service(folder, **engine) as served,
        _client() as client,
        trio.open_nursery() as nursery,
    ):
        url = f"http://127.0.0.1:{served.port}"
        for page in story.pages:
            nursery.start_soon(page.live, client, url)
        await story.check_pages(client, url)
        nursery.cancel_scope.cancel()
    acknowledged = sum(map(len, story.items.values()))
    resumed = [how for page in story.pages for how in page.resumed]
    told = {how: resumed.count(how) for how in sorted(set(resumed))}
    print(f"{rounds} rounds, {acknowledged} items and {len(story.read)} marks: {told}")
    return story


@pytest.mark.slow
async def test_killed_three_times(tmp_path):
    """Every acknowledged version is there after a restart, and every page is right."""
    story = await lives(tmp_path, 3)

    assert story.items


@pytest.mark.nightly
async def test_killed_thirty_times(tmp_path):
    """The same, often enough to have met the moments that count."""
    story = await lives(tmp_path, ROUNDS)

    assert sum(map(len, story.items.values())) > 20 * ROUNDS
