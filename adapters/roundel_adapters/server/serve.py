"""Serving on Hypercorn's trio code, with what event streams need of a server.

Stock Hypercorn 0.18 has holes that long streams fall into. An exception of one
connection ends the whole server. A peer that stops reading holds a write, and with it
the shutdown, for ever. An HTTP/2 peer that closes its window grows our memory, one that
takes back its streams fills a tree until it fails, and after a thousand requests its
streams go dead. A request sent ahead hides the end of the one before.

What is Hypercorn's here: the lifespan, the scope and the states of a request, and
HTTP/1.1. The tests run each hole's story against stock Hypercorn too, so that an
upgrade tells which of ours can go.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import final

import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.typing import Framework
from hypercorn.utils import wrap_app

from .connection import AnyStream, Connection
from .context import ServerContext
from .dispatcher.dispatcher import IS_SUPPORTED, StreamDispatcher
from .fastpath.event_loop import FastLoop
from .fastpath.interface import App
from .limits import ServerCounters, ServerLimits
from .listeners import Listener

log = logging.getLogger("roundel_adapters.server")

RESERVE = 128
"""Open files that connections leave to the rest of the process."""


async def serve(
    app: Framework,
    listeners: Sequence[Listener],
    *,
    shutdown: Callable[[], Awaitable[object]],
    limits: ServerLimits | None = None,
    counters: ServerCounters | None = None,
    fastpath: App | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI *app* on *listeners* until *shutdown* returns, then drain.

    HTTP/1.1 and HTTP/2 are served on each of them; a `trio.SSLListener` has to offer
    both by ALPN, as those of `listen()` do. Draining stops accepting, closes idle
    connections and lets running responses end; it is the caller's part to end its
    event streams when *shutdown* returns. Started means that connections are accepted
    and the app's start-up is over. *counters* are kept up to date meanwhile. What
    *short* takes of plain HTTP/1.1 is answered by it, and never comes to *app*.
    """
    server = _Server(
        app, limits or ServerLimits(), counters or ServerCounters(), fastpath
    )
    try:
        async with trio.open_nursery() as lifespan_nursery:
            site = server.site
            lifespan = Lifespan(site.app, site.config, site.state)
            await lifespan_nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            await server.run(listeners, shutdown, task_status)
            await lifespan.wait_for_shutdown()
            lifespan_nursery.cancel_scope.cancel()
    finally:
        # They are ours from the call on, and an app may fail before they are used.
        for listener in listeners:
            await trio.aclose_forcefully(listener)


@final
class _Server:
    def __init__(
        self,
        app: Framework,
        limits: ServerLimits,
        counters: ServerCounters,
        fastpath: App | None,
    ) -> None:
        config = _config(limits)
        self._dispatcher = (
            StreamDispatcher(write_timeout=limits.write_timeout)
            if IS_SUPPORTED
            else None
        )
        self.site = ServerContext(
            app=wrap_app(app, config.wsgi_max_body_size, "asgi"),
            config=config,
            limits=limits,
            counters=counters,
            dispatcher=self._dispatcher,
        )
        self._fastpath = fastpath if self._dispatcher is not None else None
        self._max_connections = min(limits.max_connections, _open_files() - RESERVE)
        if self._max_connections < limits.max_connections:
            log.info(
                "%s connections at most, for want of open files", self._max_connections
            )
        self._connections: set[Connection] = set()
        self._fast_loop: FastLoop | None = None

    async def run(
        self,
        listeners: Sequence[Listener],
        shutdown: Callable[[], Awaitable[object]],
        task_status: trio.TaskStatus[None],
    ) -> None:
        async with trio.open_nursery() as background:
            background.start_soon(self.site.timeouts.run)
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
                with trio.move_on_at(self.site.shutdown_deadline.at):
                    await self._dispatcher.wait_empty()
            background.cancel_scope.cancel()

    async def _start_accepting(
        self,
        listeners: Sequence[Listener],
        connections: trio.Nursery,
        accepting: trio.Nursery,
    ) -> None:
        """Begin to accept: by the reception what is for it, by trio what is not."""
        plain = [each for each in listeners if isinstance(each, trio.SocketListener)]
        if self._fastpath is not None and plain:
            self._fast_loop = FastLoop(
                self.site,
                self._fastpath,
                plain,
                has_room=self._below_connection_limit,
                hand_over=partial(self._resume_with, connections),
            )
            await connections.start(self._fast_loop.run)
            listeners = [each for each in listeners if each not in plain]
        if listeners:
            accept = partial(trio.serve_listeners, handler_nursery=connections)
            await accepting.start(accept, self._accept, list(listeners))

    async def _drain(self, connections: trio.CancelScope) -> None:
        at = trio.current_time() + self.site.limits.drain_timeout
        connections.deadline = at
        self.site.shutdown_deadline.set(at)
        await self.site.worker_context.terminated.set()
        for connection in self._connections:
            connection.drain()
        if self._fast_loop is not None:
            self._fast_loop.drain()

    def _below_connection_limit(self) -> bool:
        streams = len(self._dispatcher) if self._dispatcher is not None else 0
        guests = len(self._fast_loop) if self._fast_loop is not None else 0
        return len(self._connections) + guests + streams < self._max_connections

    async def _accept(self, stream: AnyStream) -> None:
        if not self._below_connection_limit():
            # Not evicted: whoever has a place keeps it, and a storm cannot push a
            # quiet stream out.
            self.site.counters.rejected += 1
            await trio.aclose_forcefully(stream)
            return
        await self._serve(self._open_connection(stream), b"")

    def _resume_with(
        self, connections: trio.Nursery, stream: trio.SocketStream, begun: bytes
    ) -> None:
        connections.start_soon(self._serve, self._open_connection(stream), begun)

    def _open_connection(self, stream: AnyStream) -> Connection:
        connection = Connection(self.site, stream)
        self._connections.add(connection)
        self.site.counters.open += 1
        return connection

    async def _serve(self, connection: Connection, begun: bytes) -> None:
        counters = self.site.counters
        try:
            await connection.run(begun)
        except* trio.Cancelled:
            raise
        except* Exception:
            # One connection's failure is its own: without this, Hypercorn's reaches
            # the nursery that all connections share.
            counters.failed += 1
            log.exception("a connection failed")
        finally:
            counters.open -= 1
            self._connections.discard(connection)


def _config(limits: ServerLimits) -> Config:
    config = Config()
    config.errorlog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = limits.max_head
    # Ending a connection by count helps nobody here; floods have their own guard.
    config.keep_alive_max_requests = 1 << 62
    return config


def _open_files() -> int:
    """Return how many files this process may have open."""
    try:
        import resource
    except ImportError:  # Not on Windows.
        return 1 << 62
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 62 if soft == resource.RLIM_INFINITY else soft
