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
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeAlias, final, overload

import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.typing import Framework
from hypercorn.utils import wrap_app

from .connection import AnyStream, Connection
from .context import Site
from .dispatcher.dispatcher import IS_SUPPORTED, Switchboard
from .fastpath.event_loop import Reception
from .fastpath.interface import App
from .limits import Counters, Limits

__all__ = ["BACKLOG", "Counters", "Limits", "Listener", "listen", "serve"]

log = logging.getLogger(__name__)

BACKLOG = 4096
"""Connections that may wait to be accepted: a deploy brings thousands at once."""
RESERVE = 128
"""Open files that connections leave to the rest of the process."""

Listener: TypeAlias = "trio.SocketListener | trio.SSLListener[trio.SocketStream]"


async def serve(
    app: Framework,
    listeners: Sequence[Listener],
    *,
    shutdown: Callable[[], Awaitable[object]],
    limits: Limits | None = None,
    counters: Counters | None = None,
    short: App | None = None,
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
    server = _Server(app, limits or Limits(), counters or Counters(), short)
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


@overload
async def listen(
    host: str, port: int, *, share_port: bool = False
) -> list[trio.SocketListener]:
    """Open plain listeners."""


@overload
async def listen(
    host: str, port: int, *, tls: ssl.SSLContext, share_port: bool = False
) -> list[trio.SSLListener[trio.SocketStream]]:
    """Open listeners that speak TLS."""


async def listen(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    share_port: bool = False,
) -> list[trio.SocketListener] | list[trio.SSLListener[trio.SocketStream]]:
    """Open the listeners of an address; port 0 takes any free one.

    With *tls* they speak it; the context is told to offer HTTP/2 and HTTP/1.1. With
    *share_port* other processes of the same user may listen there too, if they share
    it as well, and Linux spreads connections over them (SO_REUSEPORT).
    """
    if share_port:
        listeners = await _open_shared_listeners(host, port)
    else:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    for listener in listeners:
        # Inherited by what is accepted: a frame must not wait for the next one.
        listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        return listeners
    tls.set_alpn_protocols(["h2", "http/1.1"])
    # Browsers do not wait for the end of TLS, only for that of TCP.
    return [trio.SSLListener(each, tls, https_compatible=True) for each in listeners]


async def _open_shared_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Do what `trio.open_tcp_listeners()` does, which has no way to share a port."""
    addresses = await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with ExitStack() as opened:
        listeners = []
        for family, kind, protocol, _, address in addresses:
            sock = opened.enter_context(trio.socket.socket(family, kind, protocol))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            await sock.bind(address)
            sock.listen(BACKLOG)
            listeners.append(trio.SocketListener(sock))
        opened.pop_all()
    return listeners


@final
class _Server:
    def __init__(
        self, app: Framework, limits: Limits, counters: Counters, short: App | None
    ) -> None:
        config = _config(limits)
        self._board = (
            Switchboard(write_timeout=limits.write_timeout) if IS_SUPPORTED else None
        )
        self.site = Site(
            app=wrap_app(app, config.wsgi_max_body_size, "asgi"),
            config=config,
            limits=limits,
            counters=counters,
            short=short if self._board is not None else None,
            board=self._board,
        )
        self._room = min(limits.max_connections, _open_files() - RESERVE)
        if self._room < limits.max_connections:
            log.info("%s connections at most, for want of open files", self._room)
        self._connections: set[Connection] = set()
        self._reception: Reception | None = None

    async def run(
        self,
        listeners: Sequence[Listener],
        shutdown: Callable[[], Awaitable[object]],
        task_status: trio.TaskStatus[None],
    ) -> None:
        async with trio.open_nursery() as background:
            background.start_soon(self.site.watchman.run)
            if self._board is not None:
                await background.start(self._board.run)
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as accepting:
                    await self._accept(listeners, connections, accepting)
                    task_status.started()
                    await shutdown()
                    accepting.cancel_scope.cancel()
                await self._drain(connections.cancel_scope)
            if self._board is not None:
                with trio.move_on_at(self.site.last_call.at):
                    await self._board.wait_empty()
            background.cancel_scope.cancel()

    async def _accept(
        self,
        listeners: Sequence[Listener],
        connections: trio.Nursery,
        accepting: trio.Nursery,
    ) -> None:
        """Begin to accept: by the reception what is for it, by trio what is not."""
        plain = [each for each in listeners if isinstance(each, trio.SocketListener)]
        if self.site.short is not None and plain:
            self._reception = Reception(
                self.site,
                self.site.short,
                plain,
                has_room=self._has_room,
                hand_over=partial(self._go_on, connections),
            )
            await connections.start(self._reception.run)
            listeners = [each for each in listeners if each not in plain]
        if listeners:
            accept = partial(trio.serve_listeners, handler_nursery=connections)
            await accepting.start(accept, self._meet, list(listeners))

    async def _drain(self, connections: trio.CancelScope) -> None:
        at = trio.current_time() + self.site.limits.drain_timeout
        connections.deadline = at
        self.site.last_call.name(at)
        await self.site.context.terminated.set()
        for connection in self._connections:
            connection.drain()
        if self._reception is not None:
            self._reception.drain()

    def _has_room(self) -> bool:
        streams = len(self._board) if self._board is not None else 0
        guests = len(self._reception) if self._reception is not None else 0
        return len(self._connections) + guests + streams < self._room

    async def _meet(self, stream: AnyStream) -> None:
        if not self._has_room():
            # Not evicted: whoever has a place keeps it, and a storm cannot push a
            # quiet stream out.
            self.site.counters.rejected += 1
            await trio.aclose_forcefully(stream)
            return
        await self._serve(self._begin(stream), b"")

    def _go_on(
        self, connections: trio.Nursery, stream: trio.SocketStream, begun: bytes
    ) -> None:
        connections.start_soon(self._serve, self._begin(stream), begun)

    def _begin(self, stream: AnyStream) -> Connection:
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


def _config(limits: Limits) -> Config:
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
