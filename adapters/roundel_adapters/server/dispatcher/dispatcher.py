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

from ...driver import EventStream
from ...wakeup import Wakeup
from .socket_stream import SocketStream
from .timer_wheel import TimerWheel

log = logging.getLogger("roundel_adapters.server")

IS_SUPPORTED = hasattr(select, "epoll")
"""Whether this system can do it; where it cannot, tasks drive the streams."""

YIELD_AFTER = 0.005
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
class StreamDispatcher:
    """Drives the streams that it is given the sockets of; `run()` has to run.

    A peer that takes nothing for *write_timeout* seconds is cut, and so is one that
    takes four times as long for one write.
    """

    def __init__(self, *, write_timeout: float = 30.0) -> None:
        self._write_timeout = write_timeout
        self._epoll = select.epoll()
        self._streams: dict[int, SocketStream] = {}
        self._scheduled: deque[SocketStream] = deque()
        self._timers = TimerWheel()
        self._swept = -inf
        self._stirred = trio.lowlevel.ParkingLot()
        self._emptied = Wakeup()

    def __len__(self) -> int:
        return len(self._streams)

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

    def add(
        self,
        sock: socket.socket,
        stream: EventStream,
        wakeup: Wakeup,
        *,
        lifespan: AbstractContextManager[object],
        chunked: bool,
        head: bytes = b"",
    ) -> None:
        """Take over *sock*, non-blocking, behind the head of its response.

        A *head* that is still to be written goes in one write with the first frames.
        *bell* is rung whenever *talker* may have news. *within* is entered now and
        left at the end. With *chunked* the body is in chunks (RFC 9112 7.1), without
        it the end of the connection is its end.
        """
        line = SocketStream(
            self, sock, stream, wakeup, lifespan, chunked=chunked, head=head
        )
        try:
            self._epoll.register(sock, select.EPOLLRDHUP)
            lifespan.__enter__()
        except BaseException:
            # It was given away: whoever gave it cannot close it any more.
            sock.close()
            raise
        self._streams[sock.fileno()] = line
        wakeup.add_waker(line)
        line.wake()

    def cut_all(self) -> None:
        """End all streams without a word."""
        for line in list(self._streams.values()):
            self._close_stream(line)

    async def wait_empty(self) -> None:
        """Wait until no stream is left."""
        while self._streams:
            await self._emptied.wait()

    def schedule(self, line: SocketStream) -> None:
        """Have *line* asked, soon, what it has to say."""
        self._scheduled.append(line)
        if len(self._scheduled) == 1:
            self._stirred.unpark()

    async def _write_all(self) -> None:
        while True:
            if not self._scheduled:
                with trio.move_on_at(self._next_sweep()):
                    await self._stirred.park()
            # What else is published in this turn goes into the same write.
            await trio.lowlevel.checkpoint()
            self._schedule_due(trio.current_time())
            await self._write_scheduled()

    def _next_sweep(self) -> float:
        # Heartbeats are spread over time; one by one they would cost a turn of the
        # scheduler each, so those of the same moment go together, a little late.
        return max(self._timers.next, self._swept + SWEEP)

    def _schedule_due(self, now: float) -> None:
        if now < self._swept + SWEEP:
            return
        self._swept = now
        for line in self._timers.due(now):
            line.wake()

    async def _write_scheduled(self) -> None:
        marked, self._scheduled = self._scheduled, deque()
        until = time.perf_counter() + YIELD_AFTER
        now = trio.current_time()
        rounds = iter(marked)
        while batch := list(islice(rounds, BATCH)):
            self._write_batch(batch, now)
            if time.perf_counter() > until:
                # A publish to thousands must not keep everybody else waiting.
                await trio.lowlevel.checkpoint()
                until, now = time.perf_counter() + YIELD_AFTER, trio.current_time()

    def _write_batch(self, batch: list[SocketStream], now: float) -> None:
        # First all are asked, and then all is written: a system call leaves little of
        # us in the processor's caches, and a reader that is fed without a pause does
        # not have to be woken for each write. That is a tenth of what a delivery costs.
        asked = [(line, self._next_data(line, now)) for line in batch]
        for line, data in asked:
            if data and not line.is_over:
                self._send(line, data, now)
        for line in batch:
            self._after_write(line, now)

    def _next_data(self, line: SocketStream, now: float) -> bytes:
        """Ask a line that is not busy what it has to say, for the first time."""
        line.is_scheduled = False
        if line.is_over or line.unsent:
            return b""
        try:
            return line.next_data(now)
        except Exception:
            log.exception("a stream failed")
            self._close_stream(line)
            return b""

    def _after_write(self, line: SocketStream, now: float) -> None:
        if line.is_over:
            return
        try:
            if not line.unsent:
                self._drain_stream(line, now)
            elif now >= line.due:
                self._close_stream(line)
            # What is said puts the deadline off: who has a moment keeps it.
            if (line.scheduled_at == inf or line.unsent) and not line.is_over:
                self._timers.put(line, line.deadline)
        except Exception:
            log.exception("a stream failed")
            self._close_stream(line)

    def _drain_stream(self, line: SocketStream, now: float) -> None:
        """Drain: write until it has nothing to say, or the peer takes no more."""
        while data := line.next_data(now):
            if not self._send(line, data, now):
                return
        if line.is_ended:
            self._finish(line)

    def _finish(self, line: SocketStream) -> None:
        """End a stream that has said all."""
        with suppress(OSError):
            # What the peer sent ahead would turn the end into a reset, which could
            # take away what it has not read yet.
            line.sock.recv(_SENT_AHEAD)
        self._close_stream(line)

    def _send(self, line: SocketStream, data: bytes | memoryview, now: float) -> bool:
        """Write, and tell whether all went."""
        try:
            sent = line.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close_stream(line)
            return False
        if sent == len(data):
            return True
        if not line.unsent:
            self._epoll.modify(line.sock, select.EPOLLRDHUP | select.EPOLLOUT)
            line.due_whole = now + _PATIENCE * self._write_timeout
        if sent or not line.unsent:
            line.due = min(now + self._write_timeout, line.due_whole)
        line.unsent = memoryview(data)[sent:]
        return False

    async def _watch(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, events in self._epoll.poll(0, _PEERS):
                line = self._streams[fd]
                if events & ~select.EPOLLOUT:
                    self._close_stream(line)
                else:
                    self._resume(line)

    def _resume(self, line: SocketStream) -> None:
        """Go on writing to a peer that takes something again."""
        if self._send(line, line.unsent, trio.current_time()):
            line.unsent, line.due = b"", inf
            self._epoll.modify(line.sock, select.EPOLLRDHUP)
            line.wake()

    def _close_stream(self, line: SocketStream) -> None:
        """End a stream, whatever state it is in, and give back what it holds."""
        if line.is_over:
            return
        line.is_over = True
        fd = line.sock.fileno()
        del self._streams[fd]
        self._epoll.unregister(fd)
        line.wakeup.remove_waker(line)
        line.sock.close()
        line.unsent = b""
        try:
            try:
                line.stream.close()
            finally:
                line.lifespan.__exit__(None, None, None)
        except Exception:
            log.exception("a stream failed at its end")
        # It may be in the calendar for a while yet, and should hold nothing there.
        del line.stream
        if not self._streams:
            self._emptied.notify()
