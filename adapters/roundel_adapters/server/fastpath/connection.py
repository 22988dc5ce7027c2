"""One plain connection that waits for a request without a task."""

from __future__ import annotations

import math
import socket
from contextlib import AbstractContextManager, suppress
from typing import final

import trio

from ...driver import EventStream
from ...wakeup import Wakeup
from ..context import ServerContext
from ..paced_stream import PacedStream
from ..timeouts import IdleTimeout
from .http1 import Http1Connection
from .interface import App
from .request_parser import Head

RECEIVE = 64 * 1024
LINGER = 1.0
"""Seconds in which a peer that is still sending may read why it should not."""


@final
class FastConnection:
    """A connection whose requests come whole, and are answered one by one.

    *patience* ends it when it has waited for too long.
    """

    __slots__ = (
        "_idle_timeout",
        "_paced",
        "_site",
        "_unsent",
        "file",
        "http1",
        "is_busy",
        "is_detached",
        "is_over",
        "is_watched",
        "keep_alive",
        "sock",
    )  # fmt: skip

    def __init__(
        self, site: ServerContext, app: App, sock: socket.socket, patience: IdleTimeout
    ) -> None:
        self._site = site
        self._idle_timeout = patience
        self._paced: PacedStream | None = None
        self.sock = sock
        self.file = sock.fileno()
        self.http1 = Http1Connection(app, self, max_head=site.limits.max_head)
        self.is_busy = self.is_over = self.is_watched = False
        self.is_detached = False
        """Whether a stream has it now, or a task."""
        self.keep_alive = False
        """Whether another request may come behind the one that is answered."""
        self._unsent = b""

    async def respond(self, head: Head) -> None:
        """Make the answer to a request whose body is here, which is to be sent next."""
        self.keep_alive = False
        self._unsent, self.keep_alive = await self.http1.answer(head)

    def send(self) -> bool:
        """Send the answer; tell whether nothing is left that has to be waited for."""
        data = self._unsent
        if data:
            self._unsent = data[self._send(data) :]
        return not self._unsent and (self.is_over or not self.http1.is_unread)

    async def send_slowly(self) -> None:
        """Send the rest of the answer to a peer that takes its time."""
        if self._unsent:
            await self._write_slowly(self._unsent)
            self._unsent = b""
        if self.http1.is_unread and not self.is_over:
            await self._linger()

    async def _linger(self) -> None:
        # As in `Connection`: what it has not read yet must not be reset.
        self.is_over = True
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        with trio.move_on_after(LINGER):
            while await self.receive():
                pass

    def detach(self) -> trio.SocketStream:
        """Give the socket to who waits for it in a task."""
        self._give()
        return trio.SocketStream(trio.socket.from_stdlib_socket(self.sock))

    def end(self) -> None:
        """Close the socket, unless somebody else has it by now."""
        self._idle_timeout.stop()
        if not self.is_detached:
            self.is_over = True
            self.sock.close()
        # They hold it too: thousands would be left to the collector of cycles.
        del self.http1, self._idle_timeout

    def _give(self) -> None:
        self.is_detached = self.is_over = True

    # What the short way needs of a connection.

    @property
    def is_draining(self) -> bool:
        """Whether no further request is taken."""
        return self._site.is_draining

    async def receive(self) -> bytes:
        """Receive what has come, or nothing at the end."""
        try:
            return await self._slowly().receive_some(RECEIVE)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def write(self, data: bytes) -> bool:
        """Write all, and tell whether the peer still takes something."""
        sent = self._send(data)
        if sent < len(data):
            await self._write_slowly(memoryview(data)[sent:])
        return not self.is_over

    def _send(self, data: bytes) -> int:
        """Send what the socket takes, and return how many bytes that was."""
        try:
            return self.sock.send(data)
        except OSError:
            # Whoever sends the rest will meet it.
            return 0

    async def _write_slowly(self, rest: bytes | memoryview) -> None:
        paced = self._slowly()
        try:
            await paced.send_all(rest)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._site.counters.cut += paced.has_timed_out
            self.is_over = True
        await trio.lowlevel.checkpoint_if_cancelled()

    def wait(self, patience: float | None) -> None:
        """Be patient for so many seconds, or for as long as a request is served."""
        self.is_busy = patience is None
        self._idle_timeout.reset(math.inf if patience is None else patience)

    def adopt(
        self,
        talker: EventStream,
        bell: Wakeup,
        within: AbstractContextManager[object],
        head: bytes = b"",
    ) -> None:
        """Hand the connection over to a stream."""
        board = self._site.dispatcher
        assert board is not None
        self._give()
        board.add(self.sock, talker, bell, lifespan=within, chunked=True, head=head)

    def _slowly(self) -> PacedStream:
        if self._paced is None:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(self.sock))
            limits, last_call = self._site.limits, self._site.shutdown_deadline
            self._paced = PacedStream(
                stream, write_timeout=limits.write_timeout, shutdown_deadline=last_call
            )
        return self._paced
