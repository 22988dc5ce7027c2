"""Measure the running service and its peers with one load generator, in one table.

    python tests/benchmarks/serving.py [--rounds 3] [--only fanout,targeted]
        [--peers roundel,nchan] [--scale 0.1] [--python VENV/bin/python]

Each peer runs on one core, and the load generator, `sseload.c`, on another. `cc`
compiles it, and `floor.c`, a loop in C that shows what the kernel and the generator
cost. Each round measures every peer in turn, and the table has the medians of the
rounds, so a busy machine slows all peers alike: compare the ratios. CPU time is the
robust figure; it is read from /proc for all processes of a peer.

A peer that is not installed is named and left out. *--python* is the interpreter for
peers that are Python libraries. On Debian `apt install nginx-light libnginx-mod-nchan`
brings nchan, and `npm install better-sse`, with NODE_PATH set to the folder,
better-sse.

Roundel checks everything that it checks in production: the producer key, a signed token
in the cookie of every stream, the bodies of `/v1/notify`. The environment can change
its other settings, such as `ROUNDEL_MAILBOX_ITEMS`. FOLDER in a value is replaced by a
temporary folder: `ROUNDEL_ENGINE=sqlite:FOLDER/roundel.db`.
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
from interpreter import interpreter

HERE = Path(__file__).parent
LOOPBACK = "127.0.0.1"
SPARE_FILES = 200
"""Descriptors that a server or the generator needs besides streams."""

Result = dict[str, Any]
Cells = dict[str, float]


class NotMeasured(Exception):  # noqa: N818, it is a result more than an error
    """The reason why a peer has no figure."""


# The peers: their commands and their HTTP interfaces.

NOTE = (
    '{"category":"mention","title":"Bob mentioned you in a comment",'
    '"url":"/t/42#c7","data":{"t":%t,"n":%n}}'
)
"""The delivered data; the generator fills in the time and the number."""


@attrs.frozen
class PeerApi:
    """The HTTP interface of a peer, as arguments of the generator.

    *sends_first_event*: a new stream gets an event at once. *keeps_history*: a late
    stream gets the events that it missed. *state*: text that only state events contain.
    *many*: 1,000 users in one request. *lines*: 100 notifications in one request.
    """

    stream: tuple[str, ...] = ("--path", "/sub/%d")
    publish: tuple[str, ...] = ("--pub-path", "/pub/%d", "--pub-body")
    body: str = NOTE
    sends_first_event: bool = True
    keeps_history: bool = False
    state: str | None = None
    many: tuple[str, ...] | None = None
    lines: tuple[str, ...] | None = None

    @property
    def one(self) -> tuple[str, ...]:
        """Publish to one user in each request."""
        return (*self.publish, self.body)

    def publish_to(self, users: int) -> tuple[tuple[str, ...], int]:
        """Return arguments that publish to *users* in turn, and the users a request."""
        if self.many is None or users == 1:
            return self.one, 1
        return self.many, min(users, 1_000)


@attrs.frozen
class Peer:
    """A measured server; *command* raises `NotMeasured` if it is not installed."""

    name: str
    command: Callable[[Workbench, int], list[str]]
    api: PeerApi = PeerApi()
    environment: Callable[[Workbench], dict[str, str]] = lambda bench: {}


KEY = "a-producer-key-of-the-benchmark"
SECRET = "a-secret-of-the-benchmark-that-is-long-enough"
TO_ONE = NOTE.replace("{", '{"to":{"user":"u%d"},', 1)
ROUNDEL = PeerApi(
    stream=("--path", "/v1/stream?level=items", "-H", "Cookie: roundel=%k"),
    publish=(
        *("--pub-path", "/v1/notify", "--pub-header", f"Authorization: Bearer {KEY}"),
        *("--pub-header", "Content-Type: application/json", "--pub-body"),
    ),
    body=TO_ONE,
    keeps_history=True,
    state='"unread":',
)
MANY_USERS = (
    *ROUNDEL.publish,
    *('"u%d"', "--pub-sep", ",", "--pub-open", '{"to":{"users":['),
    *("--pub-close", NOTE.replace("{", "]},", 1), "--user-order", "cycle"),
)
BATCH_LINES = (
    *("--pub-path", "/v1/batch", "--pub-header", f"Authorization: Bearer {KEY}"),
    *("--pub-header", "Content-Type: application/x-ndjson", "--pub-body", TO_ONE),
)
SETTINGS = {
    "ROUNDEL_ENGINE": "memory",
    "ROUNDEL_OPS_BIND": "",
    "ROUNDEL_PING": "15",
    "ROUNDEL_MAX_STREAMS": "20000",
    "ROUNDEL_MAX_STREAMS_PER_USER": "10000",
    "ROUNDEL_PRODUCER_RATE": "1e9",
    "ROUNDEL_USER_RATE": "1e9",
    # The other peers write no log line for a request either.
    "ROUNDEL_LOG_LEVEL": "warning",
}


def roundel_environment(bench: Workbench) -> dict[str, str]:
    given = {name: v for name, v in os.environ.items() if name.startswith("ROUNDEL_")}
    secrets = {"ROUNDEL_PRODUCER_KEYS": KEY, "ROUNDEL_JWT_SECRET": SECRET}
    # One folder a server: a restarted server finds its state there.
    folder = str(bench.new_folder("roundel"))
    settings = SETTINGS | given | secrets
    return {name: v.replace("FOLDER", folder) for name, v in settings.items()}


def roundel(bench: Workbench, port: int) -> list[str]:
    bench.tokens()
    serve = [sys.executable, "-m", "roundel_service", "serve"]
    return [*serve, "--bind", f"{LOOPBACK}:{port}"]


def library(script: str, *modules: str) -> Callable[[Workbench, int], list[str]]:
    def command(bench: Workbench, port: int) -> list[str]:
        check([bench.python, "-c", f"import {', '.join(modules)}"])
        return [bench.python, str(HERE / "peers" / script), str(port)]

    return command


def nchan(bench: Workbench, port: int) -> list[str]:
    said = check(["nginx", "-V"])
    found = re.search(r"--modules-path=(\S+)", said)
    modules = Path(found[1] if found else "/usr/lib/nginx/modules")
    if not (modules / "ngx_nchan_module.so").exists():
        raise NotMeasured("nginx has no module nchan")
    folder = bench.new_folder("nchan")
    text = (HERE / "peers" / "nchan.conf").read_text()
    for word, value in ("MODULES", modules), ("FOLDER", folder), ("PORT", port):
        text = text.replace(word, str(value))
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def better_sse(bench: Workbench, port: int) -> list[str]:
    check(["node", "-e", "require('better-sse')"])
    return ["node", str(HERE / "peers" / "with_better_sse.cjs"), str(port)]


def floor(bench: Workbench, port: int) -> list[str]:
    return [str(bench.built(HERE / "peers" / "floor.c")), str(port)]


def check(command: list[str]) -> str:
    """Return the output of *command*; raise `NotMeasured` if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise NotMeasured(f"there is no {command[0]}") from None
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if "Error" in line]
        raise NotMeasured(said[-1] if said else f"{command[0]} fails") from None
    return done.stdout + done.stderr


PEERS = [
    Peer("floor", floor, PeerApi(keeps_history=True)),
    Peer("roundel", roundel, attrs.evolve(ROUNDEL, many=MANY_USERS, lines=BATCH_LINES),
         roundel_environment),
    Peer("nchan", nchan, PeerApi(sends_first_event=False, keeps_history=True)),
    Peer("better-sse", better_sse),
    Peer("aiohttp-sse", library("with_aiohttp_sse.py", "aiohttp_sse", "uvloop")),
    Peer("sse-starlette", library(
        "with_sse_starlette.py", "sse_starlette", "uvicorn", "uvloop", "httptools")),
    Peer("fastapi", library(
        "with_fastapi.py", "fastapi.sse", "uvicorn", "uvloop", "httptools")),
    Peer("quart-trio", library("with_quart_trio.py", "quart_trio", "hypercorn")),
]  # fmt: skip


# The workbench: compiles, starts, pins and cleans up.


@attrs.define
class Server:
    """A running peer, pinned to one core."""

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
                raise NotMeasured(f"it ended with status {status} instead of listening")
            with socket.socket() as probe:
                if probe.connect_ex((LOOPBACK, self.port)) == 0:
                    return
            time.sleep(0.05)
        raise NotMeasured(f"it did not listen within {seconds:.0f} s")

    def kill(self) -> None:
        """Kill it and its children at once."""
        with suppress(ProcessLookupError):  # if it has ended already
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@attrs.define
class Workbench:
    """Compiles and starts what is measured; *scale* makes all measurements smaller.

    *core_waits* holds, for server and generator, the share of their time in which they
    were ready to run and waited for a core.
    """

    folder: Path
    python: str
    scale: float = 1.0
    cores: list[int] = attrs.Factory(lambda: sorted(os.sched_getaffinity(0)))
    core_waits: dict[str, list[float]] = attrs.Factory(partial(defaultdict, list))

    def streams(self, count: int) -> int:
        """Scale a number of streams; raise `NotMeasured` above the open-file limit."""
        count = max(10, round(count * self.scale))
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if count + SPARE_FILES > allowed:
            raise NotMeasured(
                f"{count:,} streams need more than {allowed:,} open files"
            )
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
        """Return the file with the tokens of all users, one a line."""
        # Imported here, so that peers can be measured without Roundel.
        from roundel_service.identity.hmac_key import HmacKey

        file = self.folder / "tokens"
        if not file.exists():
            secret, now = HmacKey((SECRET,)), int(time.time())
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
        """Return what the generator measured on *server*."""
        with self.load(server, *args) as process:
            got = finished(process, within)
        at_end = got["server"]["end"]
        for who, cpu, wait in (
            ("server", at_end["cpu_s"], at_end["wait_s"]),
            ("generator", got["own_cpu_s"], got["own_wait_s"]),
        ):
            self.core_waits[who].append(wait / max(cpu + wait, 1e-9))
        return got


def finished(process: subprocess.Popen[str], within: float) -> Result:
    try:
        said, complaint = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"it was not over within {within:.0f} s") from None
    if process.returncode:
        raise NotMeasured(f"the generator failed: {complaint.strip()[-200:]}")
    result: Result = json.loads(said.splitlines()[-1])
    if result["connected"] < result["conns"]:
        errors = {name: n for name, n in result["errors"].items() if n}
        raise NotMeasured(
            f"{result['connected']:,} of {result['conns']:,} streams opened: {errors}"
        )
    return result


# The measurements: each starts a new process of the peer.


def stream(peer: Peer, count: int, users: int, *, has_state: bool = True) -> list[Any]:
    """Return the arguments that open *count* streams, each ready at its first event."""
    ready = (
        "event"
        if peer.api.sends_first_event or (peer.api.keeps_history and has_state)
        else "byte"
    )
    return [
        *peer.api.stream,
        *("--conns", count, "--users", users, "--ready", ready),
        *("--connect-timeout", 100),
    ]


def fan_out(bench: Workbench, peer: Peer, count: int, publishes: int) -> Cells:
    """Publish to all streams: one at a time for the latency, then at full speed."""
    count = bench.streams(count)
    with bench.serving(peer) as server:
        if peer.api.keeps_history:
            seed(bench, peer, server, 1)
        got = bench.loaded(
            server,
            *stream(peer, count, 1),
            *peer.api.one,
            *("--warm-pubs", 20, "--warm-time", 8, "--pub-count", publishes),
            *("--duration", 22),
        )
    if not got["deliveries"] or not got["expected"]:
        raise NotMeasured("nothing was delivered")
    busy = got["wall_s"] - got["connect_s"]
    return {
        "deliveries": got["deliveries_per_s"],
        "cpu": got["server"]["cpu_s_per_million"],
        # Events delivered before the response of their request can exceed the
        # expectation.
        "whole": min(100.0, 100 * got["deliveries"] / got["expected"]),
        "lockstep": got["server"]["lockstep_cpu_s_per_million"],
        "p50": got["lockstep_us"]["p50"] / 1e3,
        "p99": got["lockstep_us"]["p99"] / 1e3,
        "generator": 100 * got["own_publish_cpu_s"] / busy,
    }


def check_delivered(got: Result) -> None:
    accepted, delivered = got["expected"], got["deliveries"]
    if got["pub"]["failed"]:
        raise NotMeasured(f"{got['pub']['failed']:,} publishes were refused")
    if not accepted or delivered < 0.999 * accepted:
        raise NotMeasured(f"{delivered:,} of {accepted:,} notifications were delivered")


def published(
    bench: Workbench, peer: Peer, args: tuple[str, ...], size: int, conc: int
) -> Result:
    """Publish to 5,000 users with a stream each, in requests of *size*."""
    users = bench.streams(5_000)
    with bench.serving(peer) as server:
        got = bench.loaded(
            server,
            *stream(peer, users, users, has_state=False),
            *args,
            *("--pub-conc", conc, "--pub-time", bench.seconds(8)),
            *("--pub-batch", min(size, users), "--duration", 30),
        )
    check_delivered(got)
    return got


def targeted(bench: Workbench, peer: Peer) -> Cells:
    """Publish to one user at a time, over 32 connections."""
    got = published(bench, peer, peer.api.one, 1, 32)
    return {"publishes": got["pub"]["per_s"], "cpu": cpu_each(got)}


def cpu_each(got: Result) -> float:
    """Return the CPU time of one notification in microseconds, publish and delivery."""
    return float(1e6 * got["server"]["publish_cpu_s"] / got["deliveries"])


def batch(bench: Workbench, peer: Peer) -> Cells:
    """Publish many notifications in a request; count the delivered ones."""
    if peer.api.lines is None or peer.api.many is None:
        raise NotMeasured("it has no call for many notifications at once")
    lines = published(bench, peer, peer.api.lines, 100, 4)
    many = published(bench, peer, peer.api.many, 1_000, 4)
    return {
        "lines": lines["deliveries_per_s"],
        "lines_cpu": cpu_each(lines),
        "many": many["deliveries_per_s"],
        "many_cpu": cpu_each(many),
    }


def seed(bench: Workbench, peer: Peer, server: Server, users: int) -> Result:
    """Publish one notification to each user; return the figures, memory included."""
    args, size = peer.api.publish_to(users)
    got = bench.loaded(
        server,
        *stream(peer, 1, users, has_state=False),
        *args,
        *("--user-order", "cycle", "--pub-batch", size),
        *("--pub-count", -(-users // size), "--pub-conc", 8, "--duration", 100),
    )
    check_delivered(got)
    return got


def standing(bench: Workbench, peer: Peer) -> Cells:
    """Open 10,000 streams of different users, and keep them idle."""
    count = bench.streams(10_000)
    with bench.serving(peer) as server:
        before = seed(bench, peer, server, count) if peer.api.keeps_history else None
        hold = ("--mode", "hold", "--hold", bench.seconds(30), "--settle", 1)
        got = bench.loaded(server, *stream(peer, count, count), *hold)
    server_figures = got["server"]
    base = (before["server"] if before else server_figures)["start"]["rss"]
    cells = {
        "connects": got["connect_rate"],
        "cpu": 1e3 * server_figures["connect_cpu_s"] / count,
        "bytes": (server_figures["up"]["rss"] - base) / count,
    }
    if got["up_at_end"] < count:
        raise NotMeasured(f"{count - got['up_at_end']:,} streams were lost while idle")
    # 30 s contain two heartbeats; a scaled-down window may contain none.
    if got["hold_s"] < 20 or got["beats"] > 1.5 * count:
        cells["idle"] = 100 * server_figures["hold_cpu_s"] / got["hold_s"]
    return cells


def storm(bench: Workbench, peer: Peer) -> Cells:
    """Cut 10,000 streams, publish to each, and reconnect all of them."""
    if not peer.api.keeps_history:
        raise NotMeasured("it keeps no history to replay")
    count = bench.streams(10_000)
    args, size = peer.api.publish_to(count)
    publishes = -(-count // size)
    with bench.serving(peer) as server:
        got = bench.loaded(
            server,
            *stream(peer, count, count, has_state=False),
            *args,
            *("--user-order", "cycle", "--pub-batch", size, "--pub-conc", 8),
            *("--pub-count", publishes, "--gap-pubs", publishes),
            *("--mode", "storm", "--done", '"t":', "--duration", 60),
        )
    check_all_back(got)
    if got["storm"]["replayed"] > publishes * size:
        raise NotMeasured(f"{got['storm']['replayed']:,} events replayed for {count:,}")
    return {"seconds": got["storm"]["all_s"], "cpu": got["server"]["storm_cpu_s"]}


def stampede(bench: Workbench, peer: Peer) -> Cells:
    """Kill the server of 10,000 streams and start it again."""
    count = bench.streams(10_000)
    done = peer.api.state or (None if peer.api.sends_first_event else "up")
    with bench.serving(peer) as server:
        if peer.api.keeps_history:
            seed(bench, peer, server, count)
        # A peer without history has no state to send: an open stream is enough.
        args = stream(peer, count, count, has_state=False)
        args += ["--done", done] if done else []
        with bench.load(server, *args, "--mode", "stampede", "--duration", 90) as load:
            assert load.stdout is not None
            load.stdout.readline()  # printed when all streams are open
            server.kill()
            server.start()
            got = finished(load, 150)
    check_all_back(got)
    return {"seconds": got["storm"]["all_s"]}


def check_all_back(got: Result) -> None:
    back = got["storm"]["done"]
    if back < got["conns"]:
        raise NotMeasured(f"{back:,} of {got['conns']:,} streams came back in time")


@attrs.frozen
class Measurement:
    """One measurement of a peer, and its rows: label and decimal digits."""

    kind: str
    run: Callable[[Workbench, Peer], Cells]
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
class Results:
    """The figures so far, by row and peer, and the reasons for missing ones."""

    values: dict[tuple[str, str], list[float]] = attrs.Factory(
        partial(defaultdict, list)
    )
    reasons: dict[tuple[str, str], str] = attrs.Factory(dict)

    def measure(self, measurement: Measurement, peer: Peer, bench: Workbench) -> None:
        """Measure once; a failing peer has empty cells and a reason."""
        try:
            cells = measurement.run(bench, peer)
        except (NotMeasured, OSError) as error:
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
        names_by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
        for (kind, name), reason in self.reasons.items():
            names_by_reason[kind, reason].append(name)
        return "\n".join(
            f"- {kind}: {', '.join(names)}: {reason}."
            for (kind, reason), names in names_by_reason.items()
        )


def installed(bench: Workbench, peers: list[Peer]) -> list[Peer]:
    """Return the installed peers; print the reason for each other one."""
    found = []
    for peer in peers:
        try:
            peer.command(bench, 0)
        except (NotMeasured, ImportError) as error:
            print(f"{peer.name} is left out: {error}.")
        else:
            found.append(peer)
    return found


def load_average() -> str:
    return ", ".join(f"{load:.1f}" for load in os.getloadavg())


def measure(bench: Workbench, rounds: int, kinds: list[str], names: list[str]) -> None:
    measurements = [m for m in MEASUREMENTS if m.kind in kinds]
    bench.built(HERE / "sseload.c")
    peers = installed(bench, [peer for peer in PEERS if peer.name in names])
    print(
        f"{interpreter()}, Linux {platform.release()}, {rounds} "
        f"rounds, scale {bench.scale:g}, server on core {bench.cores[0]}, generator on "
        f"{bench.cores[-1]}. Load average before: {load_average()}.",
        flush=True,
    )
    book = Results()
    try:
        for number in range(1, rounds + 1):
            for measurement in measurements:
                for peer in peers:
                    began = time.monotonic()
                    book.measure(measurement, peer, bench)
                    took = f"{time.monotonic() - began:.0f} s"
                    what = f"round {number}: {measurement.kind} of {peer.name}"
                    print(f"{what}, {took}", file=sys.stderr, flush=True)
    finally:
        # An interrupted run prints the figures that it has.
        print(f"\n{book.table(measurements, peers)}\n\n{book.notes()}")
        print(f"\nLoad average after: {load_average()}.")
        for who, parts in bench.core_waits.items():
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
    # An exception, so that each started process is ended.
    sys.exit(128 + signal_number)


def main() -> None:
    asked = options()
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, end)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = Path(tempfile.mkdtemp(prefix="roundel-serving-"))
    try:
        bench = Workbench(folder, asked.python, asked.scale)
        measure(bench, asked.rounds, asked.only, asked.peers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
