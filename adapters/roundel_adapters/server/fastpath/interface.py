"""The short way for plain HTTP/1.1: a request is a call, in its connection's own task.

ASGI costs a request some tasks, scopes and queues, which are most of what a short
answer takes. An application that is a function from `FastRequest` to `AnyResponse`
needs none of them. Requests that such an application does not handle take the ASGI
way, together with their connection.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias, final

import attrs

from ...driver import EventStream
from ...wakeup import Wakeup


@final
class Headers:
    """The header of a request; names are compared without regard to case."""

    __slots__ = ("_values",)

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in fields:
            self._values.setdefault(name, []).append(value)

    def getlist(self, name: str) -> list[str]:
        """Return all values of that name."""
        return [*self._values.get(name.lower(), ())]

    def get(self, name: str) -> str | None:
        """Return the first value of that name."""
        values = self._values.get(name.lower())
        return values[0] if values else None


class RequestBody(Protocol):
    """The body of a request, read from the peer as it is iterated over."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return itself."""
        ...

    async def __anext__(self) -> bytes:
        """Return what comes next."""
        ...

    def buffered(self) -> bytes | None:
        """Take the whole body if it has come, and nothing of it otherwise."""
        ...


@final
@attrs.frozen(eq=False)
class FastRequest:
    """What is asked for."""

    method: str
    path: str
    query: bytes
    headers: Headers
    body: RequestBody


@final
@attrs.frozen(kw_only=True)
class Response:
    """An answer that is there; it is written at once."""

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""


@final
@attrs.frozen(kw_only=True)
class StreamingResponse:
    """An answer that comes piece by piece, for as long as it is read."""

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: AsyncGenerator[bytes, None]


@final
@attrs.frozen(kw_only=True)
class EventStreamResponse:
    """An answer that is an event stream, for as long as *talker* is open.

    *bell* is rung when there may be news; *within* is entered when the stream begins.
    """

    stream: EventStream
    wakeup: Wakeup
    lifespan: AbstractContextManager[object]
    headers: Mapping[str, str] = attrs.field(factory=dict)
    status: int = 200


AnyResponse: TypeAlias = Response | StreamingResponse | EventStreamResponse


class App(Protocol):
    """An application that can be called the short way."""

    def handles(self, method: str, path: str, query: bytes) -> bool:
        """Tell whether it answers such requests, written as the peer wrote them.

        Nothing notices here that a peer has gone before its answer is there: what
        waits for long goes the usual way.
        """
        ...

    async def __call__(self, request: FastRequest, /) -> AnyResponse:
        """Answer; an exception is a fault, and costs the peer its connection."""
        ...
