"""A TCP relay between a node and its store, which can delay and close connections."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import final

import trio

from roundel_adapters.wakeup import Wakeup


@final
class Relay:
    """Relays connections to the server at *host* and *port*, from a port of its own."""

    port: int

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._holds = {"requests": False, "answers": False}
        self._is_cut = False
        self._changed = Wakeup()
        self._scopes: set[trio.CancelScope] = set()

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}"

    def hold(self, *ways: str) -> None:
        """Delay the bytes of *ways*, of both by default, until `release()`."""
        for way in ways or self._holds:
            self._holds[way] = True

    def release(self) -> None:
        """Relay the delayed bytes and all later ones."""
        self._holds = dict.fromkeys(self._holds, False)
        self._changed.notify()

    def cut(self) -> None:
        """Close all connections with the bytes in transit, and reject new ones."""
        self._is_cut = True
        for scope in self._scopes:
            scope.cancel()

    def restore(self) -> None:
        """Accept connections again."""
        self._is_cut = False

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Relay until cancelled."""
        serve = partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(serve)
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    async def _serve(self, stream: trio.SocketStream) -> None:
        if self._is_cut:
            return
        try:
            server = await trio.open_tcp_stream(*self._target)
        except OSError:
            return
        async with aclosing(server), trio.open_nursery() as nursery:
            self._scopes.add(nursery.cancel_scope)
            nursery.start_soon(self._relay, stream, server, "requests", nursery)
            nursery.start_soon(self._relay, server, stream, "answers", nursery)
        self._scopes.discard(nursery.cancel_scope)

    async def _relay(
        self,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        way: str,
        nursery: trio.Nursery,
    ) -> None:
        try:
            async for chunk in source:
                while self._holds[way]:
                    await self._changed.wait()
                await sink.send_all(chunk)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        nursery.cancel_scope.cancel()
