"""The loop that drives a source over a `Client`, in a thread."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast, final

import attrs

from roundel import Event, State

from .cancellation import Cancellation
from .errors import is_timeout
from .http_source import HttpSource

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

_MAX_SOCKET_TIMEOUT = 2_000_000.0
"""Longest timeout of a socket in seconds: it counts milliseconds in 31 bits."""

_CONNECTED = ("connect_tcp.complete", "connect_unix_socket.complete")
"""How the names of httpcore's trace events end that return a new network stream."""

_ENDED = "http11.response_closed.started"
"""httpcore's trace event before it keeps a connection for other requests."""


@final
@attrs.define(eq=False)
class SyncDriver:
    """Sends the requests of a source, and reports what it receives.

    A read has the idle timeout. The other timeouts are those of the client, up to the
    idle timeout.
    """

    _client: httpx2.Client
    _make_source: Callable[[], HttpSource]
    _token: Cancellation
    _source: HttpSource = attrs.field(init=False)

    def events(self) -> Generator[Event, None, None]:
        """Yield the events of all connections; raise at the end.

        Return after a cancellation, which is reported nowhere else.
        """
        source = self._source = self._make_source()
        while source.state is not State.CLOSED:
            source.report()
            if source.state is State.WAITING:
                self._token.wait(source.deadline - source.now())
                source.handle_timeout()
            elif not self._token.is_cancelled:
                yield from self._connection()
            if self._token.is_cancelled:
                return
        source.report()
        raise source.end

    def _connection(self) -> Generator[Event, None, None]:
        """Yield the events of one connection."""
        try:
            request = self._request()
            if self._token.is_cancelled:
                return
            response = self._wait(
                partial(self._client.send, request, stream=True, follow_redirects=True)
            )
            if response is not None:
                yield from self._body(response)
        finally:
            self._token.release()

    def _body(self, response: httpx2.Response) -> Generator[Event, None, None]:
        source, token = self._source, self._token
        chunks = cast("Generator[bytes, None, None]", response.iter_bytes())
        read = partial(next, chunks, None)
        try:
            token.watch(response.extensions.get("network_stream"))
            if not token.is_cancelled:
                source.receive_response(response)
            while source.state is State.OPEN and not token.is_cancelled:
                data = self._wait(read)
                if not token.is_cancelled:
                    yield from source.receive_data(data)
        finally:
            # The connection is given up, and so are its errors.
            with suppress(Exception):
                chunks.close()
            with suppress(Exception):
                response.close()

    def _request(self) -> httpx2.Request:
        limit = self._client.timeout
        return self._source.request(
            timeout=(
                self._bounded(limit.connect),
                self._bounded(None),
                self._bounded(limit.write),
                self._bounded(limit.pool),
            ),
            extensions={"trace": self._trace},
        )

    def _bounded(self, timeout: float | None) -> float | None:
        idle = self._source.idle_timeout
        shortest = idle if timeout is None else min(timeout, idle)
        return shortest if shortest < _MAX_SOCKET_TIMEOUT else None

    def _trace(self, name: str, info: Mapping[str, object]) -> None:
        """Learn of a new connection, before its TLS handshake and its response.

        The connection of a stream is not kept for the next request. The token would not
        know it before the response, and the server may be about to close it.
        """
        if name.endswith(_CONNECTED):
            self._token.watch(info["return_value"])
        elif name == _ENDED and self._source.state is State.OPEN:
            self._token.disconnect()

    def _wait(self, call: Callable[[], T]) -> T | None:
        """Call the HTTP library; report its error or a timeout to the source."""
        # The time starts here: a slow caller is no idle connection.
        started = self._source.now()
        try:
            return call()
        except Exception as error:
            if self._token.is_cancelled:
                return None
            waited = self._source.now() - started
            if is_timeout(error) and waited >= self._source.idle_timeout:
                self._source.handle_timeout()
            elif not self._source.receive_error(error):
                raise
        return None
