"""A shutdown with the options of the servers: workers, reload, and frozen readers."""

from __future__ import annotations

import importlib.util
import os
import signal
import time

import pytest

from support.frameworks.client import Producer, Reader
from support.frameworks.scenarios import CHUNK, STOP_BOUND, WRITE_TIMEOUT
from support.frameworks.servers import running

pytestmark = pytest.mark.slow

APP = "support.frameworks.asgi_app:app"
UVICORN = ["uvicorn", "--port", "{port}"]
HYPERCORN = ["hypercorn", "-b", "fd://{fd}", "--graceful-timeout", "1"]
GRANIAN = ["granian", "--interface", "asgi", "--port", "{port}"]
GUNICORN = ["gunicorn", "-b", "fd://{fd}", "-k", "uvicorn_worker.UvicornWorker"]
GUNICORN_ASGI = ["gunicorn", "-b", "fd://{fd}", "-k", "asgi"]
WORKERS = {
    "uvicorn": [*UVICORN, "--workers", "2"],
    "uvicorn with reload": [*UVICORN, "--reload", "--reload-dir", "support/frameworks"],
    # The first worker that ends makes Hypercorn send SIGTERM to the other.
    "hypercorn": [*HYPERCORN, "-w", "2"],
    # Without the timeout it waits for a worker that still starts, for ever.
    "granian": [*GRANIAN, "--workers", "2", "--workers-kill-timeout", "1"],
    "gunicorn": [*GUNICORN, "-w", "2"],
    "gunicorn, asgi": [*GUNICORN_ASGI, "-w", "2", "--graceful-timeout", "1"],
}
FROZEN = {
    "uvicorn": [*UVICORN, "--timeout-graceful-shutdown", "1"],
    "hypercorn": HYPERCORN,
    "granian": [*GRANIAN, "--workers-kill-timeout", "1"],
    "gunicorn": [*GUNICORN, "--graceful-timeout", "1"],
    "gunicorn, asgi": [*GUNICORN_ASGI, "--graceful-timeout", "1"],
}


@pytest.fixture
def start(tmp_path, lacking):
    """Return a function that runs a server with the application in plain ASGI."""

    def run(arguments):
        needed = [arguments[0]]
        if arguments[0] == "gunicorn":
            needed.append("uvicorn_worker")
        for module in needed:
            if importlib.util.find_spec(module) is None:
                lacking(f"{module} is not installed")
        return running([*arguments, "{app}"], APP, tmp_path)

    return run


def opened(server):
    """Open ten streams and read the first event of each."""
    readers = [Reader(server.address, "/events?topic=a") for _ in range(10)]
    for reader in readers:
        assert "hello" == reader.next_event().type
    return readers


def assert_ended(readers, server, start):
    """Each reader gets the close message, and the process is gone in time."""
    for reader in readers:
        assert "bye" == reader.next_event().type
        reader.close()
    server.process.wait(STOP_BOUND)
    logged = server.logged()

    assert time.monotonic() - start < STOP_BOUND
    assert logged["entered"] == logged["exited"]


@pytest.mark.parametrize("arguments", WORKERS.values(), ids=WORKERS)
def test_worker_processes_end_their_streams(start, arguments):
    """SIGTERM to the parent ends the streams of its workers with a close message."""
    with start(arguments) as server:
        readers, since = opened(server), time.monotonic()
        server.process.send_signal(signal.SIGTERM)

        assert_ended(readers, server, since)


@pytest.mark.parametrize("name", ["hypercorn", "gunicorn"])
def test_a_signal_to_the_whole_group(start, name):
    """SIGTERM to parent and workers, as systemd sends it, ends the streams too."""
    with start(WORKERS[name]) as server:
        readers, since = opened(server), time.monotonic()
        os.killpg(server.process.pid, signal.SIGTERM)

        assert_ended(readers, server, since)


@pytest.mark.parametrize("arguments", FROZEN.values(), ids=FROZEN)
def test_a_frozen_reader_does_not_keep_the_process(start, arguments):
    """With a timeout of the server, a peer that reads nothing does not block it."""
    with start(arguments) as server:
        target = f"/events?topic=frozen&write_timeout={WRITE_TIMEOUT}"
        producer = Producer(server.address, "")
        with Reader(server.address, target, buffer=4096) as frozen:
            for _ in range(120):
                producer.publish("frozen", CHUNK)
            producer.close()
            readers, since = opened(server), time.monotonic()
            server.process.send_signal(signal.SIGTERM)

            assert_ended(readers, server, since)
            assert frozen
