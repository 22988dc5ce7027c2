"""The servers of the scenario table, each in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

TESTS = Path(__file__).parents[2]

START_TIMEOUT = 60.0
"""Seconds that a server may need to accept a connection."""

SERVERS = {
    # With `--fd` it takes the socket for a Unix one, and leaves Nagle's algorithm on.
    "uvicorn": ["uvicorn", "--port", "{port}", "{app}"],
    "hypercorn": ["hypercorn", "-b", "fd://{fd}", "-w", "0", "{app}"],
    # Its workers get no signal; it cancels their tasks after the timeout.
    "hypercorn, worker": [
        "hypercorn", "-b", "fd://{fd}", "--graceful-timeout", "1", "{app}",
    ],
    "hypercorn, trio": [
        "hypercorn", "-b", "fd://{fd}", "--graceful-timeout", "1", "-k", "trio",
        "{app}",
    ],
    "granian": ["granian", "--interface", "asgi", "--port", "{port}", "{app}"],
    "gunicorn, uvicorn": [
        "gunicorn", "-b", "fd://{fd}", "-k", "uvicorn_worker.UvicornWorker", "{app}",
    ],
    "gunicorn, asgi": ["gunicorn", "-b", "fd://{fd}", "-k", "asgi", "{app}"],
    "gunicorn, gthread": [
        "gunicorn", "-b", "fd://{fd}", "-k", "gthread", "--threads", "100", "{app}",
    ],
    "runserver": [
        "support.frameworks.django_app", "runserver", "--noreload", "{port}",
    ],
    "waitress": [
        "support.frameworks.threaded_servers", "waitress", "{app}", "{fd}",
    ],
    "werkzeug": [
        "support.frameworks.threaded_servers", "werkzeug", "{app}", "{port}",
    ],
    "aiohttp": ["support.frameworks.aiohttp_app", "{app}", "{fd}"],
    "gunicorn, aiohttp": [
        "gunicorn", "-b", "fd://{fd}", "-k", "aiohttp.GunicornWebWorker", "{app}",
    ],
    "roundel": ["support.frameworks.roundel_server", "{app}", "{fd}"],
}  # fmt: skip
"""The arguments of `python -m` for each server."""


@attrs.frozen
class Running:
    """A server that runs: its process, its address, and two files.

    *log* is that of the lifespans, and *errors* has what the server prints.
    """

    process: subprocess.Popen[str]
    address: tuple[str, int]
    log: Path
    errors: Path

    def stop(self) -> float:
        """Send SIGTERM; return the seconds until the process is gone."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(START_TIMEOUT)
        return time.monotonic() - start

    def logged(self) -> dict[str, int]:
        """Return how many lifespans were entered and exited."""
        lines = self.log.read_text().split()
        return {name: lines.count(name) for name in ("entered", "exited")}


@contextmanager
def running(arguments: list[str], app: str, folder: Path):
    """Run a server with *app* for the length of the block."""
    log, errors = folder / "log", folder / "errors"
    log.touch()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        address = listener.getsockname()
        if "{port}" in arguments:
            # The server listens itself. The port stays reserved.
            listener.shutdown(socket.SHUT_RDWR)
        fields = {"fd": listener.fileno(), "port": address[1], "app": app}
        with errors.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", *(part.format(**fields) for part in arguments)],
                env={**os.environ, "LOG": str(log), "PYTHONUNBUFFERED": "1"},
                cwd=TESTS,
                pass_fds=[listener.fileno()],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
    try:
        _wait_until_connected(process, address, errors)
        yield Running(process, address, log, errors)
    finally:
        _kill(process)


def _wait_until_connected(process, address, errors):
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with suppress(ConnectionRefusedError), socket.create_connection(address):
            return
        assert process.poll() is None, errors.read_text()
        assert time.monotonic() < deadline, errors.read_text()
        time.sleep(0.02)


def _kill(process):
    # The session has the server's worker processes too.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
