"""The programs in `docs/examples`, run in processes by the commands that they name."""

from __future__ import annotations

import ast
import importlib.util
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import httpx2
import pytest
import trio

from roundel import Event
from roundel_adapters.client import connect

from .ports import port_of, reserve_port

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"


@attrs.frozen
class RunningExample:
    """A running program of `docs/examples`, and its address."""

    process: subprocess.Popen[str]
    url: str


def commands_of(name: str) -> list[str]:
    """Return the commands in the docstring of an example: one a line."""
    docstring = ast.get_docstring(ast.parse((EXAMPLES / name).read_text()))
    assert docstring
    return [line for line in docstring.splitlines() if "8000" in line]


def cases() -> list[object]:
    """Return a parameter for each command of each example with the shared page."""
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    return [
        pytest.param(command, id=f"{name.removesuffix('.py')}-{label(command)}")
        for name in names
        if "from screen import" in (EXAMPLES / name).read_text()
        for command in commands_of(name)
    ]


def label(command: str) -> str:
    """Return the program of a command, and its kind of worker."""
    words = [word for word in command.split() if "=" not in word]
    kinds = [word for word in words if word in ("trio", "gthread", "rsgi", "asginl")]
    return "-".join([words[0], *kinds])


@contextmanager
def running(
    command: str, lacking: Callable[[str], None], folder: Path
) -> Iterator[RunningExample]:
    """Run a command of an example on a free port, and end it."""
    program, *arguments = shlex.split(command)
    if program != "python":
        if importlib.util.find_spec(program) is None:
            lacking(f"{program} is not installed")
        arguments = ["-m", program, *arguments]
    with reserve_port() as reserved, (folder / "log").open("w+") as log:
        port = str(port_of(reserved))
        process = subprocess.Popen(
            [sys.executable, *(word.replace("8000", port) for word in arguments)],
            env={**os.environ, "DATABASE": str(folder / "messages.db")},
            cwd=ROOT,
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            _wait_until_it_listens(process, int(port))
            yield RunningExample(process, f"http://127.0.0.1:{port}")
        except BaseException:
            log.seek(0)
            print(log.read())
            raise
        finally:
            # Some servers have worker processes, which are of the same group.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_it_listens(process: subprocess.Popen[str], port: int) -> None:
    for _ in range(1_200):
        with suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
    pytest.fail("expected a server that listens within a minute")


@attrs.define
class Reader:
    """A client of a stream that keeps what it has received."""

    client: httpx2.AsyncClient
    url: str
    events: list[Event] = attrs.field(factory=list)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def read_until(self, is_last: Callable[[Event], bool]) -> Event:
        """Connect, read until an event, and cut the connection.

        The next call resumes after this event.
        """
        last_event_id = self.events[-1].id if self.events else ""
        events = connect(
            self.client, self.url, last_event_id=last_event_id or "", retry=100
        )
        with trio.fail_after(30):
            async for event in events:
                self.events.append(event)
                self._changed.set()
                self._changed = trio.Event()
                if is_last(event):
                    break
        with suppress(RuntimeError):
            await events.aclose()
        return self.events[-1]

    async def wait_for(self, is_wanted: Callable[[Event], bool]) -> None:
        """Wait until another task has read an event."""
        with trio.fail_after(30):
            while not any(map(is_wanted, self.events)):
                await self._changed.wait()

    def data_of(self, event_type: str) -> list[str]:
        """Return the data of all events of a type."""
        return [event.data for event in self.events if event.type == event_type]


def is_event(event_type: str, data: str | None = None) -> Callable[[Event], bool]:
    """Return whether an event has this type, and this data if they are given."""
    return lambda event: event.type == event_type and data in (None, event.data)
