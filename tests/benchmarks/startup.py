"""Measure starts: of the command, and of the service until it listens.

    python tests/benchmarks/startup.py [--rounds 5] [--users 100000] [--folder DISK]

Each round starts every program in turn; the table has the medians of the seconds and
of the processor seconds, each also as a ratio to the peer: uvicorn with an application
of sse-starlette, until it listens. A command ends by itself, and a server is stopped
after its first line. The file has one notification for each of *--users*.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs
import trio

from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import Notify
from roundel_service.engines.sqlite.engine import SqliteEngine

PEERS = Path(__file__).parent / "peers"
PEER = "uvicorn, sse-starlette"
PAGE = 1_000


@attrs.frozen
class Program:
    """A command line, and whether it serves until it is stopped."""

    command: list[str]
    serves: bool = True
    engine: str = "memory"


def programs(folder: Path) -> dict[str, Program]:
    roundel = [sys.executable, "-m", "roundel_service"]
    serve = [*roundel, "serve", "--bind", "127.0.0.1:0"]
    uvicorn = [sys.executable, "-m", "uvicorn", "--port", "0", "with_sse_starlette:app"]
    return {
        PEER: Program(uvicorn),
        "python -c pass": Program([sys.executable, "-c", "pass"], serves=False),
        "roundel --version": Program([*roundel, "--version"], serves=False),
        "roundel serve, memory": Program(serve),
        "roundel serve, new file": Program(serve, engine=f"sqlite:{folder}/new.db"),
        "roundel serve, full file": Program(serve, engine=f"sqlite:{folder}/full.db"),
    }


def note(number: int) -> Notify:
    return Notify(
        id=f"{number:x}",
        category="default",
        content=encode_content("Bob mentioned you"),
        size=100,
    )


async def fill(file: Path, users: int) -> None:
    """Give each user one notification."""
    engine = SqliteEngine(file)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        for start in range(0, users, PAGE):
            some = range(start, min(start + PAGE, users))
            await engine.apply([(f"u{user}", note(user)) for user in some])
        nursery.cancel_scope.cancel()


def start(program: Program) -> tuple[float, float]:
    """Return the seconds and the processor seconds of one start."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*sys.path, str(PEERS)]),
        "ROUNDEL_PRODUCER_KEYS": "a-producer-key-for-a-benchmark",
        "ROUNDEL_JWT_SECRET": "a-secret-of-more-than-32-bytes-for-a-benchmark",
        "ROUNDEL_ENGINE": program.engine,
        "ROUNDEL_OPS_BIND": "127.0.0.1:0",
    }
    before = os.times()
    started = time.perf_counter()
    process = subprocess.Popen(
        program.command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        seconds, cpu = _until_ready(process, program, started)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    after = os.times()
    ended = after.children_user + after.children_system
    return seconds, cpu or ended - before.children_user - before.children_system


def _until_ready(
    process: subprocess.Popen[str], program: Program, started: float
) -> tuple[float, float]:
    if not program.serves:
        process.wait()
        return time.perf_counter() - started, 0.0
    text = ""
    while "listening on" not in text and "running on" not in text:
        text = process.stdout.readline()
        assert text, "the server ended"
    seconds = time.perf_counter() - started
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return seconds, ticks / os.sysconf("SC_CLK_TCK")


def report(measured: dict[str, list[tuple[float, float]]]) -> None:
    medians = {
        name: [statistics.median(values) for values in zip(*pairs, strict=True)]
        for name, pairs in measured.items()
    }
    print(f"{'':26}{'seconds':>8}{'ratio':>7}{'CPU s':>8}{'ratio':>7}")
    for name, (seconds, cpu) in medians.items():
        peer_seconds, peer_cpu = medians[PEER]
        print(
            f"{name:26}{seconds:8.2f}{seconds / peer_seconds:7.2f}"
            f"{cpu:8.2f}{cpu / peer_cpu:7.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--folder", default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        trio.run(fill, Path(folder) / "full.db", asked.users)
        measured: dict[str, list[tuple[float, float]]] = {}
        for _ in range(asked.rounds):
            for name, program in programs(Path(folder)).items():
                measured.setdefault(name, []).append(start(program))
    report(measured)


if __name__ == "__main__":
    main()
