"""A driver that writes many event streams straight to their sockets, in one task.

The driver in `roundel_adapters.driver` needs a task per stream, and three turns of the
scheduler per event. Here a stream is a socket, a `roundel.Stream` and a flag. The
`roundel.Stream` still decides every byte.

A stream is *scheduled* when its `Wakeup` notifies it or its timer is due. The write
loop waits for the first scheduled stream and then for one more turn of the scheduler,
so that all events that are published in the same turn go into one write. Then it takes
the scheduled streams in batches. It collects the next data of the whole batch, writes
it without waiting, and asks each stream again until it has no more data. So the rule
of every driver holds, drain before sleep: between the last empty answer of a stream and
its next wake-up there is no checkpoint, and no wake-up is lost. A wakeup in another
thread schedules the stream by a callback in the loop.

A socket that does not take all of a write keeps the rest in `unsent`. The stream then
gets no further data until epoll reports that the socket is writable. So a slow peer
costs one partial write and no queue. The same epoll reports the end of a peer. A peer
that takes nothing is disconnected at its write deadline, by the same timers that send
heartbeats.

The cost of an event is O(1) per stream: some 7 µs of CPU over loopback TCP, with the
kernel's part (`tests/benchmarks/serving.py --only fanout`). An idle stream costs one
timer per heartbeat.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections import deque
from contextlib import AbstractContextManager, suppress
from functools import partial
from itertools import islice
from math import inf
from typing import final

import trio

from ...driver import EventStream
from ...event_loop import EventLoop, current_event_loop
from ...timer_queue import TimerQueue
from ...wakeup import Wakeup
from ..paced_stream import WriteDeadline
from .socket_stream import SocketStream

log: logging.Logger = logging.getLogger("roundel_adapters.server")

IS_SUPPORTED = hasattr(select, "epoll")
"""Whether this system has epoll. Without it, each stream is driven by a task."""

YIELD_AFTER = 0.005
"""Seconds of writing after which other tasks get a turn."""

BATCH = 128
"""Streams that are written without a check of the time, which takes about 1 ms."""

TIMER_RESOLUTION = 0.25
"""Seconds to which deadlines are rounded up, so that many share a timer."""

TIMER_INTERVAL = 1.0
"""Minimum seconds between two checks of the timers, and so their maximum delay."""


@final
class StreamDispatcher:
    """Drives event streams on sockets; `run()` has to run in a task.

    A peer that misses its `WriteDeadline` is disconnected; *write_timeout* is in
    seconds.
    """

    def __init__(self, *, write_timeout: float = 30.0) -> None:
        self._write_timeout = write_timeout
        self._epoll = select.epoll()
        self._streams: dict[int, SocketStream] = {}
        self._scheduled: deque[SocketStream] = deque()
        self._timers: TimerQueue[SocketStream] = TimerQueue(resolution=TIMER_RESOLUTION)
        self._timers_checked_at = -inf
        self._write_loop = trio.lowlevel.ParkingLot()
        self._thread = threading.get_ident()
        self._loop: EventLoop | None = None
        self._became_empty = Wakeup()
        # One bound method for all streams: 64 bytes each.
        self._on_wake = self._schedule

    def __len__(self) -> int:
        return len(self._streams)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Write and watch the sockets until cancelled, then disconnect all peers."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_sockets)
                self._thread = threading.get_ident()
                self._loop = current_event_loop()
                task_status.started()
                await self._write_forever()
        finally:
            self.close_all()
            self._epoll.close()

    def add(
        self,
        sock: socket.socket,
        stream: EventStream,
        wakeup: Wakeup,
        *,
        lifespan: AbstractContextManager[object],
        head: bytes = b"",
    ) -> None:
        """Drive *stream* on the non-blocking *sock*, and own both from now on.

        *wakeup* has to be notified when *stream* may have data. *lifespan* is entered
        now and exited when the stream ends. *head* is written together with the first
        data. The socket is closed if this raises.
        """
        added = SocketStream(sock, stream, wakeup, lifespan, self._on_wake, head)
        try:
            self._epoll.register(sock, select.EPOLLRDHUP)
            lifespan.__enter__()
        except BaseException:
            sock.close()
            raise
        self._streams[sock.fileno()] = added
        wakeup.wakers.add(added)
        added.wake()

    def close_all(self) -> None:
        """Close all streams without writing the end of their responses."""
        for stream in list(self._streams.values()):
            self._close(stream)

    async def wait_empty(self) -> None:
        """Wait until all streams have ended."""
        while self._streams:
            await self._became_empty.wait()

    def _schedule(self, stream: SocketStream) -> None:
        if self._loop is not None and threading.get_ident() != self._thread:
            self._loop.call_soon(partial(self._schedule, stream))
            return
        self._scheduled.append(stream)
        if len(self._scheduled) == 1:
            self._write_loop.unpark()

    async def _write_forever(self) -> None:
        while True:
            if not self._scheduled:
                # Heartbeats are spread over time, and a check costs a scheduler turn.
                next_check = self._timers_checked_at + TIMER_INTERVAL
                with trio.move_on_at(max(self._timers.next, next_check)):
                    await self._write_loop.park()
            # Events that are published in this turn go into the same write.
            await trio.lowlevel.checkpoint()
            self._schedule_due(trio.current_time())
            await self._write_scheduled()

    def _schedule_due(self, now: float) -> None:
        if now >= self._timers_checked_at + TIMER_INTERVAL:
            self._timers_checked_at = now
            for stream in self._timers.due(now):
                stream.wake()

    async def _write_scheduled(self) -> None:
        scheduled, self._scheduled = iter(self._scheduled), deque()
        yield_at = time.perf_counter() + YIELD_AFTER
        now = trio.current_time()
        while batch := list(islice(scheduled, BATCH)):
            self._write_batch(batch, now)
            if time.perf_counter() > yield_at:
                await trio.lowlevel.checkpoint()
                yield_at = time.perf_counter() + YIELD_AFTER
                now = trio.current_time()

    def _write_batch(self, batch: list[SocketStream], now: float) -> None:
        # All data is collected before the first write. A system call evicts our code
        # from the processor's caches, and a reader that gets writes without a pause is
        # woken up once. Together this is 10 % of the time of a delivery.
        writes = [(stream, self._first_data(stream, now)) for stream in batch]
        for stream, data in writes:
            if data and not stream.is_closed:
                self._send(stream, data, now)
        for stream in batch:
            self._after_write(stream, now)

    def _first_data(self, stream: SocketStream, now: float) -> bytes:
        stream.is_scheduled = False
        if stream.is_closed or stream.unsent:
            return b""
        try:
            return stream.next_data(now)
        except Exception:
            log.exception("event stream failed")
            self._close(stream)
            return b""

    def _after_write(self, stream: SocketStream, now: float) -> None:
        if stream.is_closed:
            return
        try:
            if not stream.unsent:
                self._drain(stream, now)
            elif now >= stream.deadline:
                self._close(stream)
            # A write moves the stream's own deadline later, so its timer stays valid.
            if not stream.is_closed and (stream.unsent or stream not in self._timers):
                self._timers.set(stream, stream.deadline)
        except Exception:
            log.exception("event stream failed")
            self._close(stream)

    def _drain(self, stream: SocketStream, now: float) -> None:
        """Write until the stream has no more data or the socket takes no more."""
        while data := stream.next_data(now):
            if not self._send(stream, data, now):
                return
        if stream.is_finished:
            with suppress(OSError):
                # Unread input would turn the close into a reset, and the peer might
                # lose the end of the response.
                stream.sock.recv(64 * 1024)
            self._close(stream)

    def _send(self, stream: SocketStream, data: bytes | memoryview, now: float) -> bool:
        """Write *data* without waiting; return whether the socket took all of it."""
        try:
            sent = stream.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(stream)
            return False
        if sent == len(data):
            return True
        if stream.write_deadline is None:
            self._epoll.modify(stream.sock, select.EPOLLRDHUP | select.EPOLLOUT)
            stream.write_deadline = WriteDeadline(self._write_timeout, now)
        elif sent:
            stream.write_deadline.extend(sent, now)
        stream.unsent = memoryview(data)[sent:]
        return False

    async def _watch_sockets(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, events in self._epoll.poll(0):
                stream = self._streams[fd]
                if events & ~select.EPOLLOUT:
                    self._close(stream)
                elif self._send(stream, stream.unsent, trio.current_time()):
                    stream.unsent, stream.write_deadline = b"", None
                    self._epoll.modify(stream.sock, select.EPOLLRDHUP)
                    stream.wake()

    def _close(self, stream: SocketStream) -> None:
        """Close a stream in any state, and release what it holds."""
        if stream.is_closed:
            return
        stream.is_closed = True
        fd = stream.sock.fileno()
        del self._streams[fd]
        self._epoll.unregister(fd)
        stream.wakeup.wakers.discard(stream)
        stream.sock.close()
        stream.unsent = b""
        try:
            try:
                stream.event_stream.close()
            finally:
                stream.lifespan.__exit__(None, None, None)
        except Exception:
            log.exception("event stream failed on close")
        # The timer queue may keep the stream until its next deadline.
        del stream.event_stream
        if not self._streams:
            self._became_empty.notify()
