"""Compare an embedded stream with sse-starlette: the same application, on uvicorn.

    python tests/benchmarks/embedding.py [--rounds 3] [--scale 1.0]
        [--only fan_out,memory] [--apps embedded_roundel]

The applications are `peers/embedded_roundel.py` and `peers/embedded_sse_starlette.py`:
a log of 1,000 events with replay after a reconnect, a timeout for readers that do not
read, and a last word at shutdown. Each scenario starts a server of its own, and each
round runs both applications in turn. The table has the medians, and the ratio of the
peer to Roundel: above 1, Roundel needs less. *--scale* makes streams and events fewer.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import io
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import attrs

from roundel import Event, Parser

PEERS = Path(__file__).parent / "peers"
APPS = ("embedded_roundel", "embedded_sse_starlette")
SPACE = "x" * 1_000
"""A publish of this body fills socket buffers."""

Row = dict[str, float]


@attrs.frozen
class EmbeddingServer:
    """A uvicorn process with one of the applications."""

    process: subprocess.Popen[bytes]
    port: int
    _log: IO[bytes]

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().split(") ")[1]
        ticks = sum(map(int, fields.split()[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    async def wait_for_log(self, within: float) -> None:
        """Wait until the server has logged something."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not os.fstat(self._log.fileno()).st_size:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    async def publish(self, data: str, count: int = 1, *, turn: int = 1) -> None:
        """Publish *data* several times; return when the response has arrived.

        *turn* is the number of events that the application publishes before it lets
        other tasks run.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"POST /publish?count={count}&turn={turn} HTTP/1.1\r\nhost: x"
        length = f"connection: close\r\ncontent-length: {len(data)}"
        writer.write(f"{head}\r\n{length}\r\n\r\n{data}".encode())
        response = await reader.read()
        writer.close()
        assert b" 202 " in response, response

    async def open(self, last_event_id: str = "", *, buffer: int = 0) -> StreamReader:
        """Open a stream, and read its response's head."""
        sock = socket.socket()
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        # Without a limit asyncio reads on, and so does a reader that does not.
        reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 12)
        field = f"last-event-id: {last_event_id}\r\n" if last_event_id else ""
        # HTTP/1.0: the body is not chunked.
        writer.write(f"GET /events HTTP/1.0\r\nhost: x\r\n{field}\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        return StreamReader(reader, writer)


@attrs.define
class StreamReader:
    """An open stream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    parser: Parser = attrs.field(factory=Parser)

    async def read(
        self, count: float = float("inf"), *, within: float = 60.0
    ) -> list[Event]:
        """Return *count* events, or fewer at the end or after *within* seconds."""
        events: list[Event] = []
        try:
            async with asyncio.timeout(within):
                while len(events) < count:
                    data = await self.reader.read(1 << 16)
                    if not data:
                        break
                    events += self.parser.receive_data(data)
        except TimeoutError:
            pass
        return events

    async def skip(self, mark: bytes, count: int) -> None:
        """Read until *mark* has arrived *count* times."""
        rest = b""
        while count > 0:
            data = await self.reader.read(1 << 16)
            assert data, "the stream has ended"
            data = rest + data
            count -= data.count(mark)
            rest = data[data.rfind(mark) + len(mark) :][-len(mark) + 1 :]

    def close(self) -> None:
        self.writer.close()


@contextmanager
def serving(app: str) -> Iterator[EmbeddingServer]:
    """Run an application on uvicorn."""
    with (
        tempfile.TemporaryFile() as log,
        socket.create_server(("127.0.0.1", 0), backlog=4_096) as listener,
    ):
        port, descriptor = listener.getsockname()[1], listener.fileno()
        command = [sys.executable, "-m", "uvicorn", "--log-level", "warning"]
        command += ["--app-dir", str(PEERS), "--fd", str(descriptor), f"{app}:app"]
        process = subprocess.Popen(command, pass_fds=[descriptor], stderr=log)
        try:
            yield EmbeddingServer(process, port, log)
        finally:
            process.kill()
            process.wait()


# The scenarios.


def lines_of_code(app: str) -> int:
    """Count the lines with code; docstrings and comments are none."""
    source = (PEERS / f"{app}.py").read_text()
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)
    skipped += (tokenize.INDENT, tokenize.DEDENT)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {token.start[0] for token in tokens if token.type not in skipped}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


async def resume(server: EmbeddingServer, scale: float) -> Row:
    """A reader that was away for 50 events gets them, each once."""
    stream = await server.open()
    await server.publish("seen", 5)
    *_, last = await stream.read(6)
    stream.close()
    for number in range(50):
        await server.publish(f"missed {number}")
    again = await server.open(last.id or "")
    _, *events = await again.read(51, within=5.0)
    texts = [event.data for event in events]
    exact = [f"missed {number} 0" for number in range(50)]
    return {"of 50 missed events, not replayed once": 50.0 * (texts != exact)}


async def shutdown(server: EmbeddingServer, scale: float) -> Row:
    """At SIGTERM each of ten readers gets its last word, and the process ends."""
    streams = [await server.open() for _ in range(10)]
    for stream in streams:
        await stream.read(1)
    start = time.perf_counter()
    server.process.send_signal(signal.SIGTERM)
    ends = await asyncio.gather(*(stream.read(within=20.0) for stream in streams))
    byes = sum(events[-1:] != [] and events[-1].type == "bye" for events in ends)
    await asyncio.to_thread(server.process.wait, 30)
    spread = len({stream.parser.retry for stream in streams})
    return {
        "readers of 10 without a last word": 10.0 - byes,
        "readers of 10 with the reconnection time of another": 10.0 - spread,
        "seconds from SIGTERM to the end": time.perf_counter() - start,
    }


async def slow_reader(server: EmbeddingServer, scale: float) -> Row:
    """A reader that does not read is cut, and its backlog is bounded."""
    quick = await server.open()
    reading = asyncio.create_task(quick.read())
    # The ring is full before the memory is measured.
    await server.publish(SPACE, 1_100)
    stalled = await server.open(buffer=4_096)
    before, peak, start = server.resident_bytes(), 0, time.perf_counter()
    for _ in range(int(100 * scale) + 1):
        await server.publish(SPACE, 100)
        peak = max(peak, server.resident_bytes())
    # uvicorn logs an error for a response that ends before its body.
    await server.wait_for_log(within=30.0)
    spent = time.perf_counter() - start
    reading.cancel()
    stalled.close()
    return {
        "MiB for a reader that does not read": (peak - before) / (1 << 20),
        "seconds until its response ends, of 5": spent,
    }


async def memory(server: EmbeddingServer, scale: float) -> Row:
    """The resident memory of idle streams."""
    count = int(1_000 * scale) + 1
    warm = [await server.open() for _ in range(50)]
    before = server.resident_bytes()
    streams = [await server.open() for _ in range(count)]
    for stream in streams:
        await stream.read(1)
    grown = server.resident_bytes() - before
    for stream in [*warm, *streams]:
        stream.close()
    return {"resident KiB a stream": grown / count / 1_024}


async def fan_out(server: EmbeddingServer, scale: float) -> Row:
    """The processor time of one delivery, in bursts and for single events."""
    count, burst, single = 100, int(1_000 * scale) + 1, int(200 * scale) + 1
    streams = [await server.open() for _ in range(count)]
    row: Row = {}
    for name, times, each, turn in [
        ("one at a time", single, 1, 1),
        ("20 at once", 1, burst, 20),
        ("one each turn of the loop", 1, burst, 1),
    ]:
        before = server.cpu_seconds()
        for _ in range(times):
            reading = [stream.skip(b"data: event", each) for stream in streams]
            await asyncio.gather(server.publish("event", each, turn=turn), *reading)
        spent = server.cpu_seconds() - before
        row[f"CPU µs a delivery, {name}"] = spent * 1e6 / (count * times * each)
    for stream in streams:
        stream.close()
    return row


Scenario = Callable[[EmbeddingServer, float], Awaitable[Row]]
SCENARIOS: list[Scenario] = [resume, shutdown, slow_reader, memory, fan_out]


async def measure(app: str, options: argparse.Namespace) -> Row:
    row: Row = {"lines of code": lines_of_code(app)}
    for scenario in SCENARIOS:
        if scenario.__name__ not in (options.only or scenario.__name__).split(","):
            continue
        with serving(app) as server:
            await server.publish("first")
            row.update(await scenario(server, options.scale))
    return row


def table(rounds: dict[str, list[Row]]) -> str:
    """Return the medians, and the ratio of the last application to the first."""
    names = [app.removeprefix("embedded_").replace("_", "-") for app in rounds]
    lines = [f"| | {' | '.join(names)} | ratio |", f"|---|{'--:|' * (len(names) + 1)}"]
    for name in next(iter(rounds.values()))[0]:
        medians = [
            statistics.median(row[name] for row in measured)
            for measured in rounds.values()
        ]
        cells = " | ".join(f"{median:.3g}" for median in medians)
        lines.append(f"| {name} | {cells} | {_ratio(medians[-1], medians[0])} |")
    return "\n".join(lines)


def _ratio(peer: float, own: float) -> str:
    if peer == own:
        return "1.0"
    return f"{peer / own:.1f}" if own > 0 else "∞"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", default="", help="names of scenarios, with commas")
    parser.add_argument("--apps", default=",".join(APPS), help="with commas")
    options = parser.parse_args()
    apps = options.apps.split(",")
    rounds: dict[str, list[Row]] = {app: [] for app in apps}
    for number in range(options.rounds):
        # The order changes, so that neither has the quieter machine.
        for app in apps if number % 2 == 0 else reversed(apps):
            rounds[app].append(asyncio.run(measure(app, options)))
    print(table(rounds))


if __name__ == "__main__":
    main()
