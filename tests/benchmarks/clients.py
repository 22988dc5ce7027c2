"""Measure the clients of event streams and their peers in one run.

    python tests/benchmarks/clients.py [--rounds N] [--events N] [--streams N]

A server in another process sends events over loopback, and each client reads them in a
process of its own. The table is Markdown: events per second of CPU time, 200 and one
event a chunk, and the memory of an open stream. The medians are of
rounds that measure each client in turn, so compare the ratios to httpx-sse. Peers are
httpx-sse and launchdarkly-eventsource; one that is not installed is left out:

    pip install httpx httpx-sse launchdarkly-eventsource
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from interpreter import interpreter

PEERS = {
    "connect_sync, httpx2": "httpx2",
    "connect_sync, httpx": "httpx",
    "connect, asyncio": "httpx2",
    "httpx-sse": "httpx_sse",
    "httpx-sse, asyncio": "httpx_sse",
    "launchdarkly": "ld_eventsource",
}
BASELINE = "httpx-sse"
HEAD = b"""\
HTTP/1.1 200 OK\r
Content-Type: text/event-stream\r
Transfer-Encoding: chunked\r
\r
"""
EVENT = b'event: badge\nid: k3Qd.%d\ndata: {"unread":%d,"v":%d}\n\n'


Opener = Callable[[str], tuple[Any, Iterator[Any]]]
AsyncOpener = Callable[[AsyncExitStack, str], Awaitable[AsyncIterator[Any]]]


# The server.


def serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=respond, args=(connection,), daemon=True).start()


def respond(connection: socket.socket) -> None:
    """Send events in chunks, as many as the path says, and stay silent."""
    path = connection.recv(65536).split()[1].decode()
    together, count = map(int, path.split("/")[1:])
    events = [EVENT % (n, n, n) for n in range(count)]
    for start in range(0, count, together):
        chunk = b"".join(events[start : start + together])
        events[start] = b"%x\r\n%b\r\n" % (len(chunk), chunk)
    # All writers are this fast: the reader's CPU time is measured.
    connection.sendall(HEAD + b"".join(events[::together]))
    with suppress(ConnectionError):
        connection.recv(1)
    connection.close()


@contextmanager
def running_server() -> Iterator[int]:
    command = [sys.executable, __file__, "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


# The clients: each opens a stream and returns a function that reads some events.


def open_ours(name: str) -> Opener:
    library = __import__(name)
    from roundel_adapters.client import connect_sync

    client = library.Client(limits=library.Limits(max_connections=None))

    def open_stream(url: str) -> tuple[Any, Iterator[Any]]:
        events = connect_sync(client, url)
        return events, events

    return open_stream


def open_httpx_sse() -> Opener:
    import httpx
    from httpx_sse import connect_sse

    client = httpx.Client(timeout=60, limits=httpx.Limits(max_connections=None))

    def open_stream(url: str) -> tuple[Any, Iterator[Any]]:
        opened = connect_sse(client, "GET", url)
        return opened, opened.__enter__().iter_sse()

    return open_stream


def open_launchdarkly() -> Opener:
    from ld_eventsource import SSEClient

    def open_stream(url: str) -> tuple[Any, Iterator[Any]]:
        client = SSEClient(url)
        return client, iter(client.events)

    return open_stream


def open_ours_async() -> AsyncOpener:
    import httpx2

    from roundel_adapters.client import connect

    client = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=None))

    async def open_stream(opened: AsyncExitStack, url: str) -> AsyncIterator[Any]:
        return await opened.enter_async_context(aclosing(connect(client, url)))

    return open_stream


def open_httpx_sse_async() -> AsyncOpener:
    import httpx
    from httpx_sse import aconnect_sse

    limits = httpx.Limits(max_connections=None)
    client = httpx.AsyncClient(timeout=60, limits=limits)

    async def open_stream(opened: AsyncExitStack, url: str) -> AsyncIterator[Any]:
        source = await opened.enter_async_context(aconnect_sse(client, "GET", url))
        return await opened.enter_async_context(aclosing(source.aiter_sse()))

    return open_stream


OPENERS = {
    "connect_sync, httpx2": lambda: open_ours("httpx2"),
    "connect_sync, httpx": lambda: open_ours("httpx"),
    "httpx-sse": open_httpx_sse,
    "launchdarkly": open_launchdarkly,
}
ASYNC_OPENERS = {
    "connect, asyncio": open_ours_async,
    "httpx-sse, asyncio": open_httpx_sse_async,
}


def measure(name: str, base: str, kind: str, count: int) -> float:
    """Return events per CPU second, or with the kind `open` bytes for each stream."""
    if name.endswith("asyncio"):
        return asyncio.run(measure_async(ASYNC_OPENERS[name](), base, kind, count))
    open_stream = OPENERS[name]()
    if kind != "open":
        opened, events = open_stream(f"{base}/{kind}/{count}")
        next(events)
        start = time.process_time()
        for _ in range(count - 1):
            next(events)
        assert opened
        return count / (time.process_time() - start)
    kept = [open_stream(f"{base}/1/1") for _ in range(2)]
    for _, events in kept:
        next(events)
    before = resident()
    for _ in range(count):
        kept.append(open_stream(f"{base}/1/1"))
        next(kept[-1][1])
    return (resident() - before) / count


async def measure_async(
    open_stream: AsyncOpener, base: str, kind: str, count: int
) -> float:
    async with AsyncExitStack() as opened:
        if kind != "open":
            events = await open_stream(opened, f"{base}/{kind}/{count}")
            await anext(events)
            start = time.process_time()
            for _ in range(count - 1):
                await anext(events)
            return count / (time.process_time() - start)
        for _ in range(2):
            await anext(await open_stream(opened, f"{base}/1/1"))
        before = resident()
        for _ in range(count):
            await anext(await open_stream(opened, f"{base}/1/1"))
        return (resident() - before) / count


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


# The table.


def measured(name: str, base: str, kind: str, count: int) -> float:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "measure", name, base, kind, str(count)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    return float(done.stdout.split()[-1])


def compare(rounds: int, events: int, streams: int) -> None:
    names = [name for name, module in PEERS.items() if find_spec(module)]
    rows = {
        "events a CPU second, 200 a chunk": ("200", events),
        "events a CPU second, one a chunk": ("1", events),
        "KiB of memory for an open stream": ("open", streams),
    }
    print(f"| | {' | '.join(names)} |")
    print(f"|---|{'--:|' * len(names)}")
    with running_server() as port:
        base = f"http://127.0.0.1:{port}"
        for title, (kind, count) in rows.items():
            results = {name: [] for name in names}
            for _ in range(rounds):
                for name in names:
                    results[name].append(measured(name, base, kind, count))
            medians = {name: statistics.median(results[name]) for name in names}
            unit = 1024 if kind == "open" else 1000
            baseline = medians.get(BASELINE)
            cells = [
                f"{value / unit:.0f}{'' if kind == 'open' else 'k'}"
                + (f" = {value / baseline:.2f}" if baseline else "")
                for value in medians.values()
            ]
            print(f"| {title} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            print(listener.getsockname()[1], flush=True)
            serve(listener)
    if sys.argv[1:2] == ["measure"]:
        _, _, name, base, kind, count = sys.argv
        print(measure(name, base, kind, int(count)))
        return
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--events", type=int, default=50_000)
    arguments.add_argument("--streams", type=int, default=200)
    options = arguments.parse_args()
    print(f"{interpreter()}, {options.rounds} rounds.\n")
    compare(options.rounds, options.events, options.streams)


if __name__ == "__main__":
    main()
