"""A server that sends the same bytes on each connection and then stays silent."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ssl import SSLContext

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


@contextmanager
def silent_server(response: bytes, tls: SSLContext | None = None) -> Iterator[int]:
    """Serve on the yielded port; without a *response* nothing is even accepted."""
    connections: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True)
                connections.append(connection)
                connection.recv(65536)
                connection.sendall(response)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        if response:
            thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with suppress(OSError):
                # It ends the call of `accept()`.
                listener.shutdown(socket.SHUT_RDWR)
            for connection in connections:
                connection.close()
            if response:
                thread.join(5)


def wait_until_in(thread: threading.Thread, function: str) -> None:
    """Wait until *thread* is inside a function of that name, as its last frame."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        frame = sys._current_frames().get(thread.ident or 0)
        if frame is not None and frame.f_code.co_name == function:
            return
        time.sleep(0)
    raise AssertionError(f"the thread is not in {function}()")
