"""A stream with all that an adapter needs for its response."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Protocol, TypeAlias, cast

from .drain import Drain
from .driver import EventStream, wakeup_of
from .wakeup import Wakeup

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


@contextmanager
def responding(
    stream: EventStream,
    wakeup: Wakeup | None = None,
    *,
    lifespan: Lifespan | None = None,
    drain: Drain | None = None,
) -> Iterator[None]:
    """Run one response: enter *lifespan*, and close *stream* at the end of the block.

    Within the block a drain can end the stream.
    """
    found = drain_of(stream, drain)
    tracked = found.track(stream, wakeup_of(stream, wakeup)) if found else nullcontext()
    with lifespan or nullcontext(), tracked, closing(stream):
        yield
