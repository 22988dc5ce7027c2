"""The documented systemd unit, Containerfile and Kubernetes manifest."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import final

import pytest
import yaml

from support.process import COMMAND, SLACK
from support.service import KEY, SECRET, settings

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "deploy.md"

REQUEST = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
SECRET_SETTINGS = {"producer_keys": KEY, "jwt_secret": SECRET}


def blocks(language: str) -> list[str]:
    """Return the blocks of this language."""
    pattern = rf"^```{language}\n(.*?)^```"
    return re.findall(pattern, PAGE.read_text(), re.MULTILINE | re.DOTALL)


def block(language: str) -> str:
    """Return the one block of this language."""
    (found,) = blocks(language)
    return found


def unit(name: str) -> str:
    """Return the text of the unit roundel.*name*."""
    socket_unit, service_unit = blocks("ini")
    return socket_unit if name == "socket" else service_unit


def test_supervisors_wait_longer_than_the_drain():
    """No supervisor kills the process before `ROUNDEL_DRAIN_TIMEOUT` is over."""
    drain = settings().drain_timeout
    pod = yaml.safe_load(block("yaml"))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    *_, pause = container["lifecycle"]["preStop"]["exec"]["command"]
    waits = re.findall(r"^TimeoutStopSec=(\d+)$", unit("service"), re.MULTILINE)
    stop = re.findall(r"--stop-timeout (\d+)", block("sh"))

    assert drain < float(waits[0])
    assert drain < float(stop[0])
    assert drain + float(pause) < pod["terminationGracePeriodSeconds"]


def test_units_are_valid(tmp_path, lacking):
    """systemd accepts the units."""
    if shutil.which("systemd-analyze") is None:
        lacking("systemd is not installed")
    for name in ("socket", "service"):
        text = unit(name).replace("/opt/roundel/bin/roundel", "/bin/echo")
        (tmp_path / f"roundel.{name}").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", f"{tmp_path}/roundel.service"],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )

    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr


@final
class Activator:
    """Starts the service of the unit as systemd does, with one socket for all."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        stack.enter_context(self._manager)
        self._manager.bind(f"{folder}/notify")
        self._manager.settimeout(4 * SLACK)
        (folder / "roundel.toml").write_text(
            "".join(f'{name} = "{value}"\n' for name, value in SECRET_SETTINGS.items())
        )
        start = re.search(r"^ExecStart=(.*)$", unit("service"), re.MULTILINE)[1]
        for place in ("%d", "/var/lib/roundel"):
            start = start.replace(place, str(folder))
        self._arguments = [*COMMAND, *start.split()[1:]]
        self._stack = stack
        self._env = {"NOTIFY_SOCKET": f"{folder}/notify", "LISTEN_FDS": "1"}

    @property
    def port(self) -> int:
        return self.listener.getsockname()[1]

    def start(self) -> subprocess.Popen[bytes]:
        """Start the service with the socket as file descriptor 3."""
        number = self.listener.fileno()
        script = f'export LISTEN_PID=$$; exec "$@" 3<&{number}'
        others = {k: v for k, v in os.environ.items() if not k.startswith("ROUNDEL_")}
        process = subprocess.Popen(
            ["bash", "-c", script, "activator", sys.executable, *self._arguments],
            env={**others, **self._env, "ROUNDEL_OPS_BIND": ""},
            pass_fds=[number],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def expect(self, state: bytes) -> None:
        """Wait for a notification of the service."""
        assert state == self._manager.recv(99)


class Visitor(threading.Thread):
    """Sends requests, each on a connection of its own, until told to stop."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self.stopping = threading.Event()
        self.answers: list[bytes] = []

    def run(self) -> None:
        while not self.stopping.is_set():
            self.answers.append(self._visit())
            time.sleep(0.002)

    def _visit(self) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self._port), 4 * SLACK) as sock:
                sock.sendall(
                    b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
                )
                with sock.makefile("rb") as file:
                    return file.read()[:12]
        except OSError as error:
            return repr(error).encode()


@pytest.mark.slow
def test_restart_of_an_activated_service_refuses_no_connection(tmp_path):
    """Connections between two processes wait in the socket, and are served."""
    with ExitStack() as stack:
        activator = Activator(tmp_path, stack)
        first = activator.start()
        activator.expect(b"READY=1")
        visitors = [Visitor(activator.port) for _ in range(4)]
        for visitor in visitors:
            visitor.start()
            stack.callback(visitor.stopping.set)
        first.send_signal(signal.SIGTERM)
        activator.expect(b"STOPPING=1")
        assert 0 == first.wait(timeout=SLACK)
        activator.start()
        activator.expect(b"READY=1")
        for visitor in visitors:
            visitor.stopping.set()
        for visitor in visitors:
            visitor.join()

    assert {b"HTTP/1.1 200"} == {a for visitor in visitors for a in visitor.answers}
