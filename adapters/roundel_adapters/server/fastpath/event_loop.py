"""Connections that wait for a request, without tasks: accepted, read and answered.

A task for each costs more than all else that is done about a short request. Here one
task attends to all whose requests come whole, in an epoll of our own. It reads some of
them, answers them, and then sends the answers: a system call leaves little of us in the
processor's caches, and to make two for each request costs a quarter of all its time.
Most answers need not be waited for. When one is, another task goes on with those who
are left. Whoever sends something else, a head in pieces or a request for the
application, gets a task, and keeps it.
"""

from __future__ import annotations

import logging
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, final

import trio

from ..context import ServerContext
from ..timeouts import IdleTimeout
from .acceptor import Acceptor
from .connection import RECEIVE, FastConnection
from .interface import App
from .request_parser import Head
from .run_until_blocked import InlineCoroutine

log = logging.getLogger("roundel_adapters.server")

YIELD_AFTER = 0.005
"""For how many seconds it may hold up everything else."""
READ_BATCH = 16
"""How many requests are read before the first of them is answered, at the most."""

_EVENTS = 256
_SPARES = 16

HandOver = Callable[[trio.SocketStream, bytes], None]


@final
class FastLoop:
    """Accepts on *listeners*, and answers by *app*; `run()` has to run.

    A connection for which *has_room* says that there is none is closed at once. What
    is not for here, *hand_over* is given with the bytes that have come.
    """

    def __init__(
        self,
        site: ServerContext,
        app: App,
        listeners: Sequence[trio.SocketListener],
        *,
        has_room: Callable[[], bool],
        hand_over: HandOver,
    ) -> None:
        self._site = site
        self._app = app
        self._has_room = has_room
        self._hand_over = hand_over
        self._epoll = select.epoll()
        self._acceptor = Acceptor(listeners, self._epoll)
        self._connections: set[FastConnection] = set()
        self._watched: dict[int, FastConnection] = {}
        # Those who have sent something, those of them whose request was read, and those
        # whose answer is to be sent.
        self._ready: deque[FastConnection] = deque()
        self._asking: deque[tuple[FastConnection, Head]] = deque()
        self._answered: list[FastConnection] = []
        self._spares = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery
        self._is_ending = False

    def __len__(self) -> int:
        return len(self._connections)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Attend to all, until none is left after `drain()`, or until cancelled."""
        # Without what is bound in whose turn another task is started.
        self._context = copy_context()
        try:
            async with trio.open_nursery() as self._nursery:
                self._acceptor.open()
                self._nursery.start_soon(self._worker)
                task_status.started()
        finally:
            self._acceptor.close()
            for guest in list(self._connections):
                self._close(guest)
            self._epoll.close()

    def drain(self) -> None:
        """Accept nobody, let go of who waits, and end when the last is answered."""
        self._is_ending = True
        self._acceptor.close()
        for guest in list(self._connections):
            if not guest.is_busy:
                self._close(guest)
        self._end_if_empty()

    def _end_if_empty(self) -> None:
        if self._is_ending and not self._connections:
            self._nursery.cancel_scope.cancel()

    async def _worker(self) -> None:
        """Attend to whoever has sent something, for as long as none has to wait."""
        while True:
            while not self._ready and not self._asking:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                self._poll()
            until = time.perf_counter() + YIELD_AFTER
            self._read()
            while self._asking and time.perf_counter() < until:
                guest, head = self._asking.popleft()
                answering = self._guarded(guest.respond(head))
                turn = InlineCoroutine(answering, partial(self._hand_loop_over, guest))
                await turn
                self._answered.append(guest)
                if turn.has_blocked:
                    # Somebody else attends by now.
                    self._send()
                    if len(self._spares) >= _SPARES:
                        return
                    await self._spares.park()
            self._send()
            if self._ready or self._asking:
                await trio.lowlevel.checkpoint()

    def _poll(self) -> None:
        for file, _ in self._epoll.poll(0, _EVENTS):
            if guest := self._watched.get(file):
                self._ready.append(guest)
            elif file in self._acceptor:
                for sock in self._acceptor.accept(file):
                    self._accept(sock)
                if self._acceptor.is_full:
                    self._nursery.start_soon(self._acceptor.back_off)

    def _accept(self, sock: socket.socket) -> None:
        counters = self._site.counters
        if not self._has_room():
            # Not evicted: whoever has a place keeps it, and a storm cannot push a
            # quiet stream out.
            counters.rejected += 1
            sock.close()
            return
        sock.setblocking(False)
        counters.open += 1
        patience = IdleTimeout(self._site.timeouts, lambda: self._close(guest))
        guest = FastConnection(self._site, self._app, sock, patience)
        self._connections.add(guest)
        # Nearly always its request is here already.
        self._ready.append(guest)

    def _read(self) -> None:
        """Read what those have sent who are ready."""
        while self._ready and len(self._asking) < READ_BATCH:
            guest = self._ready.popleft()
            if (head := self._next_head(guest)) is not None:
                guest.wait(None)
                self._asking.append((guest, head))

    def _next_head(self, guest: FastConnection) -> Head | None:
        """Read what has come; return the head if it is a request for here, whole."""
        if guest.is_over:
            return None
        try:
            data = guest.sock.recv(RECEIVE)
        except BlockingIOError:
            if not guest.is_watched:
                guest.wait(self._site.limits.head_timeout)
                self._watch(guest)
            return None
        except OSError:
            data = b""
        head = guest.http1.parse_complete(data) if data else None
        if head is None:
            stream = guest.detach() if data else None
            self._close(guest)
            if stream is not None:
                self._context.run(self._hand_over, stream, data)
        return head

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a fault cost one connection, and nothing else."""
        try:
            await work
        except* trio.Cancelled:
            raise
        except* Exception:
            self._site.counters.failed += 1
            log.exception("a connection failed")

    def _send(self) -> None:
        """Send the answers that are there."""
        answered, self._answered = self._answered, []
        for guest in answered:
            if guest.send():
                self._keep_alive_or_close(guest)
            else:
                self._unwatch(guest)
                self._context.run(self._nursery.start_soon, self._send_slowly, guest)

    async def _send_slowly(self, guest: FastConnection) -> None:
        await self._guarded(guest.send_slowly())
        self._keep_alive_or_close(guest)

    def _keep_alive_or_close(self, guest: FastConnection) -> None:
        """Wait for the next request of *guest*, unless that was the last one."""
        if guest.keep_alive and not guest.is_over and not guest.is_draining:
            guest.wait(self._site.limits.keep_alive_timeout)
            self._watch(guest)
        else:
            self._close(guest)

    def _hand_loop_over(self, guest: FastConnection) -> None:
        """Let another attend: what *guest* wants has to be waited for."""
        self._unwatch(guest)
        self._send()
        if not self._spares.unpark(count=1):
            self._context.run(self._nursery.start_soon, self._worker)

    def _watch(self, guest: FastConnection) -> None:
        if not guest.is_watched:
            guest.is_watched = True
            self._epoll.register(guest.file, select.EPOLLIN)
            self._watched[guest.file] = guest

    def _unwatch(self, guest: FastConnection) -> None:
        if guest.is_watched:
            guest.is_watched = False
            del self._watched[guest.file]
            # What is closed is watched no more.
            if guest.sock.fileno() >= 0:
                self._epoll.unregister(guest.file)

    def _close(self, guest: FastConnection) -> None:
        """Be done with *guest*, whoever has its connection now."""
        if guest in self._connections:
            self._connections.discard(guest)
            self._site.counters.open -= 1
            self._unwatch(guest)
            guest.end()
            self._end_if_empty()
