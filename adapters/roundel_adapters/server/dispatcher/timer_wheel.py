"""When to ask lines that have no news, by the moment and not one by one."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from math import ceil, inf
from typing import final

from .socket_stream import SocketStream

RESOLUTION = 0.25
"""Seconds within which deadlines are one moment, the end of it."""


@final
class TimerWheel:
    """Holds each line at the moment when it has to be asked, or a few of them.

    Nearly all deadlines are a heartbeat from now, so that a moment is shared by
    hundreds; a heap of lines would be sorted again at each heartbeat of each.
    """

    def __init__(self) -> None:
        # The moments in order are few.
        self._moments: list[float] = []
        self._lines: dict[float, list[SocketStream]] = {}

    def __bool__(self) -> bool:
        return bool(self._moments)

    @property
    def next(self) -> float:
        """The first moment."""
        return self._moments[0] if self._moments else inf

    def put(self, line: SocketStream, deadline: float) -> None:
        """Have *line* asked at *deadline*, unless it will be as early already."""
        if deadline >= line.scheduled_at:
            return
        moment = ceil(max(deadline, 0.0) / RESOLUTION) * RESOLUTION
        line.scheduled_at = moment
        if moment not in self._lines:
            self._lines[moment] = []
            heapq.heappush(self._moments, moment)
        self._lines[moment].append(line)

    def due(self, now: float) -> Iterator[SocketStream]:
        """Take out the lines whose moment has come."""
        while self._moments and self._moments[0] <= now:
            moment = heapq.heappop(self._moments)
            for line in self._lines.pop(moment):
                # It may have been put somewhere earlier since, and asked there.
                if line.scheduled_at == moment:
                    line.scheduled_at = inf
                    yield line
