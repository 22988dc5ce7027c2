"""Writing to a peer that may not read: as fast as it takes it, and no longer."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import final

import trio

# Elsewhere a socket is no file.
IS_POSIX = os.name == "posix"
STEP_SIZE = 64 * 1024
"""Bytes of which each may take four times the patience that nothing may take."""


@final
class WriteDeadline:
    """By when a peer has to take more of what it is sent; *patience* in seconds."""

    __slots__ = ("_all", "_patience", "_some", "_taken")

    def __init__(self, timeout: float, now: float) -> None:
        self._patience = timeout
        self._taken = 0
        self._some = now + timeout
        self._all = now + 4 * timeout

    @property
    def deadline(self) -> float:
        """When the peer has run out of time."""
        return min(self._some, self._all)

    def extend(self, size: int, now: float) -> None:
        """Note that the peer took *size* bytes."""
        self._some = now + self._patience
        self._taken += size
        if self._taken >= STEP_SIZE:
            self._taken %= STEP_SIZE
            self._all = now + 4 * self._patience


@final
class ShutdownDeadline:
    """The moment that no write outlives, once it has been named."""

    def __init__(self) -> None:
        self.at = math.inf
        self._scopes: set[trio.CancelScope] = set()

    def set(self, at: float) -> None:
        """Let everything that is being written end by *at*."""
        self.at = at
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, at)

    @contextmanager
    def scope(self) -> Iterator[trio.CancelScope]:
        """Open a scope that only its deadline ends, or this moment."""
        scope = trio.CancelScope(shield=True, deadline=self.at)
        self._scopes.add(scope)
        try:
            with scope:
                yield scope
        finally:
            self._scopes.discard(scope)


@final
class PacedStream(trio.abc.Stream):
    """A socket whose peer has to keep taking what it is sent.

    It is a layer of its own because TLS does not tell how much of a write has gone:
    under TLS the pace is that of the ciphertext. A write is never left half done by
    a cancellation, for the stream could not be used after it.
    """

    def __init__(
        self,
        stream: trio.SocketStream,
        *,
        write_timeout: float,
        shutdown_deadline: ShutdownDeadline,
    ) -> None:
        self._stream = stream
        self._patience = write_timeout
        self._last_call = shutdown_deadline
        self.has_timed_out = False
        """Whether the peer ran out of time."""

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Send what goes without waiting, and return how many bytes went.

        An error counts as nothing: whoever sends the rest will meet it.
        """
        try:
            return os.write(self._stream.socket.fileno(), data) if IS_POSIX else 0
        except OSError:
            return 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all; raises `trio.BrokenResourceError` if the peer is too slow."""
        view = memoryview(data)
        rest = view[self.send_nowait(view) :]
        if rest:
            with self._last_call.scope() as scope:
                await self._send_slowly(rest, scope)
            if scope.cancelled_caught:
                self.has_timed_out = True
                raise trio.BrokenResourceError("the peer takes nothing")

    async def _send_slowly(self, rest: memoryview, scope: trio.CancelScope) -> None:
        pace = WriteDeadline(self._patience, trio.current_time())
        while rest:
            scope.deadline = min(pace.deadline, self._last_call.at)
            try:
                sent = await self._stream.socket.send(rest)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            pace.extend(sent, trio.current_time())
            rest = rest[sent:]

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket takes something."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what has come, or nothing at the end."""
        if not IS_POSIX:
            return await self._stream.receive_some(max_bytes)
        sock = self._stream.socket
        while sock.fileno() >= 0:
            # Nearly always nothing has come yet, and to try would be in vain.
            await trio.lowlevel.wait_readable(sock)
            try:
                # Asked for anew: a number may be another connection's by now.
                return os.read(sock.fileno(), max_bytes or STEP_SIZE)
            except BlockingIOError:
                pass
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
        raise trio.ClosedResourceError("not possible with a closed socket")

    def detach(self) -> socket.socket:
        """Give the socket away, non-blocking; the stream is over with that."""
        sock = self._stream.socket
        # Told what it is, since it would ask the kernel three times.
        given = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        given.setblocking(False)
        return given

    def shutdown_write(self) -> None:
        """Tell the peer that nothing more will come."""
        with suppress(OSError):
            self._stream.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket at once."""
        self._stream.socket.close()

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()
