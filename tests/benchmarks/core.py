"""Measure the core and its peers in one run: parsing and encoding.

    python tests/benchmarks/core.py [--rounds N] [--quick]

The table is Markdown. Numbers are CPU time (`time.process_time`), the median of rounds
that measure each candidate in turn, so a busy machine slows all of them alike: compare
the ratios, not the rates. A peer that is not installed is named and left out. Peers
are httpx-sse, launchdarkly-eventsource and assel for parsing, sse-starlette,
FastAPI and aiohttp-sse for encoding:

    pip install httpx httpx-sse launchdarkly-eventsource assel
    pip install sse-starlette fastapi aiohttp-sse
"""

from __future__ import annotations

import argparse
import asyncio
import codecs
import statistics
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from interpreter import interpreter

from roundel import Event, History, Parser, Stream, encode

Chunks = list[bytes]
Run = Callable[[], object]
ParserRun = Callable[[Chunks], int]
EncoderRun = Callable[[Event, int], object]


@attrs.frozen
class Benchmark:
    """One row: the work of each candidate, and how often it is done."""

    name: str
    count: int
    runs: dict[str, Run]
    baseline: str


# Parsing: each candidate reads all chunks and returns the number of events.


def parse_ours() -> ParserRun:
    def parse(chunks: Chunks) -> int:
        parser = Parser()
        found = 0
        for chunk in chunks:
            found += len(parser.receive_data(chunk))
        return found

    return parse


def parse_httpx_sse() -> ParserRun:
    # The decoders below EventSource.iter_sse(), with the text decoder httpx puts there.
    from httpx_sse._decoders import SSEDecoder, SSELineDecoder

    text_decoder = codecs.getincrementaldecoder("utf-8")

    def parse(chunks: Chunks) -> int:
        text, lines, decoder = text_decoder("replace"), SSELineDecoder(), SSEDecoder()
        found = 0
        for chunk in chunks:
            for line in lines.decode(text.decode(chunk)):
                found += decoder.decode(line.rstrip("\n")) is not None
        return found

    return parse


def parse_launchdarkly() -> ParserRun:
    from ld_eventsource.actions import Event as LaunchDarklyEvent
    from ld_eventsource.reader import _BufferedLineReader, _SSEReader

    def parse(chunks: Chunks) -> int:
        reader = _SSEReader(_BufferedLineReader.lines_from(chunks))
        found = 0
        for item in reader.events_and_comments():
            found += isinstance(item, LaunchDarklyEvent)
        return found

    return parse


def parse_assel() -> ParserRun:
    import assel

    def parse(chunks: Chunks) -> int:
        parser = assel.Parser()
        found = 0
        for chunk in chunks:
            found += len(parser.receive_bytes(chunk))
        return found

    return parse


PARSERS = {
    "roundel": parse_ours,
    "httpx-sse": parse_httpx_sse,
    "launchdarkly": parse_launchdarkly,
    "assel": parse_assel,
}

TOKEN = (
    b'data: {"id":"cmpl-1","object":"completion.chunk","choices":[{"delta":'
    b'{"content":" badge"},"index":0}]}\n\n'
)
JSON = b'data: {"text":"' + b"lorem ipsum " * 84 + b'"}\n\n'


def cut(stream: bytes, size: int = 16_384) -> Chunks:
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def badges(count: int) -> bytes:
    lines = b'id: k3-%d\nevent: badge\ndata: {"unread":%06d}\n\n'
    return b"".join(lines % (number, number) for number in range(count))


def parsing(scale: int) -> list[Benchmark]:
    tokens, crlf, items, documents, beats = (
        count // scale for count in (200_000, 50_000, 100_000, 20_000, 200_000)
    )
    streams = {
        f"{tokens} tokens of {len(TOKEN)} B": (tokens, cut(TOKEN * tokens)),
        "the same, an event a chunk": (tokens, [TOKEN] * tokens),
        f"{crlf} tokens, CRLF": (crlf, cut(TOKEN.replace(b"\n", b"\r\n") * crlf)),
        f"{items} badges": (items, cut(badges(items))),
        f"{documents} JSON of 1 KiB": (documents, cut(JSON * documents)),
        f"{beats} heartbeats": (beats, [b":\n\n"] * beats),
    }
    parsers = installed(PARSERS)
    return [
        Benchmark(
            f"parse: {name}",
            count,
            {who: partial(parse, chunks) for who, parse in parsers.items()},
            "httpx-sse",
        )
        for name, (count, chunks) in streams.items()
    ]


# Encoding: each candidate writes an event so many times, from its parts, with the
# checks that it offers.


def encode_ours() -> EncoderRun:
    def write(event: Event) -> bytes:
        return encode(Event(event.data, event.type, event.id))

    return repeated(write)


def encode_sse_starlette() -> EncoderRun:
    from sse_starlette.event import ServerSentEvent

    def write(event: Event) -> object:
        kind = None if event.type == "message" else event.type
        return ServerSentEvent(event.data, event=kind, id=event.id).encode()

    return repeated(write)


def encode_fastapi() -> EncoderRun:
    # The model checks, the function writes; FastAPI's routes call one after the other.
    from fastapi.sse import ServerSentEvent, format_sse_event

    def write(event: Event) -> object:
        kind = None if event.type == "message" else event.type
        checked = ServerSentEvent(raw_data=event.data, event=kind, id=event.id)
        return format_sse_event(
            data_str=checked.raw_data, event=checked.event, id=checked.id
        )

    return repeated(write)


def encode_aiohttp_sse() -> EncoderRun:
    from aiohttp_sse import EventSourceResponse

    async def nowhere(data: bytes) -> None:
        """Only the encoding is measured."""

    async def send(event: Event, count: int) -> None:
        response = EventSourceResponse()
        response.write = nowhere
        kind = None if event.type == "message" else event.type
        for _ in range(count):
            await response.send(event.data, id=event.id, event=kind)

    return lambda event, count: asyncio.run(send(event, count))


ENCODERS = {
    "roundel": encode_ours,
    "sse-starlette": encode_sse_starlette,
    "fastapi": encode_fastapi,
    "aiohttp-sse": encode_aiohttp_sse,
}


def repeated(write: Callable[[Event], object]) -> EncoderRun:
    def write_all(event: Event, count: int) -> None:
        for _ in range(count):
            write(event)

    return write_all


def encoding(scale: int) -> list[Benchmark]:
    count = 50_000 // scale
    events = {
        "badge": Event('{"unread":000042}', "badge", "k3-42"),
        "token of 100 B": Event("x" * 100),
        "JSON of 1 KiB": Event('{"text":"' + "lorem ipsum " * 84 + '"}'),
        "20 lines of 50 B": Event("\n".join(["x" * 50] * 20)),
    }
    writers = installed(ENCODERS)
    return [
        Benchmark(
            f"encode: {name}",
            count,
            {who: partial(write, event, count) for who, write in writers.items()},
            "sse-starlette",
        )
        for name, event in events.items()
    ]


# Telling 1,000 readers: an event is appended, and each reader is asked for its bytes.
# The peer is what most servers do: a queue a reader, and an encoding for each.

READERS = 1_000


def step_ours(events: list[Event]) -> None:
    history = History("k3Qd")
    streams = [Stream(history, now=0.0, heartbeat=60.0) for _ in range(READERS)]
    for event in events:
        history.append(event, now=0.0)
        for stream in streams:
            stream.data_to_send(0.0)


def step_queues(events: list[Event]) -> None:
    queues: list[deque[Event]] = [deque() for _ in range(READERS)]
    for number, event in enumerate(events):
        for queue in queues:
            queue.append(event)
        for queue in queues:
            popped = queue.popleft()
            encode(Event(popped.data, popped.type, f"k3Qd.{number}"))


def stepping(scale: int) -> list[Benchmark]:
    events = [Event('{"unread":000042}', "badge")] * (200 // scale)
    runs = {
        "roundel": partial(step_ours, events),
        "a queue a stream": partial(step_queues, events),
    }
    count = READERS * len(events)
    name = f"deliver a badge to {READERS} streams"
    return [Benchmark(name, count, runs, "a queue a stream")]


# A new kind of benchmark is one more function here.
BENCHMARKS: list[Callable[[int], list[Benchmark]]] = [parsing, encoding, stepping]


def installed(candidates: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Load the installed candidates; print the reason for each other one."""
    found = {}
    for name, load in candidates.items():
        try:
            found[name] = load()
        except ImportError as error:
            print(f"{name} is left out: {error}.")
    return found


def cpu_time(run: Run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(benchmark: Benchmark, rounds: int) -> dict[str, float]:
    """Give the rate of each candidate, in operations a second of CPU time."""
    times: dict[str, list[float]] = {name: [] for name in benchmark.runs}
    for _ in range(rounds):
        for name, run in benchmark.runs.items():
            times[name].append(cpu_time(run))
    return {
        name: benchmark.count / statistics.median(taken)
        for name, taken in times.items()
    }


def row(benchmark: Benchmark, rates: dict[str, float], columns: list[str]) -> str:
    baseline = rates.get(benchmark.baseline)
    cells = [f"{benchmark.name} (1 = {benchmark.baseline})"]
    for name in columns:
        if name not in rates:
            cells.append("")
            continue
        ratio = f" = {rates[name] / baseline:.2f}" if baseline else ""
        cells.append(f"{rates[name] / 1000:.0f}k{ratio}")
    return "| " + " | ".join(cells) + " |"


def report(benchmarks: list[Benchmark], rounds: int) -> None:
    columns = list(dict.fromkeys(name for b in benchmarks for name in b.runs))
    print(f"\n| a second of CPU | {' | '.join(columns)} |")
    print("|---" * (1 + len(columns)) + "|")
    for benchmark in benchmarks:
        print(row(benchmark, measure(benchmark, rounds), columns), flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--quick", action="store_true", help="a tenth of the work")
    options = arguments.parse_args()
    print(f"{interpreter()}, {options.rounds} rounds.")
    for make in BENCHMARKS:
        report(make(10 if options.quick else 1), options.rounds)


if __name__ == "__main__":
    main()
