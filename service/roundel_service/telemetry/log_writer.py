"""Writes the log in a thread, so that the event loop never waits for its reader.

A pipe, a terminal or a full disk can stop a write for ever: a reader that stands still
is enough. The thread alone waits then. Lines that exceed the queue are dropped and
counted. A descriptor that does not block would not do: the flag belongs to the open
file, which other processes share.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from typing import final

MAX_PENDING = 1 << 20
"""Maximum size of the text that waits for the reader, in bytes."""

WRITE_INTERVAL = 0.005
"""Minimum time between two writes in seconds: each costs two changes of threads."""

_RETRY_AFTER_MS = 1_000


@final
class LogWriter:
    """Writes lines to the file descriptor *file*, in their order.

    Its methods are those of a text file that the log needs, and never wait. `dropped`
    is the number of lines that the reader did not take, or that could not be written.
    """

    def __init__(self, file: int) -> None:
        self.dropped: int = 0
        self._file = file
        self._pending: deque[bytes] = deque()
        self._size = 0
        self._changed = threading.Condition(threading.Lock())
        # A daemon: the process can end while the thread waits for the reader.
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, text: str) -> int:
        """Write *text* soon, or drop it if too much waits already."""
        data = text.encode(errors="backslashreplace")
        with self._changed:
            if self._size + len(data) > MAX_PENDING:
                self.dropped += data.count(b"\n")
            else:
                self._pending.append(data)
                if not self._size:
                    self._changed.notify_all()
                self._size += len(data)
        return len(text)

    def flush(self) -> None:
        """Return at once: `drain()` waits."""

    def drain(self, timeout: float) -> None:
        """Wait until all lines are written, at most *timeout* seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size, timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending)
                data = b"".join(self._pending)
                self._pending.clear()
            unwritten = self._write(data)
            with self._changed:
                self._size -= len(data)
                self.dropped += unwritten.count(b"\n")
                if not self._size:
                    self._changed.notify_all()
            time.sleep(WRITE_INTERVAL)

    def _write(self, data: bytes) -> bytes:
        """Write *data*; return what could not be written."""
        while data:
            try:
                data = data[os.write(self._file, data) :]
            except BlockingIOError:
                # The parent has set the descriptor so.
                poll = select.poll()
                poll.register(self._file, select.POLLOUT)
                poll.poll(_RETRY_AFTER_MS)
            except OSError:
                # A closed pipe, a full disk: there is no other log.
                break
        return data
