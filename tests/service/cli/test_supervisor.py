"""Several workers on one port: started, replaced and drained together."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio

from roundel_service.cli import supervisor
from support.process import (
    LONG,
    SECRETS,
    SHARING,
    SLACK,
    bye,
    read_until,
    run_service,
    streams_of,
)

WORKER = """
import os, signal, socket, sys
signal.signal(signal.SIGHUP, lambda *_: test.sendall(b"reload"))
test = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
test.sendall(b"%d\\n" % os.getpid())
behaviour = test.recv(9)
if behaviour != b"exit":
    print("up", flush=True)
if behaviour == b"hang":
    test.recv(9)
elif behaviour == b"work":
    sys.stdin.read()
"""
"""A worker with a behaviour set by the test: exit, work, or hang after its drain."""


@attrs.frozen
class Worker:
    """A started worker that waits for its behaviour."""

    pid: int
    stream: trio.SocketStream

    async def behave(self, behaviour: bytes) -> Worker:
        await self.stream.send_all(behaviour)
        return self

    async def wait_exited(self) -> None:
        """Wait until the process has exited, which closes its connection."""
        with trio.fail_after(SLACK), suppress(trio.BrokenResourceError):
            assert b"" == await self.stream.receive_some()


@attrs.define
class Supervision:
    """A running supervisor, its workers, and the channel of its signals."""

    listener: trio.SocketListener
    signals: trio.MemorySendChannel[str]
    has_started: trio.Event = attrs.field(factory=trio.Event)
    has_ended: trio.Event = attrs.field(factory=trio.Event)
    outcome: str = ""
    workers: list[Worker] = attrs.field(factory=list)

    async def next_worker(self) -> Worker:
        """Wait for the next worker."""
        with trio.fail_after(SLACK):
            stream = await self.listener.accept()
            pid = int(await stream.receive_some())
        self.workers.append(Worker(pid, stream))
        return self.workers[-1]

    async def start(self, behaviour: bytes) -> Worker:
        """Wait for the next worker and set its behaviour."""
        return await (await self.next_worker()).behave(behaviour)

    async def wait_started(self) -> None:
        with trio.fail_after(SLACK):
            await self.has_started.wait()

    async def wait_ended(self) -> str:
        """Wait until the supervisor has ended; return the outcome."""
        with trio.fail_after(supervisor.KILL_DELAY + SLACK):
            await self.has_ended.wait()
        return self.outcome


@asynccontextmanager
async def supervising(count: int, *, drain_timeout: float = LONG):
    """Supervise *count* workers, whose behaviour the test sets."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    command = [sys.executable, "-I", "-S", "-c", WORKER, str(port)]
    sender, signals = trio.open_memory_channel[str](2)
    running = Supervision(listener, sender)

    async def supervise() -> None:
        running.outcome = await supervisor.supervise(
            [command] * count,
            signals,
            drain_timeout=drain_timeout,
            on_ready=running.has_started.set,
        )
        running.has_ended.set()

    async with trio.open_nursery() as nursery, listener:
        nursery.start_soon(supervise)
        yield running
        nursery.cancel_scope.cancel()
    for worker in running.workers:
        await trio.aclose_forcefully(worker.stream)


@pytest.mark.slow
async def test_first_signal_drains_all_workers():
    """The start completes when every worker serves; one signal drains them all."""
    async with supervising(3) as running:
        first = [await running.start(b"work") for _ in range(2)]
        late = await running.next_worker()
        started_early = running.has_started.is_set()
        await late.behave(b"work")
        await running.wait_started()
        running.signals.send_nowait("drain")

        assert "drained" == await running.wait_ended()
        assert not started_early
        for each in (*first, late):
            await each.wait_exited()


@pytest.mark.slow
async def test_killed_worker_is_replaced_and_the_others_continue():
    """The exit of one worker affects no other worker."""
    async with supervising(2) as running:
        first, second = [await running.start(b"work") for _ in range(2)]
        await running.wait_started()
        os.kill(first.pid, signal.SIGKILL)
        third = await running.start(b"work")
        os.kill(second.pid, 0)
        running.signals.send_nowait("drain")

        assert "drained" == await running.wait_ended()
        assert third.pid not in (first.pid, second.pid)


@pytest.mark.slow
async def test_failed_first_start_ends_all_workers():
    """If one worker cannot start at first, the whole start fails at once."""
    async with supervising(2) as running:
        working = await running.start(b"work")
        await running.start(b"exit")

        assert "failed" == await running.wait_ended()
        await working.wait_exited()


async def test_missing_program_is_a_failed_start():
    """An error of the system at the start of a process counts as a failed start."""
    _, signals = trio.open_memory_channel[str](0)
    with trio.fail_after(SLACK):
        outcome = await supervisor.supervise(
            [["/no/such"]], signals, drain_timeout=LONG
        )

    assert "failed" == outcome


@pytest.mark.slow
async def test_supervisor_gives_up_when_no_worker_can_restart(monkeypatch):
    """After `MAX_FAILED_STARTS` without a serving worker, the supervisor ends."""
    monkeypatch.setattr(supervisor, "MAX_DELAY", 0.01)
    async with supervising(1) as running:
        first = await running.start(b"work")
        await running.wait_started()
        os.kill(first.pid, signal.SIGKILL)
        for _ in range(supervisor.MAX_FAILED_STARTS):
            await running.start(b"exit")

        assert "failed" == await running.wait_ended()


@pytest.mark.slow
async def test_supervisor_keeps_trying_while_a_worker_serves(monkeypatch):
    """Failed restarts do not end the service while another worker serves."""
    monkeypatch.setattr(supervisor, "MAX_DELAY", 0.01)
    async with supervising(2) as running:
        first, _ = [await running.start(b"work") for _ in range(2)]
        await running.wait_started()
        os.kill(first.pid, signal.SIGKILL)
        for _ in range(supervisor.MAX_FAILED_STARTS):
            await running.start(b"exit")
        await running.start(b"work")
        running.signals.send_nowait("drain")

        assert "drained" == await running.wait_ended()


@pytest.mark.slow
async def test_hanging_worker_is_killed_after_the_drain_timeout():
    """The supervisor ends within the drain timeout and `KILL_DELAY`."""
    async with supervising(2, drain_timeout=0.1) as running:
        hanging = [await running.start(b"hang") for _ in range(2)]
        await running.wait_started()
        running.signals.send_nowait("drain")

        assert "drained" == await running.wait_ended()
        for each in hanging:
            await each.wait_exited()


@pytest.mark.slow
async def test_reload_is_passed_on_to_workers_that_serve():
    """A worker that starts reads the settings again when it serves."""
    async with supervising(2) as running:
        first = await (await running.next_worker()).behave(b"work")
        second = await running.next_worker()
        await running.signals.send(signal.SIGHUP)
        assert b"reload" == await first.stream.receive_some()
        await second.behave(b"work")
        assert b"reload" == await second.stream.receive_some()
        await running.signals.send(signal.SIGTERM)

        assert "drained" == await running.wait_ended()


async def test_second_signal_kills_all_workers():
    """The second signal ends the workers without waiting for the drain."""
    async with supervising(2) as running:
        hanging = [await running.start(b"hang") for _ in range(2)]
        await running.wait_started()
        running.signals.send_nowait("drain")
        running.signals.send_nowait("second")

        assert "killed" == await running.wait_ended()
        for each in hanging:
            await each.wait_exited()


@pytest.mark.slow
async def test_signal_before_the_start_completes_drains_the_workers():
    """A worker that serves after the signal drains at once."""
    async with supervising(1) as running:
        worker = await running.next_worker()
        running.signals.send_nowait("drain")
        await worker.behave(b"work")

        assert "drained" == await running.wait_ended()


@pytest.mark.slow
async def test_worker_that_never_serves_is_killed(monkeypatch):
    """A start that exceeds `START_TIMEOUT` is a failed start."""
    monkeypatch.setattr(supervisor, "START_TIMEOUT", 0.1)
    async with supervising(1) as running:
        assert "failed" == await running.wait_ended()


@pytest.mark.parametrize(
    ("short_runs", "delay"),
    [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.4), (7, 6.4), (8, 10.0), (100_000, 10.0)],
)
def test_restart_delay_doubles_up_to_a_maximum(short_runs, delay):
    """A worker that keeps exiting does not consume the machine."""
    assert delay == supervisor.restart_delay(short_runs)


@asynccontextmanager
async def two_workers(folder: Path, **changes: str):
    """Serve with two workers; yield the process and their operator URLs."""
    async with run_service(
        folder, "--workers", "2", program=("-c", SHARING), **changes
    ) as served:
        host = served.ops.rpartition(":")[0]
        yield served, [f"{host}:{port}" for port in (9180, 9181)]


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
async def test_two_workers_serve_on_one_port_and_drain_together(tmp_path, end):
    """Each worker has some of the streams, and each stream ends with `bye`."""
    async with two_workers(tmp_path) as (served, operators):
        streams = [await served.stream(f"user-{i}") for i in range(40)]
        shares = await streams_of(operators)
        served.process.send_signal(end)
        last = [bye(opening + await read_until(s)) for s, opening in streams]
        with trio.fail_after(SLACK):
            status = await served.process.wait()

    assert 40 == sum(shares)
    assert all(shares)
    assert {"drain"} == {each["reason"] for each in last}
    assert 0 == status
    ended = [line for line in served.lines() if line["event"] == "stream ended"]
    assert {1, 2} == {line["worker"] for line in ended}


@pytest.mark.slow
async def test_workers_drain_when_their_parent_is_killed(tmp_path):
    """No worker keeps running without its parent."""
    async with two_workers(tmp_path) as (served, _), AsyncExitStack() as opened:
        ends = [os.pidfd_open(pid) for pid in children(served.process.pid)]
        for end in ends:
            opened.callback(os.close, end)
        streams = [await served.stream(f"user-{i}") for i in range(8)]
        served.process.kill()
        last = [bye(opening + await read_until(s)) for s, opening in streams]
        with trio.fail_after(SLACK):
            for end in ends:
                await trio.lowlevel.wait_readable(end)

    assert 2 == len(ends)
    assert {"drain"} == {each["reason"] for each in last}


@pytest.mark.slow
async def test_signal_to_the_process_group_counts_once(tmp_path):
    """Ctrl-C and systemd signal the workers too, which is no second signal."""
    async with two_workers(tmp_path, ROUNDEL_DRAIN_TIMEOUT=f"{LONG}") as (served, _):
        streams = [await served.stream(f"user-{i}") for i in range(8)]
        for pid in [*children(served.process.pid), served.process.pid]:
            os.kill(pid, signal.SIGTERM)
        last = [bye(opening + await read_until(s)) for s, opening in streams]
        with trio.fail_after(SLACK):
            status = await served.process.wait()

    assert {"drain"} == {each["reason"] for each in last}
    assert 0 == status


@pytest.mark.slow
async def test_arguments_of_workers_contain_no_secret(tmp_path):
    """Any user of a machine can read the arguments of a process."""
    async with two_workers(tmp_path) as (served, _):
        shown = [cmdline(pid) for pid in children(served.process.pid)]

    assert 2 == len(shown)
    assert all("worker" in each for each in shown)
    for secret in filter(None, SECRETS.values()):
        assert not any(secret in each for each in shown)


def cmdline(pid: int) -> str:
    """Return the arguments of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text()


def children(pid: int) -> list[int]:
    """Return the ids of the child processes."""
    stats = [p.read_text() for p in Path("/proc").glob("[0-9]*/stat")]
    fields = [(int(s.split()[0]), s.rpartition(")")[2].split()) for s in stats]
    return [child for child, (_, parent, *_) in fields if int(parent) == pid]
