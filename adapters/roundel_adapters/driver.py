"""The driver of a stream: send until nothing is due, then sleep."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Protocol, cast

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


def wakeup_of(stream: EventStream, wakeup: Wakeup | None = None) -> Wakeup:
    """Return *wakeup*, or that of a `LiveStream`.

    Raises `TypeError` for a stream without a wakeup.
    """
    found = wakeup or getattr(stream, "wakeup", None)
    if found is None:
        raise TypeError("wakeup: expected one; only a stream of Topics has its own")
    return cast(Wakeup, found)


async def iter_chunks(
    stream: EventStream, wakeup: Wakeup | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the data of *stream* until it is closed, on trio or on asyncio.

    Call `wakeup.notify()` after each append to one of the stream's topics and after
    its `close()`. Events that were appended while the consumer was busy are one chunk,
    of at most the stream's *max_write* bytes. The clock is that of the event loop.
    """
    with wakeup_of(stream, wakeup).task_waker() as waker:
        while stream.is_open:
            if chunks := stream.data_to_send(waker.time()):
                yield b"".join(chunks)
            else:
                await waker.sleep(stream.deadline)


def iter_chunks_in_thread(
    stream: EventStream, wakeup: Wakeup | None = None
) -> Generator[bytes, None, None]:
    """Yield the data of *stream* until it is closed, in a thread that waits.

    It is `iter_chunks()` for WSGI. The clock is `time.monotonic()`. The thread notices
    the end of its consumer at the next chunk, hence after a heartbeat at the latest.
    """
    with wakeup_of(stream, wakeup).thread_waker() as waker:
        while stream.is_open:
            if chunks := stream.data_to_send(waker.time()):
                yield b"".join(chunks)
            else:
                waker.sleep(stream.deadline)
