"""A shutdown of streams in gunicorn's threads, by each of its signals."""

from __future__ import annotations

import importlib.util
import signal
import time
from contextlib import ExitStack, contextmanager

import pytest

from support.frameworks.client import Reader
from support.frameworks.scenarios import STOP_BOUND
from support.frameworks.servers import running

pytestmark = pytest.mark.slow

APP = "support.frameworks.flask_app:app"
GUNICORN = ["gunicorn", "-b", "fd://{fd}"]
THREADS = [*GUNICORN, "-k", "gthread", "--threads", "20"]
PRELOADED = [*THREADS, "-c", "python:support.frameworks.preloaded"]


@pytest.fixture
def open_streams(tmp_path, lacking):
    """Return a function that runs a server and opens streams."""
    for module in ("flask", "gunicorn"):
        if importlib.util.find_spec(module) is None:
            lacking(f"{module} is not installed")
    return lambda arguments: running([*arguments, "{app}"], APP, tmp_path)


@contextmanager
def opened(server, count=10):
    """Open streams for the length of the block, and read the first event of each."""
    with ExitStack() as stack:
        readers = [
            stack.enter_context(Reader(server.address, "/events?topic=a"))
            for _ in range(count)
        ]
        for reader in readers:
            assert "hello" == reader.next_event().type
        # A heartbeat later the worker has accepted the last one: gunicorn's handler of
        # SIGQUIT waits for a lock that it holds while it accepts.
        assert readers[-1].next_comment() is not None
        yield readers


def assert_last_words(readers):
    for reader in readers:
        while (event := reader.next_event()).type != "bye":
            pass
        assert event.data == '{"reason":"drain"}'


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (THREADS, signal.SIGINT),
        ([*THREADS, "-w", "2"], signal.SIGTERM),
        (PRELOADED, signal.SIGTERM),
        (PRELOADED, signal.SIGINT),
    ],
    ids=["Ctrl-C", "two workers", "preloaded", "preloaded, Ctrl-C"],
)
def test_streams_end_with_the_process(open_streams, arguments, number):
    """Ten streams get a close message, and the process is gone in time."""
    with open_streams(arguments) as server:
        with opened(server) as readers:
            start = time.monotonic()
            server.process.send_signal(number)
            assert_last_words(readers)
            # Their connections stay open until the process has gone.
            server.process.wait(30)
            assert time.monotonic() - start < STOP_BOUND
        logged = server.logged()

    assert logged["entered"] == logged["exited"] == 10


def test_sync_worker(open_streams):
    """The one stream of a sync worker, which runs in the main thread, ends too."""
    with (
        open_streams([*GUNICORN, "-k", "sync"]) as server,
        opened(server, 1) as readers,
    ):
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert_last_words(readers)
        server.process.wait(30)
        assert time.monotonic() - start < STOP_BOUND


def test_reload(open_streams):
    """SIGHUP ends the streams of the old worker, and a new one answers."""
    with open_streams(THREADS) as server, opened(server) as readers:
        server.process.send_signal(signal.SIGHUP)
        assert_last_words(readers)
        with opened(server, 1):
            pass
