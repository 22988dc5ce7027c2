"""Several processes on one port: started, watched, replaced and ended together."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import open_stream_to_socket_listener

from roundel_adapters import server
from roundel_service import settings as config
from roundel_service.cli import supervisor as workers
from roundel_service.settings import ConfigError
from support.process import (
    LONG,
    SECRETS,
    SLACK,
    bye,
    read_until,
    run,
    run_service,
    streams_of,
)
from support.service import settings

WORKER = """
import os, socket, sys
test = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
test.sendall(b"%d\\n" % os.getpid())
told = test.recv(9)
if told != b"die":
    print("up", flush=True)
if told == b"stay":
    test.recv(9)
elif told == b"work":
    sys.stdin.read()
"""
"""A worker that does what the test tells it: die, work, or stay beyond its end."""

SHARING = """
from roundel_service import settings
from roundel_service.cli.main import main

settings.IS_SHARED["memory"] = True
main()
"""
"""The command, with an engine that lies: processes do not see each other's items."""


@attrs.frozen
class Met:
    """A worker that has started, and waits to be told what to do."""

    pid: int
    stream: trio.SocketStream

    async def tell(self, what: bytes) -> Met:
        await self.stream.send_all(what)
        return self

    async def wait_gone(self) -> None:
        """Wait until the process is no more: its connection ends with it."""
        with trio.fail_after(SLACK), suppress(trio.BrokenResourceError):
            assert b"" == await self.stream.receive_some()


@attrs.define
class Crew:
    """A supervisor at work, the workers that it starts, and what orders it gets."""

    listener: trio.SocketListener
    order: trio.MemorySendChannel[str]
    is_up: trio.Event = attrs.field(factory=trio.Event)
    is_over: trio.Event = attrs.field(factory=trio.Event)
    ended: str = ""
    met: list[Met] = attrs.field(factory=list)

    async def meet(self) -> Met:
        """Wait for the next worker."""
        with trio.fail_after(SLACK):
            stream = await self.listener.accept()
            pid = int(await stream.receive_some())
        self.met.append(Met(pid, stream))
        return self.met[-1]

    async def wait_up(self) -> None:
        with trio.fail_after(SLACK):
            await self.is_up.wait()

    async def end(self) -> str:
        """Wait until the supervisor is done, and say how it has ended."""
        with trio.fail_after(workers.GRACE + SLACK):
            await self.is_over.wait()
        return self.ended

    def started(self, value: object = None) -> None:
        self.is_up.set()


@asynccontextmanager
async def supervising(count: int, *, drain_timeout: float = LONG):
    """Supervise *count* workers that do what they are told."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    command = [sys.executable, "-I", "-S", "-c", WORKER, str(port)]
    order, orders = trio.open_memory_channel[str](2)
    crew = Crew(listener, order)

    async def supervise() -> None:
        crew.ended = await workers.supervise(
            [command] * count, orders, drain_timeout=drain_timeout, task_status=crew
        )
        crew.is_over.set()

    async with trio.open_nursery() as nursery, listener:
        nursery.start_soon(supervise)
        yield crew
        nursery.cancel_scope.cancel()
    for met in crew.met:
        await trio.aclose_forcefully(met.stream)


@pytest.mark.slow
async def test_workers_work_until_they_are_let_go_together():
    """All are up before it is said so, and one order ends them all in peace."""
    async with supervising(3) as crew:
        met = [await (await crew.meet()).tell(b"work") for _ in range(2)]
        late = await crew.meet()
        was_up_early = crew.is_up.is_set()
        await late.tell(b"work")
        await crew.wait_up()
        crew.order.send_nowait("drain")

        assert "drained" == await crew.end()
        assert not was_up_early
        for each in (*met, late):
            await each.wait_gone()


@pytest.mark.slow
async def test_worker_that_dies_is_replaced_and_the_others_work_on():
    """The death of one is nobody else's."""
    async with supervising(2) as crew:
        first, second = [await (await crew.meet()).tell(b"work") for _ in range(2)]
        await crew.wait_up()
        os.kill(first.pid, signal.SIGKILL)
        third = await (await crew.meet()).tell(b"work")
        os.kill(second.pid, 0)
        crew.order.send_nowait("drain")

        assert "drained" == await crew.end()
        assert third.pid not in (first.pid, second.pid)


@pytest.mark.slow
async def test_all_end_when_one_cannot_start_at_first():
    """A deploy that does not work fails as a whole, at once, and leaves nothing."""
    async with supervising(2) as crew:
        working = await (await crew.meet()).tell(b"work")
        await (await crew.meet()).tell(b"die")

        assert "failed" == await crew.end()
        await working.wait_gone()


async def test_program_that_is_not_there_is_a_worker_that_cannot_start():
    """What the system refuses ends the service as a failed start does."""
    _, orders = trio.open_memory_channel[str](0)
    with trio.fail_after(SLACK):
        ended = await workers.supervise([["/no/such"]], orders, drain_timeout=LONG)

    assert "failed" == ended


@pytest.mark.slow
async def test_it_gives_up_when_no_worker_can_be_started_any_more(monkeypatch):
    """A service that is gone says so, instead of trying for ever."""
    monkeypatch.setattr(workers, "LONGEST_PAUSE", 0.01)
    async with supervising(1) as crew:
        first = await (await crew.meet()).tell(b"work")
        await crew.wait_up()
        os.kill(first.pid, signal.SIGKILL)
        for _ in range(workers.ATTEMPTS):
            await (await crew.meet()).tell(b"die")

        assert "failed" == await crew.end()


@pytest.mark.slow
async def test_it_does_not_give_up_while_another_worker_serves(monkeypatch):
    """Half a service is better than none."""
    monkeypatch.setattr(workers, "LONGEST_PAUSE", 0.01)
    async with supervising(2) as crew:
        first, _ = [await (await crew.meet()).tell(b"work") for _ in range(2)]
        await crew.wait_up()
        os.kill(first.pid, signal.SIGKILL)
        for _ in range(workers.ATTEMPTS):
            await (await crew.meet()).tell(b"die")
        await (await crew.meet()).tell(b"work")
        crew.order.send_nowait("drain")

        assert "drained" == await crew.end()


@pytest.mark.slow
async def test_worker_that_does_not_end_is_killed_in_time():
    """The parent is gone soon after the time to drain, whatever its workers do."""
    async with supervising(2, drain_timeout=0.1) as crew:
        stubborn = [await (await crew.meet()).tell(b"stay") for _ in range(2)]
        await crew.wait_up()
        crew.order.send_nowait("drain")

        assert "drained" == await crew.end()
        for each in stubborn:
            await each.wait_gone()


@pytest.mark.slow
async def test_second_order_ends_all_at_once():
    """Who cannot wait for the workers does not have to."""
    async with supervising(2) as crew:
        stubborn = [await (await crew.meet()).tell(b"stay") for _ in range(2)]
        await crew.wait_up()
        crew.order.send_nowait("drain")
        crew.order.send_nowait("at once")

        assert "killed" == await crew.end()
        for each in stubborn:
            await each.wait_gone()


@pytest.mark.slow
async def test_order_that_comes_before_they_serve_ends_them_too():
    """A start that is taken back starts nothing."""
    async with supervising(1) as crew:
        worker = await crew.meet()
        crew.order.send_nowait("drain")
        await worker.tell(b"work")

        assert "drained" == await crew.end()


@pytest.mark.slow
async def test_worker_that_never_serves_is_killed_and_counts_as_dead(monkeypatch):
    """A start that hangs is a start that failed."""
    monkeypatch.setattr(workers, "START_TIMEOUT", 0.1)
    async with supervising(1) as crew:
        assert "failed" == await crew.end()


@pytest.mark.parametrize(
    ("deaths", "pause"),
    [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.4), (7, 6.4), (8, 10.0), (100_000, 10.0)],
)
def test_pause_grows_with_quick_deaths_up_to_a_bound(deaths, pause):
    """A worker that cannot live does not take the machine from those that can."""
    assert pause == workers.pause_after(deaths)


def test_each_worker_has_an_operators_listener_at_the_ports_that_follow():
    """An operator who knows one address and the count knows them all."""
    with workers.reserved_addresses(several(3, ops_bind="127.77.0.9:9180")) as places:
        assert [9180, 9181, 9182] == [ops.port for ops in places.ops]
        assert {"127.77.0.9"} == {ops.host for ops in places.ops}


def test_port_zero_is_found_once_for_all_and_nobody_else_is_given_it():
    """Workers can share a port only if somebody has chosen it before."""
    with workers.reserved_addresses(several(2, ops_bind="127.0.0.1:0")) as places:
        ports = [places.bind.port, *(ops.port for ops in places.ops)]
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind(("127.0.0.1", places.bind.port))

    assert 3 == len({*ports} - {0})


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_port_is_shared_over_ipv6_too():
    """The other family of addresses is no other service."""
    with workers.reserved_addresses(several(2, bind="[::1]:0", ops_bind="")) as places:
        address = places.bind.host, places.bind.port
        (first,) = await server.listen(*address, share_port=True)
        (second,) = await server.listen(*address, share_port=True)
        async with first, second:
            assert address == second.socket.getsockname()[:2]


def test_no_operators_listener_is_none_for_every_worker():
    """What is not wanted is not there, however many they are."""
    with workers.reserved_addresses(several(2, ops_bind="")) as places:
        assert (None, None) == places.ops


def test_taken_address_is_told_before_any_worker_starts():
    """A second service on one port is refused, also when both share it well."""
    with (
        socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken,
        pytest.raises(OSError, match=r"cannot listen on .*: Address already in use"),
        workers.reserved_addresses(
            several(2, bind=f"127.0.0.1:{taken.getsockname()[1]}")
        ),
    ):
        pass


def test_ports_that_follow_have_to_exist():
    """The last of 65,535 ports has none behind it."""
    with (
        pytest.raises(ConfigError, match=r"ROUNDEL_OPS_BIND: .*at most 65533"),
        workers.reserved_addresses(several(3, ops_bind="127.0.0.1:65534")),
    ):
        pass


def several(count: int, **changes: str) -> config.Settings:
    """Return the settings of *count* workers on any port."""
    given = {"bind": "127.0.0.1:0", **changes}
    return attrs.evolve(settings(**given), workers=count)


def test_other_systems_are_told_that_they_cannot_share_a_port(monkeypatch):
    """Where one listener would get all connections, several are no use."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with (
        pytest.raises(ConfigError, match=r"ROUNDEL_WORKERS: .*Linux"),
        workers.reserved_addresses(several(2)),
    ):
        pass


@pytest.mark.parametrize("count", ["0", "65", "two", "1.5"])
def test_count_of_workers_is_1_to_64(count):
    """More processes than cores are of no use, and none serve nobody."""
    with pytest.raises(ConfigError, match=r"ROUNDEL_WORKERS .*expected a count"):
        settings(workers=count)


async def test_shared_port_takes_several_listeners_and_a_plain_one_takes_it_alone():
    """Who shares a port says so; who does not cannot be joined unnoticed."""
    (first,) = await server.listen("127.0.0.1", 0, share_port=True)
    port = first.socket.getsockname()[1]
    (second,) = await server.listen("127.0.0.1", port, share_port=True)
    async with first, second:
        with pytest.raises(OSError, match="in use"):
            await server.listen("127.0.0.1", port)
        async with await open_stream_to_socket_listener(second) as stream:
            nodelay = second.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert ("127.0.0.1", port) == stream.socket.getpeername()
            assert nodelay


@pytest.mark.slow
def test_engine_that_cannot_be_shared_is_refused_with_the_reason():
    """Processes that do not see each other's items would show wrong badges."""
    refused = run("serve", "--workers", "2")

    assert (2, "") == (refused.returncode, refused.stdout)
    assert (
        "roundel: ROUNDEL_WORKERS: expected 1, since the engine memory keeps mailboxes "
        "in one process, got 2\n"
    ) == refused.stderr


@asynccontextmanager
async def two_workers(folder: Path, **changes: str):
    """Serve with two workers, and say where their operators ask."""
    arguments = partial(run_service, folder, "--workers", "2", program=("-c", SHARING))
    async with arguments(**changes) as served:
        host = served.ops.rpartition(":")[0]
        yield served, [f"{host}:{port}" for port in (9180, 9181)]


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
async def test_two_workers_serve_on_one_port_and_drain_together(tmp_path, end):
    """Each has its share of the streams, and each says goodbye."""
    async with two_workers(tmp_path) as (served, operators):
        room = [await served.stream(f"user-{i}") for i in range(40)]
        shares = await streams_of(operators)
        served.process.send_signal(end)
        told = [bye(opening + await read_until(s)) for s, opening in room]
        with trio.fail_after(SLACK):
            status = await served.process.wait()

    assert 40 == sum(shares)
    assert all(shares)
    assert {"drain"} == {each["reason"] for each in told}
    assert 0 == status
    ended = [line for line in served.lines() if line["event"] == "stream ended"]
    assert {1, 2} == {line["worker"] for line in ended}


@pytest.mark.slow
async def test_workers_drain_when_their_parent_is_killed(tmp_path):
    """Nobody is left behind to serve without being watched."""
    async with two_workers(tmp_path) as (served, _), AsyncExitStack() as opened:
        ends = [os.pidfd_open(pid) for pid in children(served.process.pid)]
        for end in ends:
            opened.callback(os.close, end)
        streams = [await served.stream(f"user-{i}") for i in range(8)]
        served.process.kill()
        told = [bye(opening + await read_until(s)) for s, opening in streams]
        with trio.fail_after(SLACK):
            for end in ends:
                await trio.lowlevel.wait_readable(end)

    assert 2 == len(ends)
    assert {"drain"} == {each["reason"] for each in told}


@pytest.mark.slow
async def test_signal_to_all_at_once_drains_all_the_same(tmp_path):
    """Ctrl-C and systemd tell the workers too, and that is no second signal."""
    async with two_workers(tmp_path, ROUNDEL_DRAIN_TIMEOUT=f"{LONG}") as (served, _):
        polls = [await served.stream(f"user-{i}") for i in range(8)]
        for pid in [*children(served.process.pid), served.process.pid]:
            os.kill(pid, signal.SIGTERM)
        told = [bye(opening + await read_until(s)) for s, opening in polls]
        with trio.fail_after(SLACK):
            status = await served.process.wait()

    assert {"drain"} == {each["reason"] for each in told}
    assert 0 == status


@pytest.mark.slow
async def test_workers_are_told_no_secret_where_everybody_can_read_it(tmp_path):
    """The arguments of a process are public on most machines."""
    async with two_workers(tmp_path) as (served, _):
        shown = [cmdline(pid) for pid in children(served.process.pid)]

    assert 2 == len(shown)
    assert all("worker" in each for each in shown)
    for secret in filter(None, SECRETS.values()):
        assert not any(secret in each for each in shown)


def cmdline(pid: int) -> str:
    """Return the arguments of a process, as anybody can read them."""
    return Path(f"/proc/{pid}/cmdline").read_text()


def children(pid: int) -> list[int]:
    """Return the processes that this one has started."""
    stats = [p.read_text() for p in Path("/proc").glob("[0-9]*/stat")]
    fields = [(int(s.split()[0]), s.rpartition(")")[2].split()) for s in stats]
    return [child for child, (_, parent, *_) in fields if int(parent) == pid]
