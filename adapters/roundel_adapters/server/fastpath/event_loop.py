"""The event loop of the fast path: accepts, reads and answers without a task each.

A task per connection costs more than all other work on a short request: the loop opens
an event stream in 0.31 ms of CPU time, where a task took 0.60 ms. So one task, the
worker, serves every connection. Its sockets are in an epoll of its own. Each round of
the worker has three steps:

1. It reads from up to `READ_BATCH` readable sockets, and collects complete requests.
2. It runs their handlers, for at most `YIELD_AFTER` seconds.
3. It sends the responses.

The steps are batched because a system call evicts much of the process from the CPU's
caches: two calls for each request, one by one, take a quarter of its whole time.

Most handlers never block. When one does, `run_inline()` notices it at its first
`await` that blocks. The loop then sends the responses so far and hands itself over to
another worker. The blocked worker finishes its one response, and waits for the next
handover; up to `MAX_IDLE_WORKERS` wait so, and the rest end. So at each moment exactly
one worker reads the epoll.

A response that the socket does not take whole is sent by a task. A request that is
unsupported here is handed to ASGI with all its bytes, and with its connection for good.

Timeouts: a head must be complete `head_timeout` seconds after its first byte, and a new
connection must begin by then. Between requests a connection may idle for
`keep_alive_timeout`. When a body is not complete `BODY_TIMEOUT` seconds after its head,
ASGI waits for the rest.
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
from .connection import FastConnection
from .interface import App
from .request_parser import FastRequest, RequestReader, UnsupportedRequest
from .run_inline import run_inline

log: logging.Logger = logging.getLogger("roundel_adapters.server")

YIELD_AFTER = 0.005
"""Time limit of a round before other tasks run, in seconds."""

READ_BATCH = 16
"""Limit of the requests that are read before the first response."""

MAX_IDLE_WORKERS = 16
"""Limit of the workers that wait for a handover."""


@final
class FastLoop:
    """Serves the connections of *listeners* with *app*; `run()` has to run.

    A connection for which *make_room* returns false is closed at once. A connection
    with an unsupported request is passed to *hand_over*, with the bytes received of it.
    """

    def __init__(
        self,
        context: ServerContext,
        app: App,
        listeners: Sequence[trio.SocketListener],
        *,
        make_room: Callable[[], bool],
        hand_over: Callable[[trio.SocketStream, bytes], None],
    ) -> None:
        self._context = context
        self._app = app
        self._make_room = make_room
        self._hand_over = hand_over
        self._epoll = select.epoll()
        self._acceptor = Acceptor(listeners, self._epoll)
        self._connections: set[FastConnection] = set()
        self._watched: dict[int, FastConnection] = {}
        # The connections of the current round, by the step that is next.
        self._readable: deque[FastConnection] = deque()
        self._requests: deque[tuple[FastConnection, FastRequest]] = deque()
        self._answered: list[FastConnection] = []
        self._idle_workers = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._connections)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until `drain()` is done, or until cancelled."""
        # Tasks start in this context, without the variables of a request.
        self._contextvars = copy_context()
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._worker)
                task_status.started()
        finally:
            self._acceptor.close()
            for connection in list(self._connections):
                self._close(connection)
            self._epoll.close()

    def drain(self) -> None:
        """Stop accepting, close idle connections, and end after the last response."""
        self._acceptor.close()
        for connection in list(self._connections):
            if not connection.is_busy:
                self._close(connection)
        self._stop_if_drained()

    def _stop_if_drained(self) -> None:
        if self._context.is_draining and not self._connections:
            self._nursery.cancel_scope.cancel()

    async def _worker(self) -> None:
        """Run rounds until a handler blocks and enough workers are idle."""
        while True:
            while not self._readable and not self._requests:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                self._poll()
            deadline = time.perf_counter() + YIELD_AFTER
            self._read()
            while self._requests and time.perf_counter() < deadline:
                connection, request = self._requests.popleft()
                responding = self._guard(connection.respond(request))
                on_block = partial(self._hand_loop_over, connection)
                has_blocked = await run_inline(responding, on_block)
                self._answered.append(connection)
                if has_blocked:
                    self._send()
                    if len(self._idle_workers) >= MAX_IDLE_WORKERS:
                        return
                    await self._idle_workers.park()
            self._send()
            if self._readable or self._requests:
                await trio.lowlevel.checkpoint()

    def _poll(self) -> None:
        for file, _ in self._epoll.poll(0):
            if connection := self._watched.get(file):
                self._readable.append(connection)
            elif file in self._acceptor:
                for sock in self._acceptor.accept(file):
                    self._accept(sock)
                if self._acceptor.is_full:
                    self._nursery.start_soon(self._acceptor.back_off)

    def _accept(self, sock: socket.socket) -> None:
        counters = self._context.counters
        if not self._make_room():
            counters.rejected += 1
            sock.close()
            return
        sock.setblocking(False)
        counters.open += 1
        timeouts = self._context.timeouts
        timeout = IdleTimeout(timeouts, lambda: self._on_timeout(connection))
        reader = RequestReader(self._app, self._context.limits)
        connection = FastConnection(self._context, reader, sock, sock.fileno(), timeout)
        self._connections.add(connection)
        # Nearly always its request is here already.
        self._readable.append(connection)

    def _read(self) -> None:
        """Read from the readable sockets, and collect the complete requests."""
        while self._readable and len(self._requests) < READ_BATCH:
            connection = self._readable.popleft()
            if not connection.is_closed:
                self._receive(connection)

    def _receive(self, connection: FastConnection) -> None:
        try:
            request = connection.receive()
        except BlockingIOError:
            # A new connection that has sent nothing yet.
            if connection.file not in self._watched:
                self._wait_for_request(connection, self._context.limits.head_timeout)
        except UnsupportedRequest:
            self._hand_to_asgi(connection)
        except (EOFError, OSError):
            self._close(connection)
        else:
            if request is None:
                self._watch(connection)
            else:
                self._requests.append((connection, request))

    async def _guard(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run *coroutine*; an exception costs its connection, and is logged."""
        try:
            await coroutine
        except* Exception:
            self._context.counters.failed += 1
            log.exception("a connection failed")

    def _send(self) -> None:
        """Send the complete responses."""
        answered, self._answered = self._answered, []
        for connection in answered:
            if connection.send():
                self._keep_alive_or_close(connection)
            else:
                self._unwatch(connection)
                self._start_soon(self._send_rest, connection)

    async def _send_rest(self, connection: FastConnection) -> None:
        await self._guard(connection.send_rest())
        self._keep_alive_or_close(connection)

    def _keep_alive_or_close(self, connection: FastConnection) -> None:
        keep_alive = connection.keep_alive and not connection.is_closed
        if keep_alive and not self._context.is_draining:
            self._wait_for_request(connection, self._context.limits.keep_alive_timeout)
        else:
            self._close(connection)

    def _wait_for_request(self, connection: FastConnection, timeout: float) -> None:
        connection.set_timeout(timeout, is_busy=False)
        self._watch(connection)

    def _hand_loop_over(self, connection: FastConnection) -> None:
        """Let another worker run the loop: the handler of *connection* blocked."""
        self._unwatch(connection)
        self._send()
        if not self._idle_workers.unpark(count=1):
            self._start_soon(self._worker)

    def _hand_to_asgi(self, connection: FastConnection) -> None:
        stream = connection.detach()
        self._close(connection)
        self._contextvars.run(self._hand_over, stream, connection.reader.received)

    def _on_timeout(self, connection: FastConnection) -> None:
        if connection.reader.has_head:
            self._hand_to_asgi(connection)
        else:
            self._close(connection)

    def _start_soon(self, function: Callable[..., Any], *args: object) -> None:
        self._contextvars.run(self._nursery.start_soon, function, *args)

    def _watch(self, connection: FastConnection) -> None:
        if connection.file not in self._watched:
            self._epoll.register(connection.file, select.EPOLLIN)
            self._watched[connection.file] = connection

    def _unwatch(self, connection: FastConnection) -> None:
        # A closed socket has left the epoll, and its number may be another socket's.
        if self._watched.get(connection.file) is connection:
            del self._watched[connection.file]
            if connection.sock.fileno() >= 0:
                self._epoll.unregister(connection.file)

    def _close(self, connection: FastConnection) -> None:
        """Forget a connection, and close its socket unless it is detached."""
        if connection in self._connections:
            self._connections.discard(connection)
            self._context.counters.open -= 1
            self._unwatch(connection)
            connection.close()
            self._stop_if_drained()
