"""The version before is replaced: nothing is lost or repeated, and clients go on."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import zipfile
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import attrs
import httpx2
import pytest
import trio

from roundel import Event
from roundel_adapters.client import connect
from roundel_adapters.testing import AsgiClient
from roundel_adapters.wakeup import Wakeup
from roundel_service import app as service
from roundel_service.client import AsyncBadgeClient
from roundel_service.engines.sqlite.engine import SqliteEngine
from support import valkey_server
from support.ports import reserved_port
from support.process import SLACK, environment, started, token
from support.service import (
    KEY,
    Client,
    RunningService,
    body,
    data,
    post,
    resume,
    settings,
    wall_clock,
)
from support.sqlite_files import OLD_FILE, execute

ROOT = Path(__file__).parents[2]
BEFORE = "aad63c6"
"""The last commit whose files have schema 3."""

EPOCH, HEAD = "FE9dmAK7Iash", 8
"""The mailbox of alice in the stored file: its epoch and its latest version."""

USERS = ("alice", "bob", "carol")
LEVELS = ("badge", "items")

pytestmark = pytest.mark.slow


# A stored file


@pytest.fixture
async def upgraded(tmp_path, nursery):
    """Return today's service with a file that the version before has written."""
    path = tmp_path / "roundel.db"
    execute(path, OLD_FILE.read_text("utf-8"))
    engine = SqliteEngine(path, clock=wall_clock, durability="off")
    built = service.build(settings(), clock=wall_clock, engine=engine)
    await nursery.start(built.run)
    # From now on the mailbox is in memory, and no test waits for a thread.
    await engine.read("alice")
    return RunningService(built, AsgiClient(built.app))


async def test_every_cursor_of_the_version_before(upgraded):
    """A client at any version gets exactly the changes that follow it."""
    for v in range(HEAD + 1):
        outcome, events = await resume(upgraded, "items", f"{EPOCH}.{v}")
        received = [(data(event)["from"], data(event)["v"]) for event in events]

        assert ("current" if v == HEAD else "replayed") == outcome
        assert [(n, n + 1) for n in range(v, HEAD)] == received


async def test_page_that_goes_on_shows_what_a_new_page_shows(upgraded):
    """The changes of the version before lead to the list and badge of today."""
    _, changes = await resume(upgraded, "items", f"{EPOCH}.0")
    page = Client(EPOCH, 0).receive(*changes)
    _, snapshot = await resume(upgraded, "items", "")
    fresh = Client().receive(*snapshot)

    assert fresh.badge == page.badge
    assert fresh.items.keys() == page.items.keys()
    assert fresh.unread == page.unread


async def test_known_badge_is_still_known(upgraded):
    """A poll that knows the badge of the version before gets a 304."""
    tag = {"If-None-Match": f'"{EPOCH}.{HEAD}"'}
    answer = await upgraded.user().request("GET", "/v1/badge", headers=tag)

    assert 304 == answer.status


async def test_versions_go_on_in_the_same_epoch(upgraded):
    """The next change follows the last one of the version before."""
    document = {"to": {"user": "alice"}, "title": "After the upgrade"}
    (result,) = body(await post(upgraded.producer, "/v1/notify", document))["results"]

    assert (EPOCH, HEAD + 1) == (result["epoch"], result["v"])


# A running service


@pytest.fixture
def old_code(tmp_path):
    """Return the environment of a process that runs the version before."""
    archive = subprocess.run(
        ["git", "archive", "--format=zip", BEFORE, "core", "adapters", "service"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if archive.returncode:
        pytest.skip(f"the history has no {BEFORE}, as in a shallow clone")
    with zipfile.ZipFile(io.BytesIO(archive.stdout)) as files:
        files.extractall(tmp_path)
    folders = [str(tmp_path / name) for name in ("core", "adapters", "service")]
    # Coverage of the version before would count as that of this one.
    unmeasured = {"COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": ""}
    return {"PYTHONPATH": os.pathsep.join(folders), **unmeasured}


@attrs.define
class Follower:
    """A page of a user that connects again by itself; *outcomes* are its resumes."""

    user: str
    level: str
    progress: Wakeup
    page: Client = attrs.field(factory=Client)
    outcomes: list[str] = attrs.field(factory=list)

    async def run(self, http: httpx2.AsyncClient) -> None:
        target = f"/v1/stream?level={self.level}"
        headers = {"Authorization": f"Bearer {token(self.user)}"}
        events = connect(http, target, headers=lambda: headers, max_backoff=0.1)
        async with aclosing(events):
            async for event in events:
                self.receive(event)

    def receive(self, event: Event) -> None:
        if event.type == "hello":
            self.outcomes.append(data(event)["resume"])
        self.page.receive(event)
        self.progress.notify()


@attrs.define
class Publisher:
    """A backend that notifies one user after the other, whatever is restarted."""

    client: AsyncBadgeClient
    progress: Wakeup
    items: dict[str, list[str]] = attrs.field(factory=lambda: {u: [] for u in USERS})
    stopped: bool = False

    async def run(self) -> None:
        while not self.stopped:
            for user, sent in self.items.items():
                response = await self.client.notify(user, f"Note {len(sent)}")
                sent += [result.item for result in response.results]
                self.progress.notify()

    @property
    def count(self) -> int:
        """The number of notifications that each user has at least."""
        return min(map(len, self.items.values()))


@asynccontextmanager
async def serving(port: int, engine: str, **variables: str):
    """Run a service on the engine; end it as a supervisor does."""
    own = {"ROUNDEL_ENGINE": engine, "ROUNDEL_RETRY": "0.1"}
    arguments = ("serve", "--bind", f"127.0.0.1:{port}")
    with started(*arguments, env=environment(**own, **variables)) as (process, _):
        yield
        process.send_signal(signal.SIGTERM)
        assert 0 == await trio.to_thread.run_sync(process.wait, SLACK)


@pytest.fixture(params=["sqlite", "valkey"])
def engine(request, tmp_path):
    """Yield the URL of an engine whose store outlives a service."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'roundel.db'}"
        return
    with valkey_server.server("redis") as server:
        yield server.url


async def test_service_is_replaced_under_its_clients(old_code, engine):
    """Streams go on in the version of today, and each notification is there once."""
    progress = Wakeup()
    followers = [Follower(user, level, progress) for user in USERS for level in LEVELS]

    async def until(condition) -> None:
        while not condition():
            await progress.wait()

    with reserved_port() as port, trio.fail_after(4 * SLACK):
        url = f"http://127.0.0.1:{port}"
        async with (
            httpx2.AsyncClient(base_url=url, timeout=None) as http,
            AsyncBadgeClient(url, key=KEY) as client,
            trio.open_nursery() as nursery,
        ):
            publisher = Publisher(client, progress)
            async with serving(port, engine, **old_code):
                for follower in followers:
                    nursery.start_soon(follower.run, http)
                nursery.start_soon(publisher.run)
                await until(lambda: publisher.count >= 9)
                await until(lambda: all(each.outcomes for each in followers))
            seen = publisher.count
            async with serving(port, engine):
                await until(lambda: publisher.count >= seen + 9)
                publisher.stopped = True
                await until(lambda: all(is_current(publisher, f) for f in followers))
                nursery.cancel_scope.cancel()

    for follower in followers:
        first, *later = follower.outcomes
        assert "snapshot" == first
        assert later
        assert {"replayed", "current"} >= {*later}
        if follower.level == "items":
            assert publisher.items[follower.user] == [*follower.page.items]


def is_current(publisher: Publisher, follower: Follower) -> bool:
    return follower.page.badge.get("unread") == len(publisher.items[follower.user])
