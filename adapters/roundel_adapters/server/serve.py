"""The server: accepts connections, serves them, drains and shuts down.

It uses Hypercorn for the ASGI lifespan, the ASGI scope, the states of a request, and
HTTP/1.1. The rest replaces parts of Hypercorn 0.18 that fail with long streams:

- An exception in one connection ends the server.
- A peer that stops reading blocks a write without a limit, and so the shutdown.
- An HTTP/2 peer with a closed window makes the server buffer without a limit.
- An HTTP/2 peer that resets streams fills the priority tree until it raises.
- An HTTP/2 connection stops sending after 1,000 requests.
- A pipelined request hides that the peer has closed the connection.

`test_hypercorn_canaries.py` has a test of each defect, which also runs on unmodified
Hypercorn and has to fail there. An upgrade that fixes a defect fails that test.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import final

import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.typing import ASGIFramework
from hypercorn.utils import wrap_app

from .connection import AnyStream, Connection
from .context import ServerContext
from .dispatcher.dispatcher import IS_SUPPORTED, StreamDispatcher
from .fastpath.event_loop import FastLoop
from .fastpath.interface import App
from .limits import ServerCounters, ServerLimits
from .listeners import Listener, set_tcp_options

log: logging.Logger = logging.getLogger("roundel_adapters.server")

RESERVE = 128
"""Open files that are reserved for other uses than connections."""


async def serve(
    app: ASGIFramework,
    listeners: Sequence[Listener],
    *,
    shutdown: Callable[[], Awaitable[object]],
    limits: ServerLimits | None = None,
    counters: ServerCounters | None = None,
    fastpath: App | None = None,
    http2: bool = True,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI *app* on *listeners* until *shutdown* returns, then drain.

    Each listener serves HTTP/1.1 and HTTP/2. A `trio.SSLListener` has to offer both by
    ALPN, as the listeners of `listen()` do. Without *http2* the listeners without TLS
    serve HTTP/1.1 only. The server owns the listeners and closes them.

    Draining stops accepting, closes idle connections and waits for running responses.
    The caller has to end its event streams when *shutdown* returns. The task is started
    when the app's lifespan has started and the server accepts connections. *counters*
    are updated while the server runs. *fastpath* answers the requests over plain
    HTTP/1.1 that it handles, and *app* answers all others.
    """
    limits = limits or ServerLimits()
    context = _context(app, limits, counters or ServerCounters(), http2=http2)
    server = _Server(context, fastpath)
    try:
        for listener in listeners:
            set_tcp_options(listener, write_timeout=limits.write_timeout)
        async with trio.open_nursery() as lifespan_nursery:
            lifespan = Lifespan(context.app, context.config, context.state)
            await lifespan_nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            await server.run(listeners, shutdown, task_status)
            await lifespan.wait_for_shutdown()
            lifespan_nursery.cancel_scope.cancel()
    finally:
        for listener in listeners:
            await trio.aclose_forcefully(listener)


@final
class _Server:
    def __init__(self, context: ServerContext, fastpath: App | None) -> None:
        self.context, limits = context, context.limits
        self._dispatcher = context.dispatcher
        self._fastpath = fastpath if self._dispatcher is not None else None
        self._max_connections = min(limits.max_connections, _open_files() - RESERVE)
        self._connections: set[Connection] = set()
        self._fast_loop: FastLoop | None = None

    async def run(
        self,
        listeners: Sequence[Listener],
        shutdown: Callable[[], Awaitable[object]],
        task_status: trio.TaskStatus[None],
    ) -> None:
        async with trio.open_nursery() as background:
            background.start_soon(self.context.timeouts.run)
            if self._dispatcher is not None:
                await background.start(self._dispatcher.run)
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as accepting:
                    await self._start_accepting(listeners, connections, accepting)
                    task_status.started()
                    await shutdown()
                    accepting.cancel_scope.cancel()
                await self._drain(connections.cancel_scope)
            if self._dispatcher is not None:
                with trio.move_on_at(self.context.shutdown_deadline.at):
                    await self._dispatcher.wait_empty()
            background.cancel_scope.cancel()

    async def _start_accepting(
        self,
        listeners: Sequence[Listener],
        connections: trio.Nursery,
        accepting: trio.Nursery,
    ) -> None:
        """Accept in the fast loop without TLS, if there is one, otherwise in trio."""
        plain = [each for each in listeners if isinstance(each, trio.SocketListener)]
        if self._fastpath is not None and plain:
            self._fast_loop = FastLoop(
                self.context,
                self._fastpath,
                plain,
                make_room=self._make_room,
                hand_over=partial(self._take_over, connections),
            )
            await connections.start(self._fast_loop.run)
            listeners = [each for each in listeners if each not in plain]
        if listeners:
            accept = partial(trio.serve_listeners, handler_nursery=connections)
            await accepting.start(accept, self._accept, list(listeners))

    async def _drain(self, connections: trio.CancelScope) -> None:
        deadline = trio.current_time() + self.context.limits.drain_timeout
        connections.deadline = deadline
        self.context.shutdown_deadline.set(deadline)
        await self.context.worker_context.terminated.set()
        for connection in self._connections:
            connection.drain()
        if self._fast_loop is not None:
            self._fast_loop.drain()

    def _make_room(self) -> bool:
        """Return whether a new connection may stay.

        At the limit, the connection that waits longest for a request is closed. Streams
        and running requests stay: a burst of connections must not end them.
        """
        is_below = self._below_connection_limit()
        return is_below or self.context.idle_connections.close_longest()

    def _below_connection_limit(self) -> bool:
        streams = len(self._dispatcher) if self._dispatcher is not None else 0
        fast = len(self._fast_loop) if self._fast_loop is not None else 0
        return len(self._connections) + fast + streams < self._max_connections

    async def _accept(self, stream: AnyStream) -> None:
        if not self._make_room():
            self.context.counters.rejected += 1
            await trio.aclose_forcefully(stream)
            return
        await self._serve(self._open_connection(stream), b"")

    def _take_over(
        self, connections: trio.Nursery, stream: trio.SocketStream, received: bytes
    ) -> None:
        connections.start_soon(self._serve, self._open_connection(stream), received)

    def _open_connection(self, stream: AnyStream) -> Connection:
        connection = Connection(self.context, stream)
        self._connections.add(connection)
        self.context.counters.open += 1
        return connection

    async def _serve(self, connection: Connection, received: bytes) -> None:
        counters = self.context.counters
        try:
            await connection.run(received)
        except* Exception:
            # The nursery is shared: an exception would end all other connections.
            counters.failed += 1
            log.exception("connection failed")
        finally:
            counters.open -= 1
            self._connections.discard(connection)


def _context(
    app: ASGIFramework, limits: ServerLimits, counters: ServerCounters, *, http2: bool
) -> ServerContext:
    config = _config(limits)
    return ServerContext(
        app=wrap_app(app, config.wsgi_max_body_size, "asgi"),
        config=config,
        limits=limits,
        counters=counters,
        dispatcher=(
            StreamDispatcher(write_timeout=limits.write_timeout)
            if IS_SUPPORTED
            else None
        ),
        has_plain_http2=http2,
    )


def _config(limits: ServerLimits) -> Config:
    config = Config()
    config.errorlog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = limits.max_head
    # The limit of Hypercorn ends long streams; floods of resets have their own limit.
    config.keep_alive_max_requests = 1 << 62
    return config


def _open_files() -> int:
    """Return the limit of open files of this process."""
    try:
        import resource
    except ImportError:  # Not on Windows.
        return 1 << 62
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 62 if soft == resource.RLIM_INFINITY else soft
