"""Measure a broadcast: many users, of whom some have open streams.

    python tests/benchmarks/broadcast.py [--users 1000000] [--online 20000]
        [--engine sqlite] [--folder DISK]

Every user has one notification at the start. Then a channel with one stream is opened
for each user that is online. A backend notifies single users meanwhile, one every 10
ms, each when the previous one was acknowledged. A broadcast is published to all, and
the time is taken until each channel has it. The mailboxes of other users stay as they
are: the size of the file shows it.

The file is made below *--folder*, which should be on a disk, not in memory: the cost of
fsync is a part of the figures. It is filled without fsync, and measured with it.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from roundel_service.cli.process_tuning import prepare_process
from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import Notify
from roundel_service.domain.record import RecordLimits
from roundel_service.engines.base import Engine
from roundel_service.engines.memory import MemoryEngine
from roundel_service.engines.sqlite.engine import Durability, SqliteEngine
from roundel_service.streams.channel import UserChannel
from roundel_service.streams.hub import Hub
from roundel_service.streams.subscribe import SubscribeRequest
from roundel_service.streams.subscriber import Subscriber
from roundel_service.streams.view_history import View

LIMITS = RecordLimits()
MANY = 1_000
OPENING = 64
"""Streams that are opened at a time."""
Rows = AsyncIterator[tuple[str, str]]

INTERVAL = 0.01
"""Time between two personal notifications, in seconds."""
IDLE = 3.0
"""Time in which personal notifications are measured without a broadcast, in seconds."""


def note(name: str) -> Notify:
    content = encode_content(
        "Maintenance on Sunday from 2:00 to 2:30 UTC", url="/status", data={"n": 1}
    )
    return Notify(id=name, category="news", content=content, size=180, ttl=2_592_000.0)


def name_of(user: int) -> str:
    return f"user-{user:07}"


def open_engine(kind: str, folder: Path, durability: Durability = "full") -> Engine:
    if kind == "memory":
        return MemoryEngine(LIMITS)
    return SqliteEngine(folder / "roundel.db", LIMITS, durability=durability)


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        yield nursery
        nursery.cancel_scope.cancel()


async def fill(engine: Engine, users: int) -> None:
    for start in range(0, users, MANY):
        some = range(start, min(start + MANY, users))
        await engine.apply([(name_of(user), note("0")) for user in some])


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def resident() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


@attrs.define
class Latencies:
    """The latencies of personal notifications, in ms, while it runs."""

    hub: Hub
    online: int
    found: list[float] = attrs.field(factory=list)

    async def run(self) -> None:
        number = 0
        while True:
            number += 1
            user = name_of(number * 7_919 % self.online)
            began = time.perf_counter()
            await self.hub.apply(user, note(f"own-{number}"))
            self.found.append(1_000 * (time.perf_counter() - began))
            await trio.sleep(INTERVAL)

    def take(self) -> str:
        found, self.found = sorted(self.found), []
        p99 = found[int(0.99 * len(found))]
        return f"{statistics.median(found):.1f} / {p99:.1f} / {found[-1]:.1f}"


async def open_streams(
    hub: Hub, online: int
) -> tuple[list[UserChannel], list[Subscriber]]:
    channels: list[UserChannel] = []
    numbers = iter(range(online))

    async def open_next() -> None:
        for number in numbers:
            channels.append(await hub.channel(name_of(number)))

    async with trio.open_nursery() as nursery:
        for _ in range(OPENING):
            nursery.start_soon(open_next)
    request, view = SubscribeRequest(), View("items")
    subscribers = [hub.subscribe(channel, view, request) for channel in channels]
    for subscriber in subscribers:
        subscriber.data_to_send(trio.current_time())
    return channels, subscribers


async def all_right(channels: list[UserChannel], name: str) -> None:
    """Wait until each channel has the item *name*."""
    left = channels
    while left:
        await trio.sleep(0.02)
        left = [each for each in left if name not in each.record.mailbox.items]


async def rows(args: argparse.Namespace, folder: Path) -> Rows:
    engine = open_engine(args.engine, folder)
    async with running(engine) as nursery:
        if args.engine == "memory":
            await fill(engine, args.users)
        hub = Hub(engine)
        await nursery.start(hub.run)
        before, began = resident(), time.perf_counter()
        channels, subscribers = await open_streams(hub, args.online)
        yield "streams opened in s", f"{time.perf_counter() - began:.1f}"
        memory = (resident() - before) / args.online
        yield "memory of a user with a stream, bytes", f"{memory:,.0f}"
        latencies = Latencies(hub, args.online)
        nursery.start_soon(latencies.run)
        await trio.sleep(IDLE)
        yield "a personal notification before, p50 / p99 / max in ms", latencies.take()
        before, size = resident(), size_of(folder)
        began, cpu = time.perf_counter(), time.process_time()
        await hub.apply("#all", note("broadcast"))
        published = time.perf_counter() - began
        await all_right(channels, "broadcast")
        seconds = time.perf_counter() - began
        cpu = 1e6 * (time.process_time() - cpu) / args.online
        yield "publish acknowledged after ms", f"{1_000 * published:.1f}"
        yield "all streams have it after s", f"{seconds:.2f}"
        yield "followers per second", f"{args.online / seconds:,.0f}"
        yield "CPU of a follower, µs", f"{cpu:,.0f}"
        yield "a personal notification meanwhile, in ms", latencies.take()
        grown = (size_of(folder) - size) / args.online
        yield "file grown by, bytes a stream", f"{grown:,.0f}"
        memory = (resident() - before) / args.online
        yield "memory grown by, bytes a stream", f"{memory:,.0f}"
        yield "file, MB", f"{size_of(folder) / 1e6:,.0f}"
        stored = await engine.peek(name_of(args.users - 1))
        yield "items of a user without a stream", f"{len(stored.mailbox.items)}"
        record = await engine.read(name_of(args.users - 1))
        yield "and after a read", f"{len(record.mailbox.items)}"
        del subscribers


async def measure(args: argparse.Namespace, folder: Path) -> None:
    print(
        f"| {args.users:,} users, {args.online:,} online, {args.engine} | |\n|---|--:|"
    )
    async for label, value in rows(args, folder):
        print(f"| {label} | {value} |", flush=True)


async def prepare(args: argparse.Namespace, folder: Path) -> None:
    engine, began = open_engine(args.engine, folder, "off"), time.perf_counter()
    async with running(engine):
        await fill(engine, args.users)
    print(f"filled in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


def folders(args: argparse.Namespace) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--online", type=int, default=20_000)
    parser.add_argument("--engine", choices=("sqlite", "memory"), default="sqlite")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--fill", type=Path, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    prepare_process()
    if args.fill is not None:
        trio.run(prepare, args, args.fill)
        return
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores\n")
    for folder in folders(args):
        if args.engine == "sqlite":
            # In a process of its own: the memory of the fill is not to be counted.
            options = [f"--users={args.users}", f"--fill={folder}"]
            subprocess.run([sys.executable, __file__, *options], check=True)
        trio.run(measure, args, folder)


if __name__ == "__main__":
    main()
