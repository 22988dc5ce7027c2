"""The driver of a stream on trio: send until nothing is due, then sleep."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

import trio

from roundel import CloseMessage

from .wakeup import Wakeup


class EventStream(Protocol):
    """The part of `roundel.Stream` that a driver uses; a wrapper can implement it."""

    @property
    def is_open(self) -> bool:
        """False once the close message is taken."""

    @property
    def deadline(self) -> float:
        """The latest time for the next `data_to_send()`, even without an event.

        `data_to_send()` may move it later. It moves earlier only with a wakeup.
        """

    def data_to_send(self, now: float) -> list[bytes]:
        """Return the chunks to write now; the stream takes them as written."""

    def close(self, close_message: CloseMessage | None = None) -> None:
        """Close the stream; the first call counts.

        Without a message the connection is gone.
        """


async def iter_chunks(
    stream: EventStream,
    wakeup: Wakeup,
    *,
    clock: Callable[[], float] = trio.current_time,
) -> AsyncGenerator[bytes, None]:
    """Yield the data of *stream* until it is closed.

    Call `wakeup.notify()` after each append to one of the stream's topics and after
    its `close()`. Events that were appended while the consumer was busy are one chunk,
    of at most the stream's *max_write* bytes.
    """
    while stream.is_open:
        if chunks := stream.data_to_send(clock()):
            yield b"".join(chunks)
        else:
            with trio.move_on_at(stream.deadline):
                await wakeup.wait()
