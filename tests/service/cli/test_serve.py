"""`roundel serve` as a process: its environment, its signals and its log."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from support.process import SHARING, SLACK, command, environment, started

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


def test_reader_of_the_log_that_stands_still_holds_nothing():
    """Lines are dropped and counted; requests, probes and the shutdown go on."""
    ops = f"127.{secrets.randbelow(200) + 20}.7.7:9180"
    env = environment(ROUNDEL_OPS_BIND=ops)
    request = f"GET /{'x' * 600} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    with started("serve", "--bind", "127.0.0.1:0", env=env) as (process, url):
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=SLACK) as sock:
            # 2 MiB of lines: more than a pipe and the queue of the log hold.
            for _ in range(30):
                sock.sendall(request * 100)
                answered = b""
                while answered.count(b"HTTP/1.1 404") < 100:
                    answered += sock.recv(1 << 16)
        alive = httpx2.get(f"{url}/livez")
        metrics = httpx2.get(f"http://{ops}/metrics").text
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=SLACK)
        log = process.stderr.read()

    dropped = re.search(
        r"^roundel_log_lines_dropped_total (\S+)$", metrics, re.MULTILINE
    )
    assert (200, 0) == (alive.status_code, status)
    assert float(dropped[1]) > 100
    assert all(line.startswith("{") for line in log.splitlines())


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_service_runs_without_a_reader_of_its_output(stream):
    """A closed pipe is no reason to stop, or to exit with an error."""
    with started("serve", "--bind", "127.0.0.1:0", env=environment()) as (process, url):
        getattr(process, stream).close()
        for _ in range(3):
            httpx2.get(f"{url}/v1/badge")
        process.send_signal(signal.SIGTERM)

        assert 0 == process.wait(timeout=SLACK)


def test_output_without_a_reader_at_the_start_is_ignored():
    """`roundel serve | true` serves."""
    read, write = os.pipe()
    os.close(read)
    arguments = ("serve", "--bind", "127.0.0.1:0")
    process = subprocess.Popen(
        command(*arguments), env=environment(), stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=3)
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(timeout=SLACK)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-"])
def test_service_runs_without_a_standard_stream(tmp_path, stream):
    """A supervisor may close the streams that nothing uses."""
    path = f"{tmp_path}/r.sock"
    script = f'exec "$@" {stream}'
    serve = command("serve", "--bind", f"unix:{path}")
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", *serve],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + SLACK
        while not os.path.exists(path) and time.monotonic() < deadline:
            time.sleep(0.05)
        with httpx2.Client(
            transport=httpx2.HTTPTransport(uds=path, retries=5)
        ) as client:
            statuses = [client.get("http://x/v1/badge").status_code for _ in range(3)]
        process.send_signal(signal.SIGTERM)

        assert [401] * 3 == statuses
        assert 0 == process.wait(timeout=SLACK)
    finally:
        process.kill()
        process.wait()
