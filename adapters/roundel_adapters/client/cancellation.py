"""A cancellation token that ends blocking waits and reads from any thread.

A blocking read of a socket ends when another thread shuts the socket down: `close()`
does not end it, and leaves the file descriptor to be reused under the read. The token
holds a duplicate of the socket, so that its descriptor stays valid, even while the HTTP
library moves the connection into a TLS socket.

`cancel()` is safe in a signal handler. A handler runs in the main thread between any
two instructions, so each lock here is reentrant or is never waited for. The lock inside
a `threading.Event` is neither.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Protocol, final


class Cancellation(Protocol):
    """What a driver needs of a token."""

    @property
    def is_cancelled(self) -> bool: ...

    def wait(self, seconds: float) -> bool:
        """Wait for *seconds*, ``inf`` included; return whether it was cancelled."""

    def watch(self, stream: object) -> None:
        """Shut the socket of the network stream *stream* down at `cancel()`."""

    def disconnect(self) -> None:
        """Shut the socket down now."""

    def release(self) -> None:
        """Forget the socket."""

    def cancel(self) -> None:
        """End a wait or a read at once, and each later one."""


@final
class CancellationToken:
    """A token for real sockets and real time."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self._lock = threading.RLock()
        self._socket: socket.socket | None = None
        # Held until `cancel()`.
        self._sleep = threading.Lock()
        self._sleep.acquire()

    def wait(self, seconds: float) -> bool:
        timeout = min(max(seconds, 0.0), threading.TIMEOUT_MAX)
        return self.is_cancelled or self._sleep.acquire(timeout=timeout)

    def watch(self, stream: object) -> None:
        get_extra_info = getattr(stream, "get_extra_info", None)
        found = get_extra_info("socket") if get_extra_info else None
        with self._lock, suppress(OSError):
            self.release()
            if isinstance(found, socket.socket):
                # `dup()` does not work for TLS sockets.
                self._socket = socket.fromfd(found.fileno(), found.family, found.type)
            if self.is_cancelled:
                self.disconnect()

    def disconnect(self) -> None:
        # The peer may have ended the connection.
        with self._lock, suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def cancel(self) -> None:
        self.is_cancelled = True
        self.disconnect()
        # Unlocked by an earlier call.
        with suppress(RuntimeError):
            self._sleep.release()
