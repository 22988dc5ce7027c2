"""Measure the running service beside its peers: one load generator, one table.

    python tests/benchmarks/serving.py [--rounds 3] [--only fanout,targeted]
        [--peers roundel,nchan] [--scale 0.1] [--python VENV/bin/python]

Each peer runs on one core and the load generator, `sseload.c`, on another. It is
compiled by `cc` when it is needed, and so is the floor: a loop in C that shows what the
kernel and the generator take. The peers take turns in every round, and the table has
the medians of the rounds, so that a busy machine slows all of them; compare the ratios.
CPU time is the robust part: it is read from /proc, of all processes of a peer.

A peer that is not installed is named and left out; *--python* says who runs those that
are libraries of Python. On Debian `apt install nginx-light libnginx-mod-nchan` brings
nchan, and `npm install better-sse`, with NODE_PATH set to the folder, better-sse.

Roundel proves everything to itself that it does in production: a producer's key, a
signed token in the cookie of every stream, validated bodies of `/v1/notify`. Its other
settings can be changed by the environment, such as `ROUNDEL_MAILBOX_ITEMS`. In a value
FOLDER stands for a temporary folder: `ROUNDEL_ENGINE=sqlite:FOLDER/roundel.db`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import attrs

HERE = Path(__file__).parent
LOOPBACK = "127.0.0.1"
SPARE_FILES = 200
"""Descriptors of a server or the generator that are not streams."""

Result = dict[str, Any]
Cells = dict[str, float]


class Unable(Exception):  # noqa: N818, it is an answer more than an error
    """Why a peer has no number."""


# The peers: how each is started and talked to.

NOTE = (
    '{"category":"mention","title":"Bob mentioned you in a comment",'
    '"url":"/t/42#c7","data":{"t":%t,"n":%n}}'
)
"""What everybody delivers; the generator fills in the time and the number."""


@attrs.frozen
class Wire:
    """How the generator talks to a peer; all are arguments of its.

    *greets* tells whether a new stream has an event at once, *keeps* whether a late
    one is told what it has missed, and *state* what only a frame of state holds.
    *many* names 1,000 users in one request, *lines* has 100 notifications in one.
    """

    stream: tuple[str, ...] = ("--path", "/sub/%d")
    publish: tuple[str, ...] = ("--pub-path", "/pub/%d", "--pub-body")
    body: str = NOTE
    greets: bool = True
    keeps: bool = False
    state: str | None = None
    many: tuple[str, ...] | None = None
    lines: tuple[str, ...] | None = None

    @property
    def one(self) -> tuple[str, ...]:
        """Publish to one user a request."""
        return (*self.publish, self.body)

    def each(self, users: int) -> tuple[tuple[str, ...], int]:
        """Publish to all of *users* in turn, and to how many a request."""
        if self.many is None or users == 1:
            return self.one, 1
        return self.many, min(users, 1_000)


@attrs.frozen
class Peer:
    """Who is measured; *command* raises `Unable` where it is not installed."""

    name: str
    command: Callable[[Site, int], list[str]]
    wire: Wire = Wire()
    environment: Callable[[Site], dict[str, str]] = lambda site: {}


KEY = "a-producer-key-of-the-benchmark"
SECRET = "a-secret-of-the-benchmark-that-is-long-enough"
TO_ONE = NOTE.replace("{", '{"to":{"user":"u%d"},', 1)
ROUNDEL = Wire(
    stream=("--path", "/v1/stream?level=items", "-H", "Cookie: roundel=%k"),
    publish=(
        *("--pub-path", "/v1/notify", "--pub-header", f"Authorization: Bearer {KEY}"),
        *("--pub-header", "Content-Type: application/json", "--pub-body"),
    ),
    body=TO_ONE,
    keeps=True,
    state='"unread":',
)
MANY = (
    *ROUNDEL.publish,
    *('"u%d"', "--pub-sep", ",", "--pub-open", '{"to":{"users":['),
    *("--pub-close", NOTE.replace("{", "]},", 1), "--user-order", "cycle"),
)
LINES = (
    *("--pub-path", "/v1/batch", "--pub-header", f"Authorization: Bearer {KEY}"),
    *("--pub-header", "Content-Type: application/x-ndjson", "--pub-body", TO_ONE),
)
LIMITS = {
    "ROUNDEL_ENGINE": "memory",
    "ROUNDEL_OPS_BIND": "",
    "ROUNDEL_PING": "15",
    "ROUNDEL_MAX_STREAMS": "20000",
    "ROUNDEL_MAX_STREAMS_PER_USER": "10000",
    "ROUNDEL_PRODUCER_RATE": "1e9",
    "ROUNDEL_USER_RATE": "1e9",
    # No peer writes a line for each request.
    "ROUNDEL_LOG_LEVEL": "warning",
}


def roundel_environment(site: Site) -> dict[str, str]:
    given = {name: v for name, v in os.environ.items() if name.startswith("ROUNDEL_")}
    secrets = {"ROUNDEL_PRODUCER_KEYS": KEY, "ROUNDEL_JWT_SECRET": SECRET}
    # A new one for each server, in which one that is started again finds its state.
    folder = str(site.new_folder("roundel"))
    settings = LIMITS | given | secrets
    return {name: v.replace("FOLDER", folder) for name, v in settings.items()}


def roundel(site: Site, port: int) -> list[str]:
    site.tokens()
    serve = [sys.executable, "-m", "roundel_service", "serve"]
    return [*serve, "--bind", f"{LOOPBACK}:{port}"]


def library(script: str, *modules: str) -> Callable[[Site, int], list[str]]:
    def command(site: Site, port: int) -> list[str]:
        check([site.python, "-c", f"import {', '.join(modules)}"])
        return [site.python, str(HERE / "peers" / script), str(port)]

    return command


def nchan(site: Site, port: int) -> list[str]:
    said = check(["nginx", "-V"])
    found = re.search(r"--modules-path=(\S+)", said)
    modules = Path(found[1] if found else "/usr/lib/nginx/modules")
    if not (modules / "ngx_nchan_module.so").exists():
        raise Unable("nginx has no module nchan")
    folder = site.new_folder("nchan")
    text = (HERE / "peers" / "nchan.conf").read_text()
    for word, value in ("MODULES", modules), ("FOLDER", folder), ("PORT", port):
        text = text.replace(word, str(value))
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def better_sse(site: Site, port: int) -> list[str]:
    check(["node", "-e", "require('better-sse')"])
    return ["node", str(HERE / "peers" / "with_better_sse.cjs"), str(port)]


def floor(site: Site, port: int) -> list[str]:
    return [str(site.built(HERE / "peers" / "floor.c")), str(port)]


def check(command: list[str]) -> str:
    """Return what *command* says, or raise why its peer is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise Unable(f"there is no {command[0]}") from None
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if "Error" in line]
        raise Unable(said[-1] if said else f"{command[0]} fails") from None
    return done.stdout + done.stderr


PEERS = [
    Peer("floor", floor, Wire(keeps=True)),
    Peer("roundel", roundel, attrs.evolve(ROUNDEL, many=MANY, lines=LINES),
         roundel_environment),
    Peer("nchan", nchan, Wire(greets=False, keeps=True)),
    Peer("better-sse", better_sse),
    Peer("aiohttp-sse", library("with_aiohttp_sse.py", "aiohttp_sse", "uvloop")),
    Peer("sse-starlette", library(
        "with_sse_starlette.py", "sse_starlette", "uvicorn", "uvloop", "httptools")),
    Peer("fastapi", library(
        "with_fastapi.py", "fastapi.sse", "uvicorn", "uvloop", "httptools")),
    Peer("quart-trio", library("with_quart_trio.py", "quart_trio", "hypercorn")),
]  # fmt: skip


# The site: what is compiled, started, pinned and cleaned up.


@attrs.define
class Server:
    """A peer that runs, on a core of its own."""

    command: list[str]
    environment: dict[str, str]
    core: int
    port: int
    process: subprocess.Popen[bytes] = attrs.field(init=False)

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=partial(os.sched_setaffinity, 0, {self.core}),
        )

    def wait_until_listening(self, seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if (status := self.process.poll()) is not None:
                raise Unable(f"it ended with status {status} instead of listening")
            with socket.socket() as probe:
                if probe.connect_ex((LOOPBACK, self.port)) == 0:
                    return
            time.sleep(0.05)
        raise Unable(f"it did not listen within {seconds:.0f} s")

    def kill(self) -> None:
        """Kill it and its children, as a power cut would."""
        with suppress(ProcessLookupError):  # if it has ended by itself
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@attrs.define
class Site:
    """Where it all happens; *scale* makes everything smaller.

    *held_up* has the parts of their time that the server and the generator, ready to
    go on, had to wait for a core that others used.
    """

    folder: Path
    python: str
    scale: float = 1.0
    cores: list[int] = attrs.Factory(lambda: sorted(os.sched_getaffinity(0)))
    held_up: dict[str, list[float]] = attrs.Factory(partial(defaultdict, list))

    def streams(self, count: int) -> int:
        """Scale a number of streams; raise if there cannot be so many."""
        count = max(10, round(count * self.scale))
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if count + SPARE_FILES > allowed:
            raise Unable(f"{count:,} streams need more than {allowed:,} open files")
        return count

    def seconds(self, seconds: float) -> str:
        return str(max(1.0, seconds * self.scale))

    def new_folder(self, prefix: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self.folder))

    def built(self, source: Path) -> Path:
        program = self.folder / source.stem
        if not program.exists():
            check(["cc", "-O2", "-o", str(program), str(source)])
        return program

    def tokens(self) -> Path:
        """Return the file of the proofs of all users, one a line."""
        # Imported here, so that the peers can be measured where it is not installed.
        from roundel_service.identity.authenticator import HmacKey

        file = self.folder / "tokens"
        if not file.exists():
            secret, now = HmacKey(SECRET), int(time.time())
            times = {"iat": now, "exp": now + 86_400}
            tokens = (
                secret.sign({"sub": f"u{number}", **times})
                for number in range(self.streams(10_000))
            )
            file.write_text("\n".join(tokens))
        return file

    @contextmanager
    def serving(self, peer: Peer) -> Iterator[Server]:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = probe.getsockname()[1]
        inherited = {n: v for n, v in os.environ.items() if "ROUNDEL_" not in n}
        server = Server(
            peer.command(self, port),
            inherited | peer.environment(self),
            self.cores[0],
            port,
        )
        server.start()
        try:
            server.wait_until_listening()
            yield server
        finally:
            server.kill()

    @contextmanager
    def load(self, server: Server, *args: object) -> Iterator[subprocess.Popen[str]]:
        """Start the generator against *server*."""
        common = ["--target", f"{LOOPBACK}:{server.port}"]
        common += ["--server-pid", str(server.process.pid), "--seed", "1"]
        if (tokens := self.folder / "tokens").exists():
            common += ["--tokens", str(tokens)]
        process = subprocess.Popen(
            [str(self.built(HERE / "sseload.c")), *common, *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=partial(os.sched_setaffinity, 0, {self.cores[-1]}),
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def loaded(self, server: Server, *args: object, within: float = 150.0) -> Result:
        """Return what the generator has measured at *server*."""
        with self.load(server, *args) as process:
            got = finished(process, within)
        told = got["server"]["end"]
        for who, cpu, wait in (
            ("server", told["cpu_s"], told["wait_s"]),
            ("generator", got["own_cpu_s"], got["own_wait_s"]),
        ):
            self.held_up[who].append(wait / max(cpu + wait, 1e-9))
        return got


def finished(process: subprocess.Popen[str], within: float) -> Result:
    try:
        said, complaint = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        raise Unable(f"it was not over within {within:.0f} s") from None
    if process.returncode:
        raise Unable(f"the generator failed: {complaint.strip()[-200:]}")
    result: Result = json.loads(said.splitlines()[-1])
    if result["connected"] < result["conns"]:
        errors = {name: n for name, n in result["errors"].items() if n}
        raise Unable(
            f"{result['connected']:,} of {result['conns']:,} streams opened: {errors}"
        )
    return result


# The measurements: each starts the peer anew, so that none has another's garbage.


def stream(peer: Peer, count: int, users: int, *, has_state: bool = True) -> list[Any]:
    """Tell the generator to open *count* streams; each is up at its first frame."""
    ready = "event" if peer.wire.greets or (peer.wire.keeps and has_state) else "byte"
    return [
        *peer.wire.stream,
        *("--conns", count, "--users", users, "--ready", ready),
        *("--connect-timeout", 100),
    ]


def fan_out(site: Site, peer: Peer, count: int, publishes: int) -> Cells:
    """Publish to all streams: alone first, for the latency, then as fast as it goes."""
    count = site.streams(count)
    with site.serving(peer) as server:
        if peer.wire.keeps:
            seed(site, peer, server, 1)
        got = site.loaded(
            server,
            *stream(peer, count, 1),
            *peer.wire.one,
            *("--warm-pubs", 20, "--warm-time", 8, "--pub-count", publishes),
            *("--duration", 22),
        )
    if not got["deliveries"] or not got["expected"]:
        raise Unable("nothing was delivered")
    busy = got["wall_s"] - got["connect_s"]
    return {
        "deliveries": got["deliveries_per_s"],
        "cpu": got["server"]["cpu_s_per_million"],
        # What is delivered before its request is answered may be more than expected.
        "whole": min(100.0, 100 * got["deliveries"] / got["expected"]),
        "lockstep": got["server"]["lockstep_cpu_s_per_million"],
        "p50": got["lockstep_us"]["p50"] / 1e3,
        "p99": got["lockstep_us"]["p99"] / 1e3,
        "generator": 100 * got["own_publish_cpu_s"] / busy,
    }


def check_delivered(got: Result) -> None:
    accepted, delivered = got["expected"], got["deliveries"]
    if got["pub"]["failed"]:
        raise Unable(f"{got['pub']['failed']:,} publishes were refused")
    if not accepted or delivered < 0.999 * accepted:
        raise Unable(f"{delivered:,} of {accepted:,} notifications were delivered")


def published(
    site: Site, peer: Peer, args: tuple[str, ...], size: int, conc: int
) -> Result:
    """Publish to 5,000 users with a stream each, in requests of *size*."""
    users = site.streams(5_000)
    with site.serving(peer) as server:
        got = site.loaded(
            server,
            *stream(peer, users, users, has_state=False),
            *args,
            *("--pub-conc", conc, "--pub-time", site.seconds(8)),
            *("--pub-batch", min(size, users), "--duration", 30),
        )
    check_delivered(got)
    return got


def targeted(site: Site, peer: Peer) -> Cells:
    """Publish to one user at a time, over 32 connections."""
    got = published(site, peer, peer.wire.one, 1, 32)
    return {"publishes": got["pub"]["per_s"], "cpu": cpu_each(got)}


def cpu_each(got: Result) -> float:
    """Return the microseconds of CPU that each notification took, in and out."""
    return float(1e6 * got["server"]["publish_cpu_s"] / got["deliveries"])


def batch(site: Site, peer: Peer) -> Cells:
    """Publish many notifications in a request; what counts is what arrives."""
    if peer.wire.lines is None or peer.wire.many is None:
        raise Unable("it has no call for many notifications at once")
    lines = published(site, peer, peer.wire.lines, 100, 4)
    many = published(site, peer, peer.wire.many, 1_000, 4)
    return {
        "lines": lines["deliveries_per_s"],
        "lines_cpu": cpu_each(lines),
        "many": many["deliveries_per_s"],
        "many_cpu": cpu_each(many),
    }


def seed(site: Site, peer: Peer, server: Server, users: int) -> Result:
    """Let each user have one notification; the result tells the memory before."""
    args, size = peer.wire.each(users)
    got = site.loaded(
        server,
        *stream(peer, 1, users, has_state=False),
        *args,
        *("--user-order", "cycle", "--pub-batch", size),
        *("--pub-count", -(-users // size), "--pub-conc", 8, "--duration", 100),
    )
    check_delivered(got)
    return got


def standing(site: Site, peer: Peer) -> Cells:
    """Open 10,000 streams, each of another user, and let them stand."""
    count = site.streams(10_000)
    with site.serving(peer) as server:
        before = seed(site, peer, server, count) if peer.wire.keeps else None
        hold = ("--mode", "hold", "--hold", site.seconds(30), "--settle", 1)
        got = site.loaded(server, *stream(peer, count, count), *hold)
    told = got["server"]
    base = (before["server"] if before else told)["start"]["rss"]
    cells = {
        "connects": got["connect_rate"],
        "cpu": 1e3 * told["connect_cpu_s"] / count,
        "bytes": (told["up"]["rss"] - base) / count,
    }
    if got["up_at_end"] < count:
        raise Unable(f"{count - got['up_at_end']:,} streams were lost while idle")
    # A window of 30 s has two heartbeats; a shorter one of a trial may have none.
    if got["hold_s"] < 20 or got["beats"] > 1.5 * count:
        cells["idle"] = 100 * told["hold_cpu_s"] / got["hold_s"]
    return cells


def storm(site: Site, peer: Peer) -> Cells:
    """Cut 10,000 streams, let each miss a notification, and let all come back."""
    if not peer.wire.keeps:
        raise Unable("it keeps no history to replay")
    count = site.streams(10_000)
    args, size = peer.wire.each(count)
    publishes = -(-count // size)
    with site.serving(peer) as server:
        got = site.loaded(
            server,
            *stream(peer, count, count, has_state=False),
            *args,
            *("--user-order", "cycle", "--pub-batch", size, "--pub-conc", 8),
            *("--pub-count", publishes, "--gap-pubs", publishes),
            *("--mode", "storm", "--done", '"t":', "--duration", 60),
        )
    check_back(got)
    if got["storm"]["replayed"] > publishes * size:
        raise Unable(f"{got['storm']['replayed']:,} events replayed for {count:,}")
    return {"seconds": got["storm"]["all_s"], "cpu": got["server"]["storm_cpu_s"]}


def stampede(site: Site, peer: Peer) -> Cells:
    """Kill the server under 10,000 streams and start it again."""
    count = site.streams(10_000)
    done = peer.wire.state or (None if peer.wire.greets else "up")
    with site.serving(peer) as server:
        if peer.wire.keeps:
            seed(site, peer, server, count)
        # A memory that is gone has nothing to tell: then to be open again is all.
        args = stream(peer, count, count, has_state=False)
        args += ["--done", done] if done else []
        with site.load(server, *args, "--mode", "stampede", "--duration", 90) as load:
            assert load.stdout is not None
            load.stdout.readline()  # which says that all are up
            server.kill()
            server.start()
            got = finished(load, 150)
    check_back(got)
    return {"seconds": got["storm"]["all_s"]}


def check_back(got: Result) -> None:
    back = got["storm"]["done"]
    if back < got["conns"]:
        raise Unable(f"{back:,} of {got['conns']:,} streams came back in time")


@attrs.frozen
class Measurement:
    """What is done to each peer, and the rows that come of it: words and digits."""

    kind: str
    run: Callable[[Site, Peer], Cells]
    rows: dict[str, tuple[str, int]]


def fan_out_rows(count: str) -> dict[str, tuple[str, int]]:
    return {
        "deliveries": (f"fan-out to {count}, deliveries/s", 0),
        "cpu": (f"fan-out to {count}, CPU s a million", 1),
        "whole": (f"fan-out to {count}, delivered within 20 s, %", 0),
        "lockstep": (f"fan-out to {count}, one at a time, CPU s a million", 1),
        "p50": (f"fan-out to {count}, one at a time, p50 ms", 1),
        "p99": (f"fan-out to {count}, one at a time, p99 ms", 1),
        "generator": (f"fan-out to {count}, CPU % of the generator", 0),
    }


MEASUREMENTS = [
    Measurement(
        "fanout", partial(fan_out, count=1_000, publishes=200), fan_out_rows("1,000")
    ),
    Measurement(
        "fanout", partial(fan_out, count=10_000, publishes=60), fan_out_rows("10,000")
    ),
    Measurement(
        "targeted",
        targeted,
        {
            "publishes": ("to one of 5,000 users, publishes/s", 0),
            "cpu": ("to one of 5,000 users, CPU µs each", 0),
        },
    ),
    Measurement(
        "batch",
        batch,
        {
            "lines": ("100 lines a request, notifications/s", 0),
            "lines_cpu": ("100 lines a request, CPU µs each", 0),
            "many": ("1,000 users a request, notifications/s", 0),
            "many_cpu": ("1,000 users a request, CPU µs each", 0),
        },
    ),
    Measurement(
        "standing",
        standing,
        {
            "connects": ("opening, streams/s", 0),
            "cpu": ("opening, CPU ms each", 2),
            "bytes": ("resident bytes a stream", 0),
            "idle": ("10,000 idle, a heartbeat in 15 s, CPU %", 1),
        },
    ),
    Measurement(
        "storm",
        storm,
        {
            "seconds": ("10,000 back with replay, s", 1),
            "cpu": ("10,000 back with replay, CPU s", 1),
        },
    ),
    Measurement("stampede", stampede, {"seconds": ("10,000 back after kill -9, s", 1)}),
]


# The table.


@attrs.frozen
class Book:
    """What was measured so far, by row and peer, and what could not be."""

    values: dict[tuple[str, str], list[float]] = attrs.Factory(
        partial(defaultdict, list)
    )
    reasons: dict[tuple[str, str], str] = attrs.Factory(dict)

    def take(self, measurement: Measurement, peer: Peer, site: Site) -> None:
        """Measure once; a peer that fails spoils nothing but its own cells."""
        try:
            cells = measurement.run(site, peer)
        except (Unable, OSError) as error:
            self.reasons[measurement.kind, peer.name] = str(error)
            return
        for name, (words, _) in measurement.rows.items():
            if name in cells:
                self.values[words, peer.name].append(cells[name])
            else:
                self.reasons["idle", peer.name] = "it sends no heartbeat"

    def cell(self, words: str, peer: Peer, digits: int) -> str:
        values = self.values.get((words, peer.name))
        return f"{statistics.median(values):,.{digits}f}" if values else "–"  # noqa: RUF001

    def table(self, measurements: list[Measurement], peers: list[Peer]) -> str:
        lines = [f"| | {' | '.join(peer.name for peer in peers)} |"]
        lines.append("|---" + "|--:" * len(peers) + "|")
        for measurement in measurements:
            for words, digits in measurement.rows.values():
                cells = [self.cell(words, peer, digits) for peer in peers]
                lines.append(f"| {words} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def notes(self) -> str:
        told: dict[tuple[str, str], list[str]] = defaultdict(list)
        for (kind, name), reason in self.reasons.items():
            told[kind, reason].append(name)
        return "\n".join(
            f"- {kind}: {', '.join(names)}: {reason}."
            for (kind, reason), names in told.items()
        )


def installed(site: Site, peers: list[Peer]) -> list[Peer]:
    """Keep the peers that are there, and say who is not."""
    found = []
    for peer in peers:
        try:
            peer.command(site, 0)
        except (Unable, ImportError) as error:
            print(f"{peer.name} is left out: {error}.")
        else:
            found.append(peer)
    return found


def load_average() -> str:
    return ", ".join(f"{load:.1f}" for load in os.getloadavg())


def measure(site: Site, rounds: int, kinds: list[str], names: list[str]) -> None:
    measurements = [m for m in MEASUREMENTS if m.kind in kinds]
    site.built(HERE / "sseload.c")
    peers = installed(site, [peer for peer in PEERS if peer.name in names])
    print(
        f"Python {platform.python_version()}, Linux {platform.release()}, {rounds} "
        f"rounds, scale {site.scale:g}, server on core {site.cores[0]}, generator on "
        f"{site.cores[-1]}. Load average before: {load_average()}.",
        flush=True,
    )
    book = Book()
    try:
        for number in range(1, rounds + 1):
            for measurement in measurements:
                for peer in peers:
                    began = time.monotonic()
                    book.take(measurement, peer, site)
                    took = f"{time.monotonic() - began:.0f} s"
                    what = f"round {number}: {measurement.kind} of {peer.name}"
                    print(f"{what}, {took}", file=sys.stderr, flush=True)
    finally:
        # Whoever interrupts it gets what there is.
        print(f"\n{book.table(measurements, peers)}\n\n{book.notes()}")
        print(f"\nLoad average after: {load_average()}.")
        for who, parts in site.held_up.items():
            part = statistics.median(parts)
            print(f"The {who} waited for its core for {part:.0%} of its time.")


def several(known: list[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            known_ones = ", ".join(known)
            raise argparse.ArgumentTypeError(f"{unknown}: expected {known_ones}")
        return names

    return parse


def options() -> argparse.Namespace:
    kinds = list(dict.fromkeys(m.kind for m in MEASUREMENTS))
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", type=several(kinds), default=kinds)
    parser.add_argument("--peers", type=several(names), default=names)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--python", default=sys.executable)
    return parser.parse_args()


def end(signal_number: int, _: object) -> Literal[None]:
    # An exception, so that everything that was started is ended on the way out.
    sys.exit(128 + signal_number)


def main() -> None:
    asked = options()
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, end)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = Path(tempfile.mkdtemp(prefix="roundel-serving-"))
    try:
        site = Site(folder, asked.python, asked.scale)
        measure(site, asked.rounds, asked.only, asked.peers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
