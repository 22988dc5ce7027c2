"""What the fast path requires of an application.

ASGI costs a request several tasks, scopes and queues, which are most of the CPU time
of a short response. On the fast path a request is one function call. The application
offers a handler for each request that it accepts here; all other requests are served
by ASGI. Response classes need not be imported from here: any class with the
attributes of `FastResponse` or `FastEventStream` will do.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias, final

from ...driver import EventStream
from ...wakeup import Wakeup


@final
class Headers:
    """The header fields of a request, by case-insensitive name (RFC 9110 5.1)."""

    __slots__ = ("_values",)

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in fields:
            self._values.setdefault(name, []).append(value)

    def getlist(self, name: str) -> list[str]:
        """Return all values of a field."""
        return [*self._values.get(name.lower(), ())]

    def get(self, name: str) -> str | None:
        """Return the first value of a field."""
        values = self._values.get(name.lower())
        return values[0] if values else None


class _ResponseHead(Protocol):
    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields without those of the framing and without `Date`."""
        ...


class FastResponse(_ResponseHead, Protocol):
    """A response with a body, which is sent whole or in chunks as it is generated."""

    @property
    def body(self) -> bytes | AsyncGenerator[bytes, None]:
        """The body, or a generator of its chunks."""
        ...


class FastEventStream(_ResponseHead, Protocol):
    """A response whose body is an event stream that the server drives."""

    @property
    def stream(self) -> EventStream:
        """The stream that returns the bytes to send."""
        ...

    @property
    def wakeup(self) -> Wakeup:
        """The wakeup that is notified when the stream may have bytes to send."""
        ...

    @property
    def lifespan(self) -> AbstractContextManager[object]:
        """The context to enter before the stream starts and to leave at its end."""
        ...


AnyFastResponse: TypeAlias = FastResponse | FastEventStream

FastHandler: TypeAlias = Callable[[Headers, bytes], Awaitable[AnyFastResponse]]
"""Responds to a request with these header fields and this body.

An exception is a bug: it is logged, and the connection is closed without a response.
"""


class App(Protocol):
    """An application that serves some of its requests on the fast path."""

    def find_handler(self, method: str, path: str, query: bytes) -> FastHandler | None:
        """Return the handler of a request; `None` if ASGI has to serve it.

        *path* is not unescaped. The fast path does not notice a peer that leaves
        before its response is complete: offer no handler for a long poll.
        """
        ...
