"""A stream with all that an adapter needs for its response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from contextvars import Context, copy_context
from typing import Protocol, TypeAlias, cast, final

import attrs

from roundel import CloseMessage

from .drain import Drain
from .driver import EventStream, wakeup_of
from .wakeup import Wakeup

WRITE_TIMEOUT = 30.0
"""Default timeout of one write in seconds."""

Lifespan: TypeAlias = AbstractContextManager[object]
"""A context manager that is entered when a response starts, and exited at its end."""


class LiveStream(EventStream, Protocol):
    """An `EventStream` that knows its wakeup and its drain, as those of `Topics` do."""

    @property
    def wakeup(self) -> Wakeup:
        """The wakeup that is notified when the stream may have bytes to send."""

    @property
    def drain(self) -> Drain:
        """The drain that ends the stream when the server has to stop."""


def drain_of(stream: EventStream, drain: Drain | None = None) -> Drain | None:
    """Return *drain*, or that of a `LiveStream`."""
    return drain or cast(Drain | None, getattr(stream, "drain", None))


@final
@attrs.frozen(eq=False)
class ContextStream:
    """An `EventStream` whose functions run with the context variables of its maker.

    A framework resets its variables before it sends the body of a response.
    """

    _stream: EventStream
    _context: Context = attrs.field(factory=copy_context)

    @property
    def is_open(self) -> bool:
        """That of the stream."""
        return self._stream.is_open

    @property
    def deadline(self) -> float:
        """That of the stream."""
        return self._stream.deadline

    def data_to_send(self, now: float) -> list[bytes]:
        """Call that of the stream, with the context variables."""
        return self._context.run(self._stream.data_to_send, now)

    def close(self, close_message: CloseMessage | None = None) -> None:
        """Call that of the stream."""
        self._stream.close(close_message)


@contextmanager
def responding(
    stream: EventStream,
    wakeup: Wakeup | None = None,
    *,
    lifespan: Lifespan | None = None,
    drain: Drain | None = None,
) -> Iterator[None]:
    """Run one response: enter *lifespan*, and close *stream* at the end of the block.

    Within the block a drain can end the stream. A *lifespan* that raises when it is
    entered closes the stream too.
    """
    found = drain_of(stream, drain)
    tracked = found.track(stream, wakeup_of(stream, wakeup)) if found else nullcontext()
    # The outer one also closes it if the lifespan fails to start.
    with closing(stream), lifespan or nullcontext(), tracked, closing(stream):
        yield


def replace_headers(
    headers: Iterable[tuple[str, str]],
    own: Mapping[str, str] | Iterable[tuple[str, str]],
) -> list[tuple[str, str]]:
    """Return *headers* and *own* headers, which replace those of the same name."""
    own = list(
        cast(Mapping[str, str], own).items() if isinstance(own, Mapping) else own
    )
    replaced = {name.lower() for name, _ in own}
    return [*(field for field in headers if field[0].lower() not in replaced), *own]
