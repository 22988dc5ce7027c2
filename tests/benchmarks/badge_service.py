"""Measure how long the fixture `badge_service` takes: its import, a start, an end.

    python tests/benchmarks/badge_service.py [--rounds 20]

The import happens once in a test run. A start is one in a thread, as in a synchronous
test, until the service listens; its first tab and its end are measured too. The times
are medians in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import pairwise

NAMES = ("start", "first tab", "notify", "end")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    began = time.perf_counter()
    from roundel_service.testing.fixtures import run_badge_service

    print(f"import: {1_000 * (time.perf_counter() - began):.0f} ms")
    times: list[list[float]] = []
    for _ in range(rounds):
        marks = [time.perf_counter()]
        with run_badge_service() as service:
            marks.append(time.perf_counter())
            service.open("alice")
            marks.append(time.perf_counter())
            service.notify("alice", "Hello")
            marks.append(time.perf_counter())
        marks.append(time.perf_counter())
        times.append([b - a for a, b in pairwise(marks)])
    for name, column in zip(NAMES, zip(*times, strict=True), strict=True):
        median, worst = statistics.median(column), max(column)
        print(f"{name}: {1_000 * median:.1f} ms, at most {1_000 * worst:.0f} ms")


if __name__ == "__main__":
    main()
