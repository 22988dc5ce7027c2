"""One stream on one socket, of those that a switchboard drives."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, final

from ...driver import EventStream
from ...wakeup import Wakeup

if TYPE_CHECKING:
    from .dispatcher import StreamDispatcher

_LAST_CHUNK = b"0\r\n\r\n"


@final
class SocketStream:
    """One stream on one socket."""

    __slots__ = (
        "chunked",
        "dispatcher",
        "due",
        "due_whole",
        "head",
        "is_ended",
        "is_over",
        "is_scheduled",
        "lifespan",
        "scheduled_at",
        "sock",
        "stream",
        "unsent",
        "wakeup",
    )  # fmt: skip

    def __init__(
        self,
        board: StreamDispatcher,
        sock: socket.socket,
        talker: EventStream,
        bell: Wakeup,
        within: AbstractContextManager[object],
        *,
        chunked: bool,
        head: bytes = b"",
    ) -> None:
        self.dispatcher = board
        self.sock = sock
        self.stream = talker
        self.wakeup = bell
        self.lifespan = within
        self.chunked = chunked
        self.head = head
        self.unsent: bytes | memoryview = b""
        self.is_scheduled = self.is_ended = self.is_over = False
        # The moment it is put down for, and by when its peer has to take something, and
        # all of what is being written.
        self.scheduled_at = self.due = self.due_whole = inf

    @property
    def deadline(self) -> float:
        """When something has to be done about it even without news."""
        return self.due if self.unsent else self.stream.deadline

    def wake(self) -> None:
        """Have it asked, soon, what it has to say."""
        if not self.is_scheduled:
            self.is_scheduled = True
            self.dispatcher.schedule(self)

    def next_data(self, now: float) -> bytes:
        """Return what to write next, with the end of the response at the end."""
        if self.is_ended:
            return b""
        if self.head:
            head, self.head = self.head, b""
            return head + self.next_data(now)
        talker = self.stream
        chunks = talker.data_to_send(now)
        if not chunks and talker.is_open:
            return b""
        self.is_ended = not talker.is_open
        if not self.chunked:
            return b"".join(chunks)
        # One frame is what all live streams are told; several are for one alone.
        data = _chunk(chunks[0]) if len(chunks) == 1 else _chunk_of(b"".join(chunks))
        return data + _LAST_CHUNK if self.is_ended else data


def _chunk_of(body: bytes) -> bytes:
    # RFC 9112 7.1: a chunk of nothing would be the last one.
    return b"%x\r\n%b\r\n" % (len(body), body) if body else b""


_chunk = lru_cache(maxsize=16)(_chunk_of)
