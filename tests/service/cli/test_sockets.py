"""`roundel serve` on Unix sockets and on sockets of its parent."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest

from support.process import SHARING, SLACK, environment

pytestmark = pytest.mark.slow

REQUEST = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@contextmanager
def serving(*binds: str, pass_fds=(), workers: int = 1, **changes: str):
    """Run a service; yield its process, which has printed where it listens."""
    program = ["-c", SHARING] if workers > 1 else ["-m", "roundel_service"]
    arguments = ["serve", "--bind", ",".join(binds), "--workers", str(workers)]
    process = subprocess.Popen(
        [sys.executable, *program, *arguments],
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def urls(process: subprocess.Popen[str]) -> list[str]:
    """Return the URLs that the service prints when it is ready."""
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return line.removeprefix("Roundel is listening on ").strip().split(", ")


def end(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=SLACK)


def connected(address: str | tuple[str, int], stack: ExitStack) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    sock = stack.enter_context(socket.socket(family))
    sock.settimeout(SLACK)
    sock.connect(address)
    return sock


def response(sock: socket.socket) -> bytes:
    with sock.makefile("rb") as file:
        return file.read()


def is_alive(address: str | tuple[str, int]) -> bool:
    with ExitStack() as stack:
        sock = connected(address, stack)
        sock.sendall(REQUEST)
        return response(sock).startswith(b"HTTP/1.1 200 ")


def test_service_has_a_port_and_unix_sockets(tmp_path):
    """Each address is served and printed, and the files are removed at the end."""
    path, ops = f"{tmp_path}/r.sock", f"{tmp_path}/ops.sock"
    binds = f"unix:{path}", "127.0.0.1:0"
    with serving(*binds, ROUNDEL_OPS_BIND=f"unix:{ops}") as process:
        unix, tcp = urls(process)
        port = int(tcp.removeprefix("http://127.0.0.1:"))

        assert f"unix:{path}" == unix
        assert f"Operator listener: unix:{ops}\n" == process.stdout.readline()
        for address in (path, ops, ("127.0.0.1", port)):
            assert is_alive(address), address
        assert 0 == end(process)
        assert not [*tmp_path.iterdir()]


def test_socket_of_a_killed_service_is_replaced(tmp_path):
    """A second service is refused while the first lives, and starts afterwards."""
    path = f"{tmp_path}/r.sock"
    with serving(f"unix:{path}") as first:
        urls(first)
        with serving(f"unix:{path}") as second:
            assert 1 == second.wait(timeout=SLACK)
            error = second.stderr.read().splitlines()[-1]
        assert f"roundel: cannot listen on unix:{path}: Address already in use" == error
        first.kill()
    with serving(f"unix:{path}") as third:
        urls(third)

        assert is_alive(path)


@pytest.mark.parametrize("workers", [1, 2])
def test_connections_wait_through_a_restart(workers):
    """A client that connects between two services is served by the second."""
    with ExitStack() as stack:
        passed = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address, number = passed.getsockname(), passed.fileno()
        options = {"pass_fds": [number], "workers": workers}
        with serving(f"fd:{number}", **options) as first:
            assert [f"http://127.0.0.1:{address[1]}"] == urls(first)
            assert is_alive(address)
            assert 0 == end(first)
        waiting = [connected(address, stack) for _ in range(20)]
        for sock in waiting:
            sock.sendall(REQUEST)
        with serving(f"fd:{number}", **options) as second:
            urls(second)

            for sock in waiting:
                assert response(sock).startswith(b"HTTP/1.1 200 ")
            assert 0 == end(second)


def test_workers_share_a_unix_socket(tmp_path):
    """The parent opens the socket, and removes its file when the service drains."""
    path, ops = f"{tmp_path}/r.sock", f"{tmp_path}/ops.sock"
    operator = {"ROUNDEL_OPS_BIND": f"unix:{ops}"}
    with serving(f"unix:{path}", workers=2, **operator) as process:
        assert [f"unix:{path}"] == urls(process)
        for address in (path, ops, f"{ops}.2"):
            assert is_alive(address), address
        assert 0 == end(process)
        assert not [*tmp_path.iterdir()]


def test_other_file_descriptor_is_a_one_line_error(tmp_path):
    """A socket that the parent did not pass is reported without a traceback."""
    with serving("fd:77") as process:
        _, log = process.communicate(timeout=SLACK)

    assert 1 == process.returncode
    expected = "roundel: cannot listen on fd:77: file descriptor 77 is not open"
    assert [expected] == log.splitlines()
