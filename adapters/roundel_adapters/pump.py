"""The driver of a stream, whole: drain, then sleep."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import trio

from roundel import Stream

from .bell import Bell


async def frames(
    stream: Stream, bell: Bell, *, clock: Callable[[], float] = trio.current_time
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
                await bell.wait()
