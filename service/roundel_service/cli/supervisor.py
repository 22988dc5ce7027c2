"""Supervises several worker processes on one port: starts, replaces and drains them.

A worker is the whole service, with a listener of its own on the shared port. Linux
distributes the connections over the listeners (SO_REUSEPORT). The parent serves no
requests.

**Starting.** Each worker prints a line to its output, a pipe, when it serves. The
service has started when every worker has printed its line. If a worker exits or
exceeds `START_TIMEOUT` before that, the start has failed and all workers end.

**Restarting.** A worker that exits later is replaced. The delay is 0 after a run of at
least `MIN_RUNTIME` seconds, and otherwise doubles from `FIRST_DELAY` to `MAX_DELAY`.
When `MAX_FAILED_STARTS` starts in a row fail and no worker serves, the service ends.

**Draining.** A worker drains when its input ends, a pipe that the parent holds open.
The pipe also ends when the parent dies, by any cause. Two alternatives do not work:
- Signals: Ctrl-C and systemd send them to the workers as well as to the parent, and a
  second signal means an immediate end.
- PR_SET_PDEATHSIG: it is sent when the *thread* that started the process exits, and
  trio's threads do exit.

The secrets are in the environment, which workers inherit, and never in the arguments.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from math import inf
from typing import Literal, TypeAlias, final

import attrs
import structlog
import trio

from . import service_manager
from .signals import END_SIGNALS, RELOAD_SIGNAL

KILL_DELAY = 2.0
"""Seconds after the drain timeout until a worker is killed."""

START_TIMEOUT = 60.0
"""Seconds in which a worker must serve."""

MIN_RUNTIME = 10.0
"""Seconds of a run after which a worker is restarted without a delay."""

FIRST_DELAY = 0.1
"""Delay before the first restart after a short run, in seconds."""

MAX_DELAY = 10.0
"""Maximum delay before a restart, in seconds."""

MAX_FAILED_STARTS = 5
"""Number of failed starts in a row that end the service if no worker serves."""

ExitReason: TypeAlias = Literal["drained", "killed", "failed"]
"""How the workers ended: gracefully, by a second signal, or since none could start."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


async def wait_for_drain() -> None:
    """Wait in a worker until a signal arrives or its input ends."""
    with trio.open_signal_receiver(*END_SIGNALS) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_end_of_input, nursery.cancel_scope)
            await anext(signals)
            nursery.cancel_scope.cancel()


async def _cancel_on_end_of_input(scope: trio.CancelScope) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as parent:
        while await parent.receive_some():
            pass
    scope.cancel()


async def supervise(
    commands: Sequence[Sequence[str]],
    signals: AsyncIterator[object],
    *,
    drain_timeout: float,
    pass_fds: Sequence[int] = (),
    on_drain: Callable[[], None] = lambda: None,
    on_ready: Callable[[], None] = lambda: None,
) -> ExitReason:
    """Keep a worker running for each of *commands*; return how they ended.

    Workers inherit the file descriptors *pass_fds*. *on_ready* is called when each
    worker serves, and *on_drain* when the drain begins.

    `RELOAD_SIGNAL` is passed on to the workers. The first other one of *signals* drains
    them, and kills each one that takes longer than *drain_timeout* seconds and
    `KILL_DELAY`. The second one kills them at once.
    """
    numbers = set(range(1, len(commands) + 1))
    supervisor = _Supervisor(drain_timeout, numbers, pass_fds, on_ready, on_drain)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.report_ready)
        nursery.start_soon(supervisor.handle_signals, signals)
        with supervisor.scope:
            async with trio.open_nursery() as workers:
                for number, command in enumerate(commands, 1):
                    workers.start_soon(supervisor.keep_running, number, command)
        nursery.cancel_scope.cancel()
    return supervisor.exit_reason


def restart_delay(short_runs: int) -> float:
    """Return the seconds before a restart, after so many short runs in a row."""
    if not short_runs:
        return 0.0
    # 2**20 exceeds the maximum, and a larger exponent could overflow.
    return min(FIRST_DELAY * 2.0 ** min(short_runs - 1, 20), MAX_DELAY)


@final
@attrs.define(eq=False)
class _Supervisor:
    """Runs workers; *never_served* has the numbers of workers yet to serve."""

    _drain_timeout: float
    _never_served: set[int]
    _pass_fds: Sequence[int]
    _on_ready: Callable[[], None]
    _on_drain: Callable[[], None]
    _workers: dict[int, trio.Process] = attrs.field(factory=dict, init=False)
    _serving: set[int] = attrs.field(factory=set, init=False)
    _reload_when_serving: set[int] = attrs.field(factory=set, init=False)
    _ready: trio.Event = attrs.field(factory=trio.Event, init=False)
    _failed_starts: int = attrs.field(default=0, init=False)
    _draining: trio.Event = attrs.field(factory=trio.Event, init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    exit_reason: ExitReason = attrs.field(default="drained", init=False)

    async def report_ready(self) -> None:
        """Report the start when each worker serves."""
        await self._ready.wait()
        self._on_ready()
        await service_manager.notify("READY=1")

    async def handle_signals(self, signals: AsyncIterator[object]) -> None:
        has_drained = False
        async for each in signals:
            if each == RELOAD_SIGNAL:
                await self._reload()
            elif has_drained:
                self.exit_reason = "killed"
                self.scope.cancel()
            else:
                has_drained = True
                self._drain()
                await service_manager.notify("STOPPING=1")

    async def _reload(self) -> None:
        await service_manager.notify(*service_manager.reloading())
        for number, process in self._workers.items():
            if number in self._serving:
                process.send_signal(RELOAD_SIGNAL)
            else:
                # It may have read the old settings, and would die of the signal.
                self._reload_when_serving.add(number)
        await service_manager.notify("READY=1")

    def _drain(self) -> None:
        self._draining.set()
        self._on_drain()
        self.scope.deadline = trio.current_time() + self._drain_timeout + KILL_DELAY

    async def keep_running(self, number: int, command: Sequence[str]) -> None:
        """Run a worker and its replacements until the service drains."""
        short_runs = 0
        while not self._draining.is_set():
            started_at = trio.current_time()
            has_served, status = await self._run_worker(number, command)
            if self._draining.is_set():
                return
            if self._should_give_up(has_served=has_served):
                self.exit_reason = "failed"
                self._drain()
                return
            runtime = trio.current_time() - started_at
            is_short = not has_served or runtime < MIN_RUNTIME
            short_runs = short_runs + 1 if is_short else 0
            delay = restart_delay(short_runs)
            log.warning("worker exited", worker=number, status=status, delay_s=delay)
            with trio.move_on_after(delay):
                await self._draining.wait()

    async def _run_worker(
        self, number: int, command: Sequence[str]
    ) -> tuple[bool, int | None]:
        """Run a worker until it exits; return whether it served, and its status."""
        try:
            process = await trio.lowlevel.open_process(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=self._pass_fds,
            )
        except OSError as error:
            log.warning("worker not started", worker=number, error=str(error))
            return False, None
        assert process.stdin is not None
        assert process.stdout is not None
        self._workers[number] = process
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wait_until_serving, number, process)
                nursery.start_soon(self._close_stdin_on_drain, process.stdin)
                status = await process.wait()
                nursery.cancel_scope.cancel()
            return number in self._serving, status
        finally:
            self._serving.discard(number)
            self._reload_when_serving.discard(number)
            del self._workers[number]
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            await trio.aclose_forcefully(process.stdin)
            await trio.aclose_forcefully(process.stdout)

    async def _wait_until_serving(self, number: int, process: trio.Process) -> None:
        """Read the output of a worker; kill it if no line comes in time."""
        assert process.stdout is not None
        with trio.move_on_after(START_TIMEOUT) as scope:
            while chunk := await process.stdout.receive_some():
                if b"\n" in chunk and scope.deadline < inf:
                    scope.deadline = inf
                    self._on_serving(number)
            # The output has ended; the exit of the process ends this task.
            await trio.sleep_forever()
        log.error("worker start timed out", worker=number, duration_s=START_TIMEOUT)
        process.kill()

    def _on_serving(self, number: int) -> None:
        self._serving.add(number)
        self._failed_starts = 0
        if number in self._reload_when_serving:
            self._workers[number].send_signal(RELOAD_SIGNAL)
        self._never_served.discard(number)
        if not self._never_served:
            self._ready.set()

    async def _close_stdin_on_drain(self, stdin: trio.abc.SendStream) -> None:
        await self._draining.wait()
        await stdin.aclose()

    def _should_give_up(self, *, has_served: bool) -> bool:
        """Return whether another start is pointless, after a worker exited."""
        if has_served:
            return False
        self._failed_starts += 1
        is_down = not self._serving and self._failed_starts >= MAX_FAILED_STARTS
        return bool(self._never_served) or is_down
