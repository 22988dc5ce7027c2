"""Counters and histograms that are cheap to update.

The service counts each event of each stream, so an update is one addition in a dict or
a list. A scrape converts the values to the metric families of prometheus-client.
"""

from __future__ import annotations

import mmap
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias, final

import attrs
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

Labels: TypeAlias = tuple[str, ...]


@final
class Counter:
    """A counter, one per combination of label values.

    The *known* values of a single label are exported as 0 from the start.
    """

    def __init__(
        self, name: str, help_text: str, labels: Labels = (), known: Sequence[str] = ()
    ) -> None:
        self._name, self._help, self._labels = name, help_text, labels
        self._values: dict[Labels, int] = {(value,): 0 for value in known}
        if not labels:
            self._values[()] = 0

    def add(self, *labels: str, count: int = 1) -> None:
        """Add *count* to the counter of these label values."""
        values = self._values
        values[labels] = values.get(labels, 0) + count

    def collect(self) -> Iterator[Metric]:
        """Yield the counters."""
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for label_values, value in self._values.items():
            family.add_metric(label_values, value)
        yield family


@final
@attrs.frozen
class CounterFunction:
    """A counter that another part keeps; `read()` takes O(1)."""

    name: str
    help_text: str
    read: Callable[[], float]

    def collect(self) -> Iterator[Metric]:
        """Yield the counter."""
        yield CounterMetricFamily(self.name, self.help_text, self.read())


@final
class Histogram:
    """A histogram with the upper *bounds* of its buckets, in ascending order."""

    def __init__(
        self, name: str, help_text: str, bounds: Sequence[float], labels: Labels = ()
    ) -> None:
        self._name, self._help, self._labels = name, help_text, labels
        self._bounds = bounds
        self._cells: dict[Labels, list[float]] = {}
        if not labels:
            self._cells[()] = self._empty()

    def _empty(self) -> list[float]:
        # A cell per bound, one for values above all bounds, and the sum.
        return [0] * (len(self._bounds) + 2)

    def observe(self, value: float, *labels: str) -> None:
        """Add *value* to the histogram of these label values."""
        cells = self._cells.get(labels)
        if cells is None:
            cells = self._cells[labels] = self._empty()
        cells[bisect_left(self._bounds, value)] += 1
        cells[-1] += value

    def collect(self) -> Iterator[Metric]:
        """Yield the histograms; a bucket of Prometheus includes the lower buckets."""
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for label_values, (*cells, total) in self._cells.items():
            buckets = list(zip(bounds, accumulate(cells), strict=True))
            family.add_metric(label_values, buckets, total)
        yield family


@final
@attrs.frozen
class Process:
    """CPU time, memory and open files of the process; *proc* is its folder on Linux.

    The collector of prometheus-client lists all open files, which blocks the event loop
    for 20 ms at 20,000 files. Since Linux 6.2 the size of the folder is their number.
    """

    proc: Path = Path("/proc/self")

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics under the names that all Prometheus clients use."""
        help_text = "User and system CPU time, in seconds."
        yield CounterMetricFamily("process_cpu_seconds", help_text, time.process_time())
        if self.proc.is_dir():
            help_text = "Resident memory, in bytes."
            pages = int((self.proc / "statm").read_text().split()[1])
            size = pages * mmap.PAGESIZE
            yield GaugeMetricFamily("process_resident_memory_bytes", help_text, size)
            folder = self.proc / "fd"
            count = folder.stat().st_size or len(os.listdir(folder))
            yield GaugeMetricFamily("process_open_fds", "Open file descriptors.", count)
