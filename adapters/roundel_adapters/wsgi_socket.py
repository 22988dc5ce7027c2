"""The socket below a WSGI response, where the server reveals it.

A WSGI application cannot see whether its peer has left, and cannot bound the time of
a write: the server writes. gunicorn and Werkzeug put the socket into the environment.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from math import inf

import attrs

_KEYS = ("gunicorn.socket", "werkzeug.socket")

# Linux: the peer has sent its FIN. A poll for input would also report unread bytes.
_PEER_CLOSED = getattr(select, "POLLRDHUP", 0)


@attrs.frozen
class PeerSocket:
    """The socket of one response; each method does nothing without one."""

    _socket: socket.socket | None

    @classmethod
    def of(cls, environ: Mapping[str, object]) -> PeerSocket:
        """Return the socket of a request, without one if other requests share it."""
        if str(environ.get("SERVER_PROTOCOL")).startswith("HTTP/2"):
            return cls(None)
        found = (environ.get(key) for key in _KEYS)
        return cls(next((s for s in found if isinstance(s, socket.socket)), None))

    @contextmanager
    def write_timeout(self, seconds: float) -> Iterator[None]:
        """Let each write raise `TimeoutError` after *seconds*, within the block."""
        if self._socket is None:
            yield
            return
        before = self._socket.gettimeout()
        self._socket.settimeout(None if seconds == inf else seconds)
        try:
            yield
        finally:
            # The server may have closed it.
            with suppress(OSError):
                self._socket.settimeout(before)

    def is_closed_by_peer(self) -> bool:
        """Return whether the peer has closed the connection, as far as is known."""
        if self._socket is None or not _PEER_CLOSED:
            return False
        if self._socket.fileno() < 0:
            return True
        poller = select.poll()
        poller.register(self._socket, _PEER_CLOSED)
        return bool(poller.poll(0))

    def end_connection(self) -> None:
        """Close the connection behind what the server has written.

        gunicorn keeps the connection of a complete response alive, for 2 s even when
        it has to stop. After a failed write it waits for 2 s until the peer closes, in
        the thread that accepts all connections.
        """
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
