"""Measure a publish to many streams in one process: topics, the bare core, and queues.

    python tests/benchmarks/topics.py [--streams 1,100,10000] [--events 200]
        [--rounds 3] [--only topics,core]

Each stream is a task of asyncio that takes chunks and writes them nowhere.

- `topics` is a stream of `Topics` with its driver.
- `core` is a `roundel.Stream` with its driver: a history and a wakeup that all share.
- `queue` is an `asyncio.Queue` for each subscriber, whose events are encoded by
  `ServerSentEvent` of sse-starlette. It has no replay, no bound and no heartbeat.

Times are CPU time for each event that one stream has received, the median of rounds
that measure each candidate in turn. Memory is that of Python's objects for each stream
that waits, by tracemalloc. Compare the ratios: they are to `queue`, and above 1 the
candidate needs less.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from functools import partial

import attrs

from roundel import Event, History, Stream
from roundel_adapters.driver import iter_chunks
from roundel_adapters.topics import Topics
from roundel_adapters.wakeup import Wakeup


class TopicsCandidate:
    """Streams of `Topics`."""

    def __init__(self) -> None:
        self._topics = Topics(signals=False)

    def publish(self, data: str) -> None:
        self._topics.publish("a", Event(data))

    def subscribe(self) -> AsyncIterator[bytes]:
        return iter_chunks(self._topics.stream("a"))


class CoreCandidate:
    """Streams of the core, with one history and one wakeup."""

    def __init__(self) -> None:
        self._history = History("e")
        self._wakeup = Wakeup()

    def publish(self, data: str) -> None:
        self._history.append(Event(data))
        self._wakeup.notify()

    def subscribe(self) -> AsyncIterator[bytes]:
        now = asyncio.get_running_loop().time()
        return iter_chunks(Stream(self._history, now=now), self._wakeup)


class QueueCandidate:
    """A queue for each subscriber."""

    def __init__(self) -> None:
        self._queues: list[asyncio.Queue[str]] = []

    def publish(self, data: str) -> None:
        for queue in self._queues:
            queue.put_nowait(data)

    async def subscribe(self) -> AsyncIterator[bytes]:
        from sse_starlette import ServerSentEvent

        queue: asyncio.Queue[str] = asyncio.Queue()
        self._queues.append(queue)
        while True:
            yield ServerSentEvent(await queue.get()).encode()


Candidate = TopicsCandidate | CoreCandidate | QueueCandidate
CANDIDATES: dict[str, Callable[[], Candidate]] = {
    "topics": TopicsCandidate,
    "core": CoreCandidate,
    "queue": QueueCandidate,
}


@attrs.define
class Readers:
    """Tasks that count the events that they have received."""

    received: int = 0
    tasks: list[asyncio.Task[None]] = attrs.field(factory=list)

    async def start(self, candidate: Candidate, count: int) -> None:
        """Start readers, and return when all of them wait."""
        self.tasks = [
            asyncio.create_task(self._read(candidate.subscribe())) for _ in range(count)
        ]
        for _ in range(3):
            await asyncio.sleep(0)

    async def _read(self, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            self.received += chunk.count(b"data: ")

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def seconds_per_delivery(name: str, streams: int, events: int) -> float:
    """Return the CPU seconds for each event that one stream has received."""
    candidate, readers = CANDIDATES[name](), Readers()
    await readers.start(candidate, streams)
    start = time.process_time()
    for number in range(events):
        candidate.publish(f"event {number}")
        while readers.received < (number + 1) * streams:  # noqa: ASYNC110, no wait
            await asyncio.sleep(0)
    seconds = time.process_time() - start
    await readers.stop()
    return seconds / (streams * events)


async def bytes_per_stream(name: str, streams: int) -> float:
    """Return the bytes of Python's objects for each stream that waits."""
    candidate, readers = CANDIDATES[name](), Readers()
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    await readers.start(candidate, streams)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await readers.stop()
    return (after - before) / streams


def row(label: str, values: dict[str, float], unit: str) -> str:
    """Return a row of the table: each value, and its ratio to `queue` if measured."""
    cells = [f"{value:,.2f} {unit}" for value in values.values()]
    if "queue" in values:
        ratios = [values["queue"] / value for value in values.values()]
        cells = [f"{it} ({n:.2f})" for it, n in zip(cells, ratios, strict=True)]
    return " | ".join(["", label, *cells, ""]).strip()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", default="1,100,10000")
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(CANDIDATES))
    options = parser.parse_args()
    chosen = options.only.split(",")
    print("|  |", " | ".join(chosen), "|")
    print("| --- |", " | ".join("---" for _ in chosen), "|")
    counts = [int(count) for count in options.streams.split(",")]
    for streams in counts:
        # As many deliveries for few streams as for many, within bounds.
        events = max(options.events * 100 // max(streams, 100), 3)
        measure = partial(seconds_per_delivery, streams=streams, events=events)
        rounds = [
            {name: asyncio.run(measure(name)) for name in chosen}
            for _ in range(options.rounds)
        ]
        medians = {
            name: statistics.median(each[name] for each in rounds) * 1e6
            for name in chosen
        }
        print(row(f"delivery to {streams:,} streams", medians, "µs"), flush=True)
    memory = {
        name: asyncio.run(bytes_per_stream(name, counts[-1])) / 1024 for name in chosen
    }
    print(row(f"memory of one of {counts[-1]:,} streams", memory, "KiB"))


if __name__ == "__main__":
    main()
