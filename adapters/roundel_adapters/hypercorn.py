"""Serving on Hypercorn's trio code, with what event streams need of a server.

Stock Hypercorn 0.18 has holes that long streams fall into: an exception of one
connection ends the whole server; a peer that stops reading holds a write, and with it
the shutdown, for ever; and a kept-alive connection can lose its idle timer. The
connections here are Hypercorn's, guarded.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, final

import attrs
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, Framework
from hypercorn.utils import wrap_app

log = logging.getLogger(__name__)

BACKLOG = 4096
"""Connections that may wait to be accepted: a deploy brings thousands at once."""


@final
@attrs.frozen(kw_only=True)
class Limits:
    """How long, in seconds, the server waits for its peers.

    A peer that takes nothing for *write_timeout* is cut. *drain_timeout* bounds the
    end: whatever any peer does by then, the server is gone.
    """

    write_timeout: float = 30.0
    drain_timeout: float = 20.0


async def serve(
    app: Framework,
    listeners: list[trio.SocketListener],
    *,
    shutdown: Callable[[], Awaitable[object]],
    limits: Limits | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI *app* on *listeners* until *shutdown* returns, then drain.

    Draining stops accepting, closes idle connections and lets running responses end;
    it is the caller's part to end its event streams when *shutdown* returns. Started
    means that connections are accepted and the app's start-up is over.
    """
    server = _Server(app, limits or Limits())
    async with trio.open_nursery() as lifespan_nursery:
        lifespan = Lifespan(server.app, server.config, server.state)
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        await server.run(listeners, shutdown, task_status)
        await lifespan.wait_for_shutdown()
        lifespan_nursery.cancel_scope.cancel()


async def listen(host: str, port: int) -> list[trio.SocketListener]:
    """Open the listeners of an address; port 0 takes any free one."""
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    for listener in listeners:
        # Inherited by what is accepted: a frame must not wait for the next one.
        listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listeners


@final
class _Server:
    def __init__(self, app: Framework, limits: Limits) -> None:
        self.config = Config()
        self.config.errorlog = None
        self.app = wrap_app(app, self.config.wsgi_max_body_size, "asgi")
        self.state: dict[str, Any] = {}
        self.context = WorkerContext(None)
        self.limits = limits
        self.last_call = float("inf")
        self.writing: set[trio.CancelScope] = set()

    async def run(
        self,
        listeners: list[trio.SocketListener],
        shutdown: Callable[[], Awaitable[object]],
        task_status: trio.TaskStatus[None],
    ) -> None:
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accept = partial(
                    trio.serve_listeners, handler_nursery=connections
                )  # fmt: skip
                await accepting.start(accept, self._serve_connection, listeners)
                task_status.started()
                await shutdown()
                accepting.cancel_scope.cancel()
            await self._drain(connections.cancel_scope)

    async def _drain(self, connections: trio.CancelScope) -> None:
        self.last_call = trio.current_time() + self.limits.drain_timeout
        connections.deadline = self.last_call
        for scope in self.writing:
            scope.deadline = min(scope.deadline, self.last_call)
        await self.context.terminated.set()

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        connection = _Connection(self, stream)
        try:
            await connection.run()
        except* trio.Cancelled:
            raise
        except* Exception:
            # One connection's failure is its own: without this, Hypercorn's reaches
            # the nursery that all connections share.
            log.exception("a connection failed")


@final
class _Connection(TCPServer):
    def __init__(self, server: _Server, stream: trio.SocketStream) -> None:
        state = ConnectionState(server.state.copy())
        super().__init__(server.app, server.config, server.context, state, stream)  # type: ignore[arg-type]
        self._server = server

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            if not await self._write(event.data):
                await trio.aclose_forcefully(self.stream)
                await self.protocol.handle(Closed())
            return
        # The task that ends a response also closes the connection or arms its idle
        # timer, and an app that takes the end for its disconnect (Quart-Trio does)
        # cancels it meanwhile: unshielded, the connection would be left open for ever.
        with self._shielded():
            await super().protocol_send(event)

    def _shielded(self) -> trio.CancelScope:
        """Make a scope that only its deadline ends: the write's, or the server's."""
        deadline = trio.current_time() + self._server.limits.write_timeout
        return trio.CancelScope(
            shield=True, deadline=min(deadline, self._server.last_call)
        )

    async def _write(self, data: bytes) -> bool:
        """Write all, or tell that the peer is gone or takes nothing."""
        writing = self._server.writing
        async with self.send_lock:
            with self._shielded() as scope:
                writing.add(scope)
                try:
                    await self.stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return False
                finally:
                    writing.discard(scope)
            return not scope.cancelled_caught
