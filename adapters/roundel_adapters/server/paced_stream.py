"""Writing to a peer that may not read: each write has a deadline.

A peer keeps its connection as long as it takes some bytes within the write timeout, and
every 64 KiB within four times the write timeout. A fixed deadline for a whole write
would disconnect a slow reader of a large response.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import final

import trio

IS_POSIX = os.name == "posix"
"""Whether a socket is a file descriptor that `os.read()` and `os.write()` accept."""

STEP_SIZE = 64 * 1024
"""Bytes that a peer has to take within `STEP_TIMEOUTS` write timeouts."""

STEP_TIMEOUTS = 4
"""Write timeouts within which a peer has to take `STEP_SIZE` bytes."""

RECEIVE_SIZE = 64 * 1024
"""Default maximum of bytes that one receive returns."""


@final
class WriteDeadline:
    """Computes the time by which a peer has to take more bytes.

    *timeout* is the write timeout in seconds.
    """

    __slots__ = ("_next_bytes_by", "_next_step_by", "_taken", "_timeout")

    def __init__(self, timeout: float, now: float) -> None:
        self._timeout = timeout
        self._taken = 0
        self._next_bytes_by = now + timeout
        self._next_step_by = now + STEP_TIMEOUTS * timeout

    @property
    def deadline(self) -> float:
        """The time at which the peer has timed out."""
        return min(self._next_bytes_by, self._next_step_by)

    def extend(self, size: int, now: float) -> None:
        """Move the deadline, because the peer took *size* bytes."""
        self._next_bytes_by = now + self._timeout
        self._taken += size
        if self._taken >= STEP_SIZE:
            self._taken %= STEP_SIZE
            self._next_step_by = now + STEP_TIMEOUTS * self._timeout


@final
class ShutdownDeadline:
    """The time at which all writes of a server end, once it is set."""

    def __init__(self) -> None:
        self.at: float = math.inf
        self._scopes: set[trio.CancelScope] = set()

    def set(self, at: float) -> None:
        """Cancel current and later writes at the time *at*."""
        self.at = at
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, at)

    @contextmanager
    def scope(self) -> Iterator[trio.CancelScope]:
        """Open a shielded scope that ends by this deadline at the latest."""
        scope = trio.CancelScope(shield=True, deadline=self.at)
        self._scopes.add(scope)
        try:
            with scope:
                yield scope
        finally:
            self._scopes.discard(scope)


@final
class PacedStream(trio.abc.Stream):
    """A socket that disconnects a peer that does not read.

    `trio.SSLStream` does not report how much of a write was sent, so this is the
    transport below it, and the deadlines apply to the ciphertext. A cancellation never
    interrupts a write, because a half-sent write would make the stream unusable.
    """

    def __init__(
        self,
        stream: trio.SocketStream,
        *,
        write_timeout: float,
        shutdown_deadline: ShutdownDeadline,
    ) -> None:
        self._stream = stream
        self._write_timeout = write_timeout
        self._shutdown_deadline = shutdown_deadline
        self.has_timed_out: bool = False
        """Whether a write has timed out."""

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Send without waiting; return the number of bytes that were sent.

        Returns 0 on an error. `send_all()` of the rest raises it.
        """
        try:
            return os.write(self._stream.socket.fileno(), data) if IS_POSIX else 0
        except OSError:
            return 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of *data*; raise `trio.BrokenResourceError` on a timeout."""
        view = memoryview(data)
        rest = view[self.send_nowait(view) :]
        if rest:
            with self._shutdown_deadline.scope() as scope:
                await self._send_slowly(rest, scope)
            if scope.cancelled_caught:
                self.has_timed_out = True
                raise trio.BrokenResourceError("write timeout: the peer does not read")

    async def _send_slowly(self, rest: memoryview, scope: trio.CancelScope) -> None:
        deadline = WriteDeadline(self._write_timeout, trio.current_time())
        while rest:
            scope.deadline = min(deadline.deadline, self._shutdown_deadline.at)
            try:
                sent = await self._stream.socket.send(rest)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            deadline.extend(sent, trio.current_time())
            rest = rest[sent:]

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket is writable."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive some bytes; return no bytes at EOF."""
        if not IS_POSIX:
            return await self._stream.receive_some(max_bytes)
        sock = self._stream.socket
        while sock.fileno() >= 0:
            # Waiting first saves a system call: the socket is rarely readable yet.
            await trio.lowlevel.wait_readable(sock)
            try:
                # After the wait the old file descriptor may be another socket's.
                return os.read(sock.fileno(), max_bytes or RECEIVE_SIZE)
            except BlockingIOError:
                pass
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
        raise trio.ClosedResourceError("the socket is closed")

    def detach(self) -> socket.socket:
        """Return the socket, non-blocking; the stream is closed for its user."""
        sock = self._stream.socket
        # Without these arguments, the constructor makes three system calls.
        detached = socket.socket(
            sock.family, sock.type, sock.proto, fileno=sock.detach()
        )
        detached.setblocking(False)
        return detached

    def shutdown_write(self) -> None:
        """Send EOF, and keep receiving."""
        with suppress(OSError):
            self._stream.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket at once."""
        self._stream.socket.close()

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()
