"""Frames straight to the socket: many streams, one place that writes, and no tasks.

The usual driver costs a task a stream, and three turns of the scheduler a frame. Here
a stream that has begun is a socket, a position and a place in two sets. Whoever has
news marks its streams; once in a turn of the scheduler one task asks each of them what
it has to say and writes that without waiting. Events that came in the same turn go in
one write. A socket that takes no more is left to an epoll of our own, which also
notices peers that go. The `roundel.Stream` still decides every byte: this is another
driver of the same object, by the same rule of draining before sleeping.
"""

from __future__ import annotations

import logging
import select
import socket
import time
from collections import deque
from contextlib import AbstractContextManager, suppress
from itertools import islice
from math import inf
from typing import final

import trio

from ...driver import Talker
from ...wakeup import Bell
from .socket_stream import Line
from .timer_wheel import Calendar

log = logging.getLogger(__name__)

IS_SUPPORTED = hasattr(select, "epoll")
"""Whether this system can do it; where it cannot, tasks drive the streams."""

SLICE = 0.005
"""After how many seconds a publish gives everything else a turn."""

BATCH = 128
"""How many streams are written to at a stretch, which is some 3 ms more."""

# How many times the time-out one write may take as a whole.
_PATIENCE = 4
SWEEP = 1.0
"""How many seconds a heartbeat or an end may be late, at the most."""

_PEERS = 512
_SENT_AHEAD = 1 << 16


@final
class Switchboard:
    """Drives the streams that it is given the sockets of; `run()` has to run.

    A peer that takes nothing for *write_timeout* seconds is cut, and so is one that
    takes four times as long for one write.
    """

    def __init__(self, *, write_timeout: float = 30.0) -> None:
        self._write_timeout = write_timeout
        self._epoll = select.epoll()
        self._lines: dict[int, Line] = {}
        self._marked: deque[Line] = deque()
        self._calendar = Calendar()
        self._swept = -inf
        self._stirred = trio.lowlevel.ParkingLot()
        self._emptied = Bell()

    def __len__(self) -> int:
        return len(self._lines)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Write and watch, until cancelled; what is left then is cut."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                task_status.started()
                await self._write_all()
        finally:
            self.cut_all()
            self._epoll.close()

    def adopt(
        self,
        sock: socket.socket,
        talker: Talker,
        bell: Bell,
        *,
        within: AbstractContextManager[object],
        chunked: bool,
        head: bytes = b"",
    ) -> None:
        """Take over *sock*, non-blocking, behind the head of its response.

        A *head* that is still to be written goes in one write with the first frames.
        *bell* is rung whenever *talker* may have news. *within* is entered now and
        left at the end. With *chunked* the body is in chunks (RFC 9112 7.1), without
        it the end of the connection is its end.
        """
        line = Line(self, sock, talker, bell, within, chunked=chunked, head=head)
        try:
            self._epoll.register(sock, select.EPOLLRDHUP)
            within.__enter__()
        except BaseException:
            # It was given away: whoever gave it cannot close it any more.
            sock.close()
            raise
        self._lines[sock.fileno()] = line
        bell.attach(line)
        line.wake()

    def cut_all(self) -> None:
        """End all streams without a word."""
        for line in list(self._lines.values()):
            self._drop(line)

    async def wait_empty(self) -> None:
        """Wait until no stream is left."""
        while self._lines:
            await self._emptied.wait()

    def mark(self, line: Line) -> None:
        """Have *line* asked, soon, what it has to say."""
        self._marked.append(line)
        if len(self._marked) == 1:
            self._stirred.unpark()

    async def _write_all(self) -> None:
        while True:
            if not self._marked:
                with trio.move_on_at(self._next_sweep()):
                    await self._stirred.park()
            # What else is published in this turn goes into the same write.
            await trio.lowlevel.checkpoint()
            self._mark_due(trio.current_time())
            await self._write_marked()

    def _next_sweep(self) -> float:
        # Heartbeats are spread over time; one by one they would cost a turn of the
        # scheduler each, so those of the same moment go together, a little late.
        return max(self._calendar.next, self._swept + SWEEP)

    def _mark_due(self, now: float) -> None:
        if now < self._swept + SWEEP:
            return
        self._swept = now
        for line in self._calendar.due(now):
            line.wake()

    async def _write_marked(self) -> None:
        marked, self._marked = self._marked, deque()
        until = time.perf_counter() + SLICE
        now = trio.current_time()
        rounds = iter(marked)
        while batch := list(islice(rounds, BATCH)):
            self._write_batch(batch, now)
            if time.perf_counter() > until:
                # A publish to thousands must not keep everybody else waiting.
                await trio.lowlevel.checkpoint()
                until, now = time.perf_counter() + SLICE, trio.current_time()

    def _write_batch(self, batch: list[Line], now: float) -> None:
        # First all are asked, and then all is written: a system call leaves little of
        # us in the processor's caches, and a reader that is fed without a pause does
        # not have to be woken for each write. That is a tenth of what a delivery costs.
        asked = [(line, self._ask(line, now)) for line in batch]
        for line, data in asked:
            if data and not line.is_over:
                self._send(line, data, now)
        for line in batch:
            self._attend(line, now)

    def _ask(self, line: Line, now: float) -> bytes:
        """Ask a line that is not busy what it has to say, for the first time."""
        line.is_marked = False
        if line.is_over or line.rest:
            return b""
        try:
            return line.next_data(now)
        except Exception:
            log.exception("a stream failed")
            self._drop(line)
            return b""

    def _attend(self, line: Line, now: float) -> None:
        if line.is_over:
            return
        try:
            if not line.rest:
                self._say(line, now)
            elif now >= line.due:
                self._drop(line)
            # What is said puts the deadline off: who has a moment keeps it.
            if (line.armed == inf or line.rest) and not line.is_over:
                self._calendar.put(line, line.deadline)
        except Exception:
            log.exception("a stream failed")
            self._drop(line)

    def _say(self, line: Line, now: float) -> None:
        """Drain: write until it has nothing to say, or the peer takes no more."""
        while data := line.next_data(now):
            if not self._send(line, data, now):
                return
        if line.is_ended:
            self._finish(line)

    def _finish(self, line: Line) -> None:
        """End a stream that has said all."""
        with suppress(OSError):
            # What the peer sent ahead would turn the end into a reset, which could
            # take away what it has not read yet.
            line.sock.recv(_SENT_AHEAD)
        self._drop(line)

    def _send(self, line: Line, data: bytes | memoryview, now: float) -> bool:
        """Write, and tell whether all went."""
        try:
            sent = line.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(line)
            return False
        if sent == len(data):
            return True
        if not line.rest:
            self._epoll.modify(line.sock, select.EPOLLRDHUP | select.EPOLLOUT)
            line.due_whole = now + _PATIENCE * self._write_timeout
        if sent or not line.rest:
            line.due = min(now + self._write_timeout, line.due_whole)
        line.rest = memoryview(data)[sent:]
        return False

    async def _watch(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, events in self._epoll.poll(0, _PEERS):
                line = self._lines[fd]
                if events & ~select.EPOLLOUT:
                    self._drop(line)
                else:
                    self._resume(line)

    def _resume(self, line: Line) -> None:
        """Go on writing to a peer that takes something again."""
        if self._send(line, line.rest, trio.current_time()):
            line.rest, line.due = b"", inf
            self._epoll.modify(line.sock, select.EPOLLRDHUP)
            line.wake()

    def _drop(self, line: Line) -> None:
        """End a stream, whatever state it is in, and give back what it holds."""
        if line.is_over:
            return
        line.is_over = True
        fd = line.sock.fileno()
        del self._lines[fd]
        self._epoll.unregister(fd)
        line.bell.detach(line)
        line.sock.close()
        line.rest = b""
        try:
            try:
                line.talker.close()
            finally:
                line.within.__exit__(None, None, None)
        except Exception:
            log.exception("a stream failed at its end")
        # It may be in the calendar for a while yet, and should hold nothing there.
        del line.talker
        if not self._lines:
            self._emptied.ring()
