"""Measure how long others wait while HTTP/2 clients flood the service.

    python tests/benchmarks/floods.py [--seconds 2] [--connections 1,20] [--only PING]

`roundel serve` runs on one core, and the floods on the other; a connection that the
service closes is opened again at once. One bystander sends GET /livez over HTTP/1.1,
and one over HTTP/2, one request after the other. The table has the longest
wait of each in milliseconds, and the longest CPU time that the service used during one
wait. The second does not depend on other programs of the machine. Then comes how often
the service closed a flood. The last column is the longest CPU time that connections in
memory work between two turns of another task, without garbage collections.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import h2.config
import h2.connection
import h2.events
import trio
from hypercorn.events import RawData

sys.path.insert(0, str(Path(__file__).parent.parent))

from roundel_service.cli.process_tuning import prepare_process
from support.http2_cases import CASE_APP
from support.http2_floods import FLOODS
from support.http2_wire import PREFACE, server_context, settings, wire_server

REQUEST = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
PIECE = 1 << 16
CORES = sorted(os.sched_getaffinity(0))


@contextmanager
def service() -> Iterator[tuple[int, Path]]:
    """Run the service on the first core; yield its port and its CPU time."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ROUNDEL_PRODUCER_KEYS": "a-producer-key-for-a-benchmark",
        "ROUNDEL_JWT_SECRET": "a-secret-of-more-than-32-bytes-for-a-benchmark",
        "ROUNDEL_ENGINE": "memory",
        "ROUNDEL_OPS_BIND": "",
        "ROUNDEL_LOG_LEVEL": "error",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "roundel_service", "serve", "--bind", "127.0.0.1:0"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, CORES[:1]),
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline().rpartition(":")[2])
        yield port, Path(f"/proc/{process.pid}/task/{process.pid}/schedstat")
    finally:
        process.kill()
        process.communicate()


# The floods.


class Flood:
    """A connection that sends bytes until it is closed, and reads what it receives."""

    def __init__(self, port: int, content: bytes) -> None:
        self._port, self._content = port, PREFACE + settings() + content
        self.closed = -1
        self.open()

    def open(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self._port))
        self.socket.setblocking(False)
        self._sent = 0
        self.closed += 1

    @property
    def is_sent(self) -> bool:
        return self._sent >= len(self._content)

    def run(self, events: int) -> bool:
        """Send and receive; return whether the connection is still open."""
        with suppress(BlockingIOError):
            if events & selectors.EVENT_READ and not self.socket.recv(PIECE):
                return False
            rest = memoryview(self._content)[self._sent : self._sent + PIECE]
            self._sent += self.socket.send(rest) if rest else 0
        return True


def flood(port: int, content: bytes, connections: int, closed: object) -> None:
    """Flood from *connections* until killed."""
    os.nice(10)
    selector = selectors.DefaultSelector()
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    for _ in range(connections):
        connection = Flood(port, content)
        selector.register(connection.socket, both, connection)
    while True:
        for key, events in selector.select():
            connection = key.data
            if connection.is_sent:
                selector.modify(connection.socket, selectors.EVENT_READ, connection)
            try:
                is_open = connection.run(events)
            except OSError:
                is_open = False
            if not is_open:
                selector.unregister(connection.socket)
                connection.socket.close()
                connection.open()
                selector.register(connection.socket, both, connection)
                closed.value += 1  # type: ignore[attr-defined]


@contextmanager
def flooding(port: int, content: bytes, connections: int) -> Iterator[object]:
    closed = multiprocessing.Value("i", 0, lock=False)
    arguments = (port, content, connections, closed)
    process = multiprocessing.Process(target=flood, args=arguments, daemon=True)
    process.start()
    try:
        yield closed
    finally:
        process.kill()
        process.join()


# The bystanders.


def ask_http1(sock: socket.socket) -> None:
    sock.sendall(REQUEST)
    received = b""
    while not received.endswith(b"ok\n") and not received.endswith(b"}"):
        part = sock.recv(PIECE)
        assert part, received
        received += part
        if b"\r\n\r\n" in received and _is_whole(received):
            return


def _is_whole(received: bytes) -> bool:
    head, _, body = received.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return len(body) >= int(fields.get(b"content-length", 0))


@attrs.define
class Http2Bystander:
    """An HTTP/2 client that sends one request after the other."""

    socket: socket.socket
    h2: h2.connection.H2Connection

    @classmethod
    def connect(cls, port: int) -> Http2Bystander:
        config = h2.config.H2Configuration(client_side=True)
        client = cls(
            socket.create_connection(("127.0.0.1", port)),
            h2.connection.H2Connection(config),
        )
        client.h2.initiate_connection()
        return client

    def ask(self) -> None:
        stream = self.h2.get_next_available_stream_id()
        head = {":method": "GET", ":path": "/livez", ":scheme": "http"}
        fields = [*head.items(), (":authority", "x")]
        self.h2.send_headers(stream, fields, end_stream=True)
        while True:
            self.socket.sendall(self.h2.data_to_send())
            received = self.socket.recv(PIECE)
            assert received, "the service closed the connection of a bystander"
            events = self.h2.receive_data(received)
            if any(isinstance(event, h2.events.StreamEnded) for event in events):
                return


def cpu_seconds(schedstat: Path) -> float:
    return int(schedstat.read_text().split()[0]) / 1e9


def longest_waits(port: int, schedstat: Path, seconds: float) -> list[float]:
    """Return the longest wait of each bystander, and the most CPU time of one wait."""
    http1 = socket.create_connection(("127.0.0.1", port))
    http2 = Http2Bystander.connect(port)
    longest = [0.0] * 4
    until = time.perf_counter() + seconds
    with http1, http2.socket:
        while time.perf_counter() < until:
            for number, ask in enumerate((lambda: ask_http1(http1), http2.ask)):
                began, cpu = time.perf_counter(), cpu_seconds(schedstat)
                ask()
                wait = time.perf_counter() - began
                used = cpu_seconds(schedstat) - cpu
                longest[number] = max(longest[number], wait)
                longest[2 + number] = max(longest[2 + number], used)
                time.sleep(0.001)
    return longest


# The work between two turns.


async def longest_turn(content: bytes, connections: int) -> float:
    """Return the longest CPU time between two turns of another task."""
    context, longest = server_context(CASE_APP), 0.0

    async def look() -> None:
        nonlocal longest
        last = time.thread_time()
        while True:
            await trio.lowlevel.checkpoint()
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    async def receive() -> None:
        async with wire_server(CASE_APP, context=context) as server:
            for start in range(0, len(content), PIECE):
                if not server.is_closed:
                    part = content[start : start + PIECE]
                    await server.connection.handle(RawData(part))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        async with trio.open_nursery() as floods:
            for _ in range(connections):
                floods.start_soon(receive)
        nursery.cancel_scope.cancel()
    return longest


COLUMNS = ["HTTP/1.1", "HTTP/2", "CPU 1.1", "CPU 2", "closed", "turn"]


def measure(names: list[str], counts: list[int], seconds: float) -> None:
    print("| flood | connections |", " | ".join(COLUMNS), "|")
    print("|---" + "|--:" * (1 + len(COLUMNS)) + "|")
    for name in names:
        for count in counts if name in FLOODS else [0]:
            content = FLOODS.get(name, b"")
            with service() as (port, stat), flooding(port, content, count) as closed:
                time.sleep(1.0)  # The service imports modules behind its start.
                times = longest_waits(port, stat, seconds)
                number = closed.value  # type: ignore[attr-defined]
            gc.disable()
            turn = trio.run(longest_turn, content, count)
            gc.enable()
            cells = [f"{1e3 * each:.1f}" for each in times]
            row = [name, count, *cells, number, f"{1e3 * turn:.1f}"]
            print("|", " | ".join(map(str, row)), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", default="1,20")
    parser.add_argument("--only", default=None, help="floods, separated by commas")
    asked = parser.parse_args()
    names = asked.only.split(",") if asked.only else ["none", *FLOODS]
    counts = [int(count) for count in asked.connections.split(",")]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.sched_setaffinity(0, CORES[-1:])
    prepare_process()
    measure(names, counts, asked.seconds)


if __name__ == "__main__":
    main()
