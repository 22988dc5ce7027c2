"""The command `roundel` in processes of its own, on real sockets."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import attrs
import httpx2
import trio

from roundel import Event, Parser
from roundel_service import app as service

from .service import settings

SECRETS = {
    "ROUNDEL_PRODUCER_KEYS": "a-producer-key-for-tests",
    "ROUNDEL_JWT_SECRET": "a-secret-of-more-than-32-bytes-for-tests",
    "ROUNDEL_OPS_BIND": "",
    "ROUNDEL_ENGINE": "memory",
    # The default needs more open files than some machines allow, which is a warning.
    "ROUNDEL_MAX_STREAMS": "1000",
}

LONG = 60.0
"""A drain timeout in seconds that no test waits for."""

SLACK = 15.0
"""Seconds that a slow machine may need for an immediate step; far below `LONG`."""

SHARING = """
from roundel_service import settings
from roundel_service.cli.main import main

settings.SINGLE_PROCESS_ENGINES.remove("memory")
main()
"""
"""The command, with the memory engine allowed for several workers."""


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment with only these settings of the service."""
    others = {k: v for k, v in os.environ.items() if not k.startswith("ROUNDEL_")}
    return {**others, **SECRETS, **changes}


def accept_ctrl_c() -> None:
    """Let a child end by SIGINT, which a background job ignores; a *preexec_fn*."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


COMMAND = ("-m", "roundel_service")


def command(*arguments: str, program=COMMAND) -> list[str]:
    return [sys.executable, *program, *arguments]


def run(*arguments: str, env: dict[str, str] | None = None):
    """Run a command until it exits."""
    return subprocess.run(
        command(*arguments),
        env=env or environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@contextmanager
def started(
    *arguments: str,
    env: dict[str, str] | None = None,
    program=("-m", "roundel_service"),
):
    """Start a command that serves; yield the process and its URL, then kill it."""
    process = subprocess.Popen(
        command(*arguments, program=program),
        env=env or environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        match = re.search(r"http://\S+", line)
        assert match, line + process.stderr.read()
        yield process, match[0]
    finally:
        process.kill()
        process.communicate()


@attrs.define
class ServiceProcess:
    """A running `roundel serve`: its port, its operator URL and its log file."""

    process: trio.Process
    port: int
    ops: str
    log: Path
    peers: list[trio.socket.SocketType] = attrs.field(factory=list)

    async def send(self, request: bytes, *, buffer: int | None = None):
        """Send a request on a new connection, which is closed with the process."""
        sock = trio.socket.socket()
        self.peers.append(sock)
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await sock.connect(("127.0.0.1", self.port))
        stream = trio.SocketStream(sock)
        await stream.send_all(request)
        return stream

    async def stream(self, user: str = "alice", level: str = "badge", **options):
        """Open a stream and read its initial state."""
        target = f"/v1/stream?level={level}"
        stream = await self.send(get(target, user), **options)
        return stream, await read_until(stream, b"\nid: ")

    async def wait_closed(self) -> None:
        """Wait until the listener accepts no more connections."""
        with trio.fail_after(SLACK), suppress(ConnectionRefusedError):
            while True:
                stream = await self.send(b"")
                with suppress(trio.BrokenResourceError):
                    assert b"" == await stream.receive_some()

    async def end(self, limit: float = SLACK) -> int:
        """Send SIGTERM; return the exit status, expected within *limit* seconds."""
        self.process.send_signal(signal.SIGTERM)
        with trio.fail_after(limit):
            return await self.process.wait()

    def lines(self) -> list[dict]:
        """Return the log lines as JSON objects."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@asynccontextmanager
async def run_service(
    folder: Path, *arguments: str, program=("-m", "roundel_service"), **changes: str
):
    """Run `roundel serve` on a free port, with an operator's listener."""
    # A random loopback address, so that its port 9180 is free.
    low = ".".join(str(1 + secrets.randbelow(250)) for _ in range(3))
    ops, log = f"127.{low}:9180", folder / "log"
    command = [sys.executable, *program, "serve", "--bind", "127.0.0.1:0", *arguments]
    env = environment(**{"ROUNDEL_OPS_BIND": ops, **changes})
    with log.open("w") as stderr:
        process = await trio.lowlevel.open_process(
            command, env=env, stdout=subprocess.PIPE, stderr=stderr
        )
    running = ServiceProcess(process, 0, f"http://{ops}", log)
    try:
        with trio.fail_after(60):
            line = await read_until(process.stdout, b"\n")
        assert line, log.read_text()
        running.port = int(line.split(b"\n")[0].rpartition(b":")[2])
        yield running
    finally:
        for peer in running.peers:
            peer.close()
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        await trio.aclose_forcefully(process.stdout)


async def streams_of(operators: list[str]) -> list[int]:
    """Return the number of open streams of each worker, from its metrics."""
    async with httpx2.AsyncClient() as client:
        texts = [(await client.get(f"{each}/metrics")).text for each in operators]
    lines = [line for text in texts for line in text.splitlines()]
    return [
        int(float(n.split()[1])) for n in lines if n.startswith("roundel_streams_open ")
    ]


def token(user: str) -> str:
    return service.build_authenticator(settings()).sign(user, ttl=3_600)


def get(target: str, user: str) -> bytes:
    head = f"GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token(user)}"
    return f"{head}\r\n\r\n".encode()


async def read_until(stream, mark: bytes | None = None) -> bytes:
    """Read through *mark*, or to the end of the stream."""
    received = b""
    with trio.fail_after(30):
        while mark is None or mark not in received:
            chunk = await stream.receive_some()
            if not chunk:
                break
            received += chunk
    return received


def events(wire: bytes) -> list[Event]:
    """Return the events of a whole chunked response."""
    _, _, rest = wire.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return Parser().receive_data(body)


def bye(wire: bytes) -> dict:
    """Return the data of the last event, which must be `bye` with its retry."""
    *_, last = events(wire)
    assert "bye" == last.type
    data = json.loads(last.data)
    assert f"retry: {data['retry']}\n".encode() in wire
    return data
