"""Notifications to a service manager, on real datagram sockets."""

from __future__ import annotations

import secrets
import socket
import time
from contextlib import contextmanager, suppress

import pytest
import trio

from roundel_service.cli import service_manager


@contextmanager
def manager(name: str):
    """Listen at *name* as a service manager does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        sock.setblocking(False)
        yield sock


@pytest.mark.parametrize("is_abstract", [False, True], ids=["path", "abstract"])
async def test_states_are_one_datagram(tmp_path, monkeypatch, is_abstract):
    """systemd reads all lines of a message together."""
    path = f"{tmp_path}/notify"
    token = f"roundel-{secrets.token_hex(8)}"
    name, bound = (f"@{token}", f"\0{token}") if is_abstract else (path, path)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with manager(bound) as sock:
        await service_manager.notify("READY=1", "STATUS=x")

        assert b"READY=1\nSTATUS=x" == sock.recv(99)


@pytest.mark.parametrize(
    "name",
    [None, "", "relative", "vsock:2:1234", "/no/such/socket", "@none", f"/{'x' * 200}"],
)
async def test_missing_manager_is_ignored(monkeypatch, name):
    """The service runs without a manager, and with one that has gone."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if name is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", name)

    await service_manager.notify("READY=1")


async def test_manager_that_reads_nothing_delays_a_notification_for_a_time(
    tmp_path, monkeypatch, autojump_clock
):
    """A full socket does not hold the service for ever."""
    name = f"{tmp_path}/notify"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with manager(name) as sock, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                own.sendto(b"x", name)
        started = trio.current_time()
        await service_manager.notify("READY=1")

        assert service_manager.NOTIFY_TIMEOUT == trio.current_time() - started
        assert b"x" == sock.recv(9)


def test_reload_has_the_time_of_the_monotonic_clock():
    """systemd ignores the READY of an earlier reload by this time."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
    state, stamp = service_manager.reloading()
    name, _, microseconds = stamp.partition("=")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000

    assert ("RELOADING=1", "MONOTONIC_USEC") == (state, name)
    assert before <= int(microseconds) <= after
