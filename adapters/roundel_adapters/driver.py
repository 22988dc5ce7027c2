"""The driver of a stream, whole: drain, then sleep."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

import trio

from .wakeup import Wakeup


class EventStream(Protocol):
    """What a driver needs of a `roundel.Stream`, so that something can wrap one."""

    @property
    def is_open(self) -> bool:
        """False once the last words are taken."""
        ...

    @property
    def deadline(self) -> float:
        """When to call `data_to_send()` at the latest, even without news.

        What is handed out puts it off. It comes nearer only with a ring of the bell.
        """
        ...

    def data_to_send(self, now: float) -> list[bytes]:
        """Hand out what is to be written now; asked again, that has been written."""
        ...

    def close(self) -> None:
        """End it without a word: the connection is gone."""
        ...


async def iter_chunks(
    stream: EventStream,
    wakeup: Wakeup,
    *,
    clock: Callable[[], float] = trio.current_time,
) -> AsyncGenerator[bytes, None]:
    """Yield what *stream* has to write, as it comes, until it is closed.

    *bell* must be rung whenever there may be news: after an append to one of the
    stream's lanes and after its `close()`. What gathered while the consumer was
    busy arrives in one piece, of at most the stream's *max_write* bytes.
    """
    while stream.is_open:
        if chunks := stream.data_to_send(clock()):
            yield b"".join(chunks)
        else:
            with trio.move_on_at(stream.deadline):
                await wakeup.wait()
