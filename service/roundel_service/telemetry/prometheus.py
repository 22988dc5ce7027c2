"""Plain numbers, and how Prometheus is told of them.

Counting happens for every frame of every stream, so it is an addition in a dict or a
list; the objects of prometheus-client are made only when somebody asks for them.
"""

from __future__ import annotations

import mmap
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Protocol, TypeAlias, final

import attrs
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

Labels: TypeAlias = tuple[str, ...]


class Series(Protocol):
    """Something that a scrape asks for its numbers."""

    def collect(self) -> Iterator[Metric]:
        """Put the numbers as they are now into Prometheus' words."""
        ...


@final
class Counter:
    """A number that only grows, one for each of the *labels*' values.

    Those of the *known* ones are told from the start, as 0.
    """

    def __init__(
        self, name: str, words: str, labels: Labels = (), known: Sequence[str] = ()
    ) -> None:
        self._told = (name, words, labels)
        self._values: dict[Labels, int] = {(value,): 0 for value in known}
        if not labels:
            self._values[()] = 0

    def add(self, count: int, labels: Labels = ()) -> None:
        """Let it grow by *count*, for these values of its labels."""
        values = self._values
        values[labels] = values.get(labels, 0) + count

    def collect(self) -> Iterator[Metric]:
        """Tell the numbers."""
        name, words, labels = self._told
        family = CounterMetricFamily(name, words, labels=labels)
        for label_values, value in self._values.items():
            family.add_metric(label_values, value)
        yield family


@final
class Histogram:
    """How often a value was at most each of *bounds*, which are in order."""

    def __init__(
        self, name: str, words: str, bounds: Sequence[float], labels: Labels = ()
    ) -> None:
        self._told = (name, words, labels)
        self._bounds = bounds
        self._cells: dict[Labels, list[float]] = {}
        if not labels:
            self._cells[()] = self._empty()

    def _empty(self) -> list[float]:
        # A cell for each bound, one for what is above them all, and the sum.
        return [0] * (len(self._bounds) + 2)

    def observe(self, value: float, labels: Labels = ()) -> None:
        """Count *value* in, for these values of the labels."""
        cells = self._cells.get(labels)
        if cells is None:
            cells = self._cells[labels] = self._empty()
        cells[bisect_left(self._bounds, value)] += 1
        cells[-1] += value

    def collect(self) -> Iterator[Metric]:
        """Tell the numbers; Prometheus wants each to include those below it."""
        name, words, labels = self._told
        family = HistogramMetricFamily(name, words, labels=labels)
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for label_values, (*cells, total) in self._cells.items():
            buckets = list(zip(bounds, accumulate(cells), strict=True))
            family.add_metric(label_values, buckets, total)
        yield family


@final
class Gauge:
    """A number that is *read* at each scrape, and not told while nobody can."""

    def __init__(
        self, name: str, words: str, read: Callable[[], float] | None = None
    ) -> None:
        self.read = read
        self._told = (name, words)

    def collect(self) -> Iterator[Metric]:
        """Tell the number."""
        if self.read is not None:
            yield GaugeMetricFamily(*self._told, value=self.read())


@final
@attrs.frozen
class Info:
    """Which *version* runs."""

    version: str

    def collect(self) -> Iterator[Metric]:
        """Tell the version."""
        words = "The version that runs."
        yield InfoMetricFamily("roundel", words, {"version": self.version})


@final
@attrs.frozen
class Process:
    """What the process takes of its machine; *proc* is its folder on Linux.

    The collector of prometheus-client lists all open files, which holds up the loop
    for 20 ms when there are 20,000; Linux has told their number itself since 6.2.
    """

    proc: Path = Path("/proc/self")

    def collect(self) -> Iterator[Metric]:
        """Tell the basics under the names that every Prometheus client uses."""
        words = "User and system CPU time spent, in seconds."
        yield CounterMetricFamily("process_cpu_seconds", words, time.process_time())
        if self.proc.is_dir():
            words = "Resident memory, in bytes."
            pages = int((self.proc / "statm").read_text().split()[1])
            size = pages * mmap.PAGESIZE
            yield GaugeMetricFamily("process_resident_memory_bytes", words, size)
            words = "Open file descriptors."
            folder = self.proc / "fd"
            number = folder.stat().st_size or len(os.listdir(folder))
            yield GaugeMetricFamily("process_open_fds", words, number)


@final
@attrs.frozen(eq=False)
class Families:
    """All of *series*, as one collector of prometheus-client."""

    series: Sequence[Series]

    def collect(self) -> Iterator[Metric]:
        """Tell all numbers."""
        for series in self.series:
            yield from series.collect()
