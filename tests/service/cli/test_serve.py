"""`roundel serve` as a process: its environment, its signals and its log."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from support.process import SHARING, SLACK, environment, started

pytestmark = pytest.mark.slow


def test_variables_of_other_programs_are_a_warning():
    """The service starts beside a Service named roundel, and logs what it ignores."""
    service = {"ROUNDEL_PORT": "tcp://10.0.0.1:80", "ROUNDEL_VERSION": "1.2"}
    arguments = ("serve", "--bind", "127.0.0.1:0")
    with started(*arguments, env=environment(**service)) as (process, _):
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)

    line, *_ = [json.loads(line) for line in log.splitlines()]
    assert ("warning", [*service]) == (line["level"], line["variables"])


@contextmanager
def managed(folder: Path):
    """Listen as a service manager does; yield the socket and its variable."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{folder}/notify")
        manager.settimeout(SLACK)
        yield manager, {"NOTIFY_SOCKET": f"{folder}/notify"}


def states(manager: socket.socket) -> list[str]:
    """Return the names and values of the next notification, times left out."""
    lines = manager.recv(999).decode().splitlines()
    return [line for line in lines if not line.startswith("MONOTONIC_USEC=")]


def responds(url: str, key: str) -> bool:
    """Return whether a producer with *key* is authenticated."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.get(f"{url}/v1/users/a/badge", headers=headers).status_code == 200


@pytest.mark.parametrize("workers", ["1", "2"])
def test_reload_replaces_secrets_and_a_bad_file_keeps_them(tmp_path, workers):
    """SIGHUP reads the files again; a file that cannot be used changes nothing.

    The service manager is told when the service is ready, reloads and stops.
    """
    keys, file = tmp_path / "keys", tmp_path / "roundel.toml"
    old, new = "an-old-producer-key", "a-new-producer-key"
    keys.write_text(f"{old}\n")
    file.write_text(f'workers = {workers}\nproducer_keys_file = "{keys}"')
    arguments = ("serve", "--bind", "127.0.0.1:0", "--config", str(file))
    program = ("-m", "roundel_service") if workers == "1" else ("-c", SHARING)
    with managed(tmp_path) as (manager, variable):
        env = environment(ROUNDEL_PRODUCER_KEYS="", **variable)
        with started(*arguments, env=env, program=program) as (process, url):
            assert ["READY=1"] == states(manager)
            assert responds(url, old)
            for content, expected in [("short", old), (f"{new}\r\n", new)]:
                keys.write_text(content)
                process.send_signal(signal.SIGHUP)
                assert ["RELOADING=1"] == states(manager)
                assert ["READY=1"] == states(manager)
                reports = 0
                while reports < int(workers):
                    line = json.loads(process.stderr.readline())
                    reports += line["event"].startswith("settings ")
                assert all(responds(url, expected) for _ in range(8))
            assert not responds(url, old)
            process.send_signal(signal.SIGTERM)
            assert ["STOPPING=1"] == states(manager)
            _, log = process.communicate(timeout=SLACK)

    assert 0 == process.returncode
    assert not any(key in log for key in (old, new, "short"))


def test_reload_never_ends_the_service():
    """Without a file there is nothing to read again, and the service goes on."""
    arguments = ("serve", "--bind", "127.0.0.1:0")
    with started(*arguments, env=environment()) as (process, url):
        for _ in range(3):
            process.send_signal(signal.SIGHUP)
        while json.loads(process.stderr.readline())["event"] != "settings reloaded":
            pass

        assert httpx2.get(f"{url}/livez").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(timeout=SLACK)
