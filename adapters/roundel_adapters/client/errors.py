"""Which errors of an HTTP library end a subscription, and which are lost connections.

Works by the names of classes: httpx2 and httpx have the same ones, and neither has to
be installed for the other. Most errors heal: servers restart, networks change. An error
is final in three cases.

- The request itself is at fault, such as a header with a line end: it fails each time.
- The peer is not the server: its certificate is wrong, or its name does not resolve.
  After the first open stream these are losses too, because a server was there before.
  A captive portal has the wrong certificate, and a failing resolver finds no name.
- The error is neither the HTTP library's nor the network's: nothing is known about it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast, final

if TYPE_CHECKING:
    import httpx2

_LIBRARIES = ("httpx", "httpx2")
_LOSSES = {"TransportError", "DecodingError"}
_FINAL = {"LocalProtocolError", "UnsupportedProtocol", "SSEError"}

# The libraries do not wrap each of these in an error of their own.
_NETWORK_ERRORS = (ConnectionError, TimeoutError, ssl.SSLError, socket.gaierror)

# TLS errors of a connection that was cut. Any other means a wrong server, or one
# without TLS.
_TLS_CUTS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


@final
class StreamEnded(Exception):  # noqa: N818, an end is an error only if unexpected
    """The stream has ended and the client does not reconnect; the message says why.

    `status` is that of the last response.
    """

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


def is_loss(error: Exception, *, was_open: bool) -> bool:
    """Return whether a reconnect may help; *was_open* is whether there was a stream."""
    names = _library_classes(error)
    if names.isdisjoint(_LOSSES) and not isinstance(error, _NETWORK_ERRORS):
        return False
    if not names.isdisjoint(_FINAL):
        return False
    if "ProxyError" in names and str(error).startswith("4"):
        # The proxy refuses the request, for example with 407.
        return False
    return was_open or not any(map(_is_wrong_peer, _chain(error)))


def is_timeout(error: Exception) -> bool:
    """Return whether *error* is a timeout of the library."""
    return "TimeoutException" in _library_classes(error)


def rejected_response(error: Exception) -> httpx2.Response | None:
    """Return the response for which a hook of the client raised *error*, if it did.

    `raise_for_status()` is a common hook.
    """
    is_status_error = "HTTPStatusError" in _library_classes(error)
    return cast("httpx2.HTTPStatusError", error).response if is_status_error else None


def describe(error: BaseException) -> str:
    """Return the type and the message of *error*, or of its cause if it has none."""
    text = next(filter(None, map(str, _chain(error))), "")
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _library_classes(error: Exception) -> set[str]:
    return {
        base.__name__
        for base in type(error).__mro__
        if base.__module__.partition(".")[0] in _LIBRARIES
    }


def _is_wrong_peer(error: BaseException) -> bool:
    if isinstance(error, socket.gaierror):
        # EAI_AGAIN is a resolver that cannot be reached.
        return error.errno != socket.EAI_AGAIN
    return isinstance(error, ssl.SSLError) and not isinstance(error, _TLS_CUTS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
