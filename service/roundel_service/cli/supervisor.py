"""Several processes on one port, and a parent that starts, watches and ends them.

A worker is the whole service, with a listener of its own on the shared port: Linux
spreads connections over the listeners (SO_REUSEPORT). The parent serves nobody.

A worker's input is a pipe that the parent keeps open. Its end tells the worker to
drain, and it comes too when the parent dies, however it dies. Signals would not do:
Ctrl-C and systemd send theirs to the workers as well, and a second one means "at
once". Neither would PR_SET_PDEATHSIG: it comes when the *thread* that started the
process ends, and trio's come and go. A worker's output is a pipe as well, and its first
line says that it serves. Secrets stay in the environment, which workers inherit.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import inf
from typing import Literal, TypeAlias, final

import attrs
import structlog
import trio

from ..settings import Address, ConfigError, Settings

GRACE = 2.0
"""Seconds beyond the time to drain in which a worker may end before it is killed."""

START_TIMEOUT = 60.0
"""Seconds in which a worker has to serve."""

QUICK = 10.0
"""Seconds that a worker has to live for its death to be held an accident."""

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
"""Seconds before a worker is replaced that died quickly once, and ever so often."""

ATTEMPTS = 5
"""How many workers in a row may fail to start while none serves."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What lets the service drain."""

Ended: TypeAlias = Literal["drained", "killed", "failed"]
"""How it ended: in peace, at once as it was ordered, or since no worker could start."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@final
@attrs.frozen
class WorkerAddresses:
    """Where workers listen: all of them on *bind*, and each on its own of *ops*."""

    bind: Address
    ops: tuple[Address | None, ...]


@contextmanager
def reserved_addresses(settings: Settings) -> Iterator[WorkerAddresses]:
    """Take the addresses of all workers before the first is started.

    They are bound but not listened on, so that the workers can, and that nobody is
    given a port that port 0 has found. Raises `OSError` if somebody listens on one.
    """
    if sys.platform != "linux":
        # Elsewhere one listener gets all connections, or nobody can have the port.
        raise ConfigError("ROUNDEL_WORKERS: expected 1 on a system other than Linux")
    with ExitStack() as held:
        bind = _hold(settings.bind, held)
        ops = tuple(each and _hold(each, held) for each in _ops_addresses(settings))
        yield WorkerAddresses(bind, ops)


def _ops_addresses(settings: Settings) -> list[Address | None]:
    first, count = settings.ops_bind, settings.workers
    if first is None or first.port == 0:
        return [first] * count
    if first.port + count > 65_536:
        raise ConfigError(
            f"ROUNDEL_OPS_BIND: expected a port of at most {65_536 - count}, for "
            f"{count} workers, got {first.port}"
        )
    return [attrs.evolve(first, port=first.port + i) for i in range(count)]


def _hold(address: Address, held: ExitStack) -> Address:
    """Bind *address*, and return it with the port that it has got."""
    host, port = address.host, address.port
    try:
        for family, kind, protocol, _, _ in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            sock = held.enter_context(socket.socket(family, kind, protocol))
            # On Linux others may bind it too, until one of them listens.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
            port = sock.getsockname()[1]
    except OSError as error:
        raise OSError(f"cannot listen on {address}: {error.strerror}") from None
    return attrs.evolve(address, port=port)


def ignore_signals() -> None:
    """Leave it to the parent to end this worker at once, whatever signals come.

    Ctrl-C and systemd send them to it and to its parent alike, which may have told it
    to drain already: the one that comes then must not count as the second.
    """
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


async def told_to_drain() -> None:
    """Wait until a worker is told to drain, by a signal or by the parent's end."""
    with trio.open_signal_receiver(*SIGNALS) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_hear_parent, nursery.cancel_scope)
            await anext(signals)
            nursery.cancel_scope.cancel()


async def _hear_parent(scope: trio.CancelScope) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as parent:
        while await parent.receive_some():
            pass
    scope.cancel()


async def supervise(
    commands: Sequence[Sequence[str]],
    orders: AsyncIterator[object],
    *,
    drain_timeout: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> Ended:
    """Keep a worker running for each of *commands* until ordered to end.

    The first of *orders* lets all workers drain, and kills those that take longer than
    *drain_timeout* seconds and `GRACE`; the second kills them at once. Started means
    that each of them serves. When a worker cannot start, at first, or again and again
    while no other serves, all end.
    """
    crew = _Supervisor(len(commands), drain_timeout, task_status)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crew.handle_signals, orders)
        await crew.run(commands)
        nursery.cancel_scope.cancel()
    return crew.ended


def pause_after(deaths: int) -> float:
    """Return the seconds before a worker is replaced, after quick deaths in a row."""
    if not deaths:
        return 0.0
    # Doubled twenty times it is above the longest, and no float is too small for it.
    return min(FIRST_PAUSE * 2.0 ** min(deaths - 1, 20), LONGEST_PAUSE)


@final
class _Supervisor:
    """The workers, by their numbers from 1 to *size*."""

    def __init__(
        self, size: int, drain_timeout: float, task_status: trio.TaskStatus[None]
    ) -> None:
        self.ended: Ended = "drained"
        self._missing = set(range(1, size + 1))
        self._serving: set[int] = set()
        self._misses = 0
        self._drain_timeout = drain_timeout
        self._task_status = task_status
        self._ending = trio.Event()
        self._scope = trio.CancelScope()

    async def run(self, commands: Sequence[Sequence[str]]) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                for number, command in enumerate(commands, 1):
                    nursery.start_soon(self._keep, number, command)

    async def handle_signals(self, orders: AsyncIterator[object]) -> None:
        await anext(orders)
        self._drain()
        await anext(orders)
        self.ended = "killed"
        self._scope.cancel()

    def _drain(self) -> None:
        self._ending.set()
        self._scope.deadline = trio.current_time() + self._drain_timeout + GRACE

    async def _keep(self, number: int, command: Sequence[str]) -> None:
        """Run one worker after the other until all end."""
        deaths = 0
        while not self._ending.is_set():
            began = trio.current_time()
            try:
                has_served, status = await self._run_one(number, command)
            except OSError as error:
                # The system has no room for it now, or no such program.
                log.warning("worker not started", worker=number, error=str(error))
                has_served, status = False, None
            if self._ending.is_set():
                return
            if self._should_give_up(has_served=has_served):
                self.ended = "failed"
                self._drain()
                return
            is_quick = not has_served or trio.current_time() - began < QUICK
            deaths = deaths + 1 if is_quick else 0
            pause = pause_after(deaths)
            log.warning("worker ended", worker=number, status=status, pause=pause)
            with trio.move_on_after(pause):
                await self._ending.wait()

    async def _run_one(
        self, number: int, command: Sequence[str]
    ) -> tuple[bool, int | None]:
        """Run a worker to its end; return whether it served, and its exit status."""
        process = await trio.lowlevel.open_process(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear, number, process.stdout, process.kill)
                nursery.start_soon(self._close_stdin_on_drain, process.stdin)
                status = await process.wait()
                nursery.cancel_scope.cancel()
            return number in self._serving, status
        finally:
            self._serving.discard(number)
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            await trio.aclose_forcefully(process.stdin)
            await trio.aclose_forcefully(process.stdout)

    async def _hear(
        self, number: int, said: trio.abc.ReceiveStream, kill: Callable[[], None]
    ) -> None:
        """Note that a worker serves, or kill it if it does not say so in time."""
        with trio.move_on_after(START_TIMEOUT) as patience:
            while line := await said.receive_some():
                if b"\n" in line and patience.deadline < inf:
                    patience.deadline = inf
                    self._serves(number)
            # Whatever it has closed, its end is for others to see.
            await trio.sleep_forever()
        log.error("worker did not start", worker=number, timeout_s=START_TIMEOUT)
        kill()

    def _serves(self, number: int) -> None:
        self._serving.add(number)
        self._misses = 0
        if number in self._missing:
            self._missing.discard(number)
            if not self._missing:
                self._task_status.started()

    async def _close_stdin_on_drain(self, pipe: trio.abc.SendStream) -> None:
        await self._ending.wait()
        await pipe.aclose()

    def _should_give_up(self, *, has_served: bool) -> bool:
        """Tell whether there is no use in starting another worker."""
        if has_served:
            return False
        self._misses += 1
        is_alone = not self._serving and self._misses >= ATTEMPTS
        return bool(self._missing) or is_alone
