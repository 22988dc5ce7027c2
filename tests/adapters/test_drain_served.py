"""A graceful shutdown of streams on the servers that applications run on."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

APP = "support.draining_app:app"
TESTS = Path(__file__).parents[1]
BYE = re.compile(rb'retry: \d{4}\nevent: bye\ndata: {"reason":"drain"}\n\n')
SERVERS = {
    "uvicorn": ["uvicorn", "--fd", "{fd}"],
    "uvicorn without lifespan": ["uvicorn", "--fd", "{fd}", "--lifespan", "off"],
    "hypercorn": ["hypercorn", "-b", "fd://{fd}", "-w", "0"],
    # Its workers get no signal; it cancels their tasks.
    "hypercorn worker": ["hypercorn", "-b", "fd://{fd}", "--graceful-timeout", "0"],
    "hypercorn on trio": [
        "hypercorn", "-b", "fd://{fd}", "--graceful-timeout", "0", "-k", "trio",
    ],
    "granian": ["granian", "--interface", "asgi", "--port", "{port}"],
}  # fmt: skip


@contextmanager
def served(arguments, log, lacking, **changes):
    """Run a server in a process; yield it and a connection with an open stream."""
    if importlib.util.find_spec(arguments[0]) is None:
        lacking(f"{arguments[0]} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, address = listener.fileno(), listener.getsockname()
        if "{port}" in arguments:
            # The server listens itself.
            listener.shutdown(socket.SHUT_RDWR)
        filled = [part.format(fd=fd, port=address[1]) for part in arguments]
        process = subprocess.Popen(
            [sys.executable, "-m", *filled, APP],
            env={**os.environ, "LOG": str(log), **changes},
            cwd=TESTS,
            pass_fds=[fd],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    try:
        yield process, _open_stream(address, process)
    finally:
        process.kill()
        process.communicate()


def _open_stream(address, process):
    connection = _connect(address, process)
    connection.settimeout(30)
    connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    received = b""
    while b"id: e.0\n\n" not in received:
        data = connection.recv(4096)
        assert data, process.stderr.read()
        received += data
    return connection


def _connect(address, process):
    while True:
        try:
            return socket.create_connection(address)
        except ConnectionRefusedError:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)


def read_to_end(connection):
    with connection:
        return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.parametrize("arguments", SERVERS.values(), ids=SERVERS)
def test_sigterm_ends_a_stream_with_a_close_message(tmp_path, lacking, arguments):
    """At SIGTERM a stream says `bye`, exits its lifespan, and lets the server stop."""
    log = tmp_path / "log"
    with served(arguments, log, lacking) as (process, connection):
        process.send_signal(signal.SIGTERM)
        received = read_to_end(connection)
        process.wait(15)

    assert BYE.search(received), received
    assert "exited" == log.read_text()


def test_lifespan_of_a_cancelled_stream_is_exited(tmp_path, lacking):
    """Without a drain uvicorn cancels the response, and its lifespan is exited."""
    arguments = ["uvicorn", "--fd", "{fd}", "--timeout-graceful-shutdown", "1"]
    log = tmp_path / "log"
    with served(arguments, log, lacking, NO_DRAIN="1") as (process, connection):
        process.send_signal(signal.SIGTERM)
        received = read_to_end(connection)
        process.wait(15)

    assert b"bye" not in received
    assert "exited" == log.read_text()
