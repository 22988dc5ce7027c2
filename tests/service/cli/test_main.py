"""The command, as a person meets it: real processes, real sockets."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from roundel import Parser
from roundel_service import settings as config
from support.process import SECRETS, command, environment, run, started

pytestmark = pytest.mark.slow


@contextmanager
def serving(**changes: str):
    with started("serve", "--bind", "127.0.0.1:0", env=environment(**changes)) as pair:
        yield pair


def token(user: str) -> str:
    return run("token", user).stdout.strip()


def read_end(response: httpx2.Response):
    """Read a stream to its end; return its events."""
    parser = Parser()
    return [e for piece in response.iter_raw() for e in parser.receive_data(piece)]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_signal_ends_fifty_open_streams_with_bye_and_the_process_in_time(end):
    """A deploy costs no stream its last words, and takes no longer than they do."""
    room = {"ROUNDEL_MAX_STREAMS_PER_USER": "50"}
    with serving(**room) as (process, url), ExitStack() as streams:
        headers = {"Authorization": f"Bearer {token('alice')}"}
        limits = httpx2.Limits(max_connections=None)
        client = streams.enter_context(httpx2.Client(timeout=10, limits=limits))
        responses = [
            streams.enter_context(
                client.stream("GET", f"{url}/v1/stream", headers=headers)
            )
            for _ in range(50)
        ]
        process.send_signal(end)
        told = [read_end(response) for response in responses]
        process.wait(timeout=3)

        assert process.returncode == 0
        assert ["hello", "badge", "bye"] == [event.type for event in told[0]]
        assert {"drain"} == {json.loads(events[-1].data)["reason"] for events in told}
        lines = [json.loads(line) for line in process.stderr]
        ends = [line for line in lines if line["event"] == "stream ended"]
        assert ["drain"] * len(told) == [line["reason"] for line in ends]


def test_second_signal_ends_the_process_at_once():
    """Who cannot wait does not have to."""
    with serving(ROUNDEL_DRAIN_TIMEOUT="60") as (process, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as peer:
            # A request whose body never comes holds a drain up for its whole time.
            peer.sendall(
                b"POST /v1/notify HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n"
                b"authorization: Bearer a-producer-key\r\n\r\n"
            )
            httpx2.get(f"{url}/livez")
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
            process.send_signal(signal.SIGTERM)

            assert process.wait(timeout=3) == -signal.SIGTERM


def test_curl_sees_hello_and_then_the_frames_of_the_contract():
    """A stream over a real socket is what the contract says, byte for byte."""
    with serving() as (_, url), httpx2.Client(timeout=10) as client:
        headers = {"Authorization": f"Bearer {token('alice')}"}
        target = f"{url}/v1/stream?level=items"
        with client.stream("GET", target, headers=headers) as response:
            wire = response.iter_text()
            opening = next(wire)
            while "event: snapshot" not in opening:
                opening += next(wire)
            run("notify", "alice", "Hi", "--url", url)
            change = next(wire)

    hello, snapshot, _ = opening.split("\n\n")
    assert re.fullmatch(r'event: hello\ndata: \{"proto":1,.*\}', hello)
    assert re.fullmatch(
        r"event: snapshot\ndata: \{.*\}\nid: [A-Za-z0-9._~-]+\.0", snapshot
    )
    assert re.fullmatch(
        r'event: change\ndata: \{.*"from":0,"v":1,.*\}\nid: [A-Za-z0-9._~-]+\.1\n\n',
        change,
    )


def test_readme_commands_do_what_the_readme_says(lacking, tmp_path):
    """Who types what the first page shows sees a notification and its badge."""
    if shutil.which("curl") is None:
        lacking("curl is not installed")
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    block = next(
        b for b in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL) if "curl" in b
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {k: v for k, v in environment(PATH=path).items() if k not in SECRETS}
    secrets = dict(re.findall(r"^export (\S+)=(\S+)$", block, re.MULTILINE))
    # The engine is that of whoever sets none, and its file is where it belongs.
    place = {"ROUNDEL_ENGINE": "sqlite:", "XDG_DATA_HOME": str(tmp_path)}
    with serving(**secrets, **place) as (_, url):
        script = block.replace("roundel serve &\n", "")
        script = script.replace("http://127.0.0.1:8080", url)
        script = script.replace("curl -N", "curl -N --max-time 2 -s")
        done = subprocess.run(
            ["bash", "-c", script], env=env, capture_output=True, text=True, check=False
        )

    answer, stream = done.stdout.split("event: hello", 1)
    assert json.loads(answer)["results"][0]["badge"]["unread"] == 1
    assert 'event: badge\ndata: {"epoch":' in stream
    assert '"unread":1' in stream
    assert (tmp_path / "roundel" / "roundel.db").exists()


def test_watch_prints_what_notify_puts_in():
    """Two commands and a server are enough to see a badge change."""
    with serving() as (_, url):
        watch = subprocess.Popen(
            command("watch", "alice", "--level", "badge", "--url", url),
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            first = [watch.stdout.readline().split(maxsplit=1)[0] for _ in range(2)]
            notified = run("notify", "alice", "Hi", "--category", "dm", "--url", url)
            kind, data = watch.stdout.readline().split(maxsplit=1)
        finally:
            watch.kill()
            watch.communicate()

    assert ["hello", "badge"] == first
    assert json.loads(notified.stdout)["results"][0]["user"] == "alice"
    assert kind == "badge"
    assert json.loads(data)["by"] == {"dm": {"unread": 1, "unseen": 1}}


def test_notify_that_is_refused_says_why_and_fails():
    """A problem is printed and the exit status tells a script."""
    with serving() as (_, url):
        refused = run("notify", "alice", "Hi", "--category", "Bad", "--url", url)

    assert refused.returncode == 1
    assert "category" in json.loads(refused.stderr)["detail"]


def test_no_service_is_told_in_a_line():
    """A command without a service to talk to shows no traceback."""
    refused = run("notify", "alice", "Hi", "--url", "http://127.0.0.1:9")

    assert refused.returncode == 1
    assert refused.stderr.startswith("roundel: ")
    assert "Traceback" not in refused.stderr


def test_taken_address_is_told_in_a_line():
    """A second service on one port says that it cannot listen."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = run("serve", "--bind", bind)

    assert refused.returncode == 1
    assert "Address already in use" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_file_that_cannot_be_used_is_told_in_a_line(tmp_path):
    """A second service on one file, or one on no file of ours, says what is wrong."""
    (tmp_path / "text").write_text("Dear diary, " * 99)
    file = f"sqlite:{tmp_path}/roundel.db"
    with serving(ROUNDEL_ENGINE=file) as (process, _):
        for engine, why in [
            (file, f"is in use by another process ({process.pid})"),
            (f"sqlite:{tmp_path}/text", "is no database"),
            (f"sqlite:{tmp_path}/no/roundel.db", "there is no folder"),
        ]:
            refused = run("serve", "--bind", "127.0.0.1:0", "--engine", engine)

            assert refused.returncode == 1
            assert refused.stderr.startswith(f"roundel: {tmp_path}")
            assert why in refused.stderr
            assert 1 == len(refused.stderr.splitlines())


def test_restart_goes_on_from_where_it_was(tmp_path):
    """A service that is started again on its file has all that it had."""
    file = {"ROUNDEL_ENGINE": f"sqlite:{tmp_path}/roundel.db"}
    told = []
    for _ in range(2):
        with serving(**file) as (process, url):
            notified = run("notify", "alice", "Hi", "--url", url)
            told.append(json.loads(notified.stdout)["results"][0])
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=5) == 0

    assert [1, 2] == [result["badge"]["unread"] for result in told]
    assert told[0]["epoch"] == told[1]["epoch"]


@pytest.mark.parametrize(("level", "count"), [("info", 1), ("warning", 0)])
def test_requests_are_logged_as_far_as_is_set(level, count):
    """One line each, and none where somebody else writes them."""
    with serving(ROUNDEL_LOG_LEVEL=level) as (process, url):
        assert run("notify", "alice", "Hi", "--url", url).returncode == 0
        process.send_signal(signal.SIGTERM)
        _, written = process.communicate(timeout=10)

    assert count == written.count('"path":"/v1/notify"')


def test_bad_settings_are_refused_at_the_start_all_at_once():
    """Each wrong setting is named with what was expected, and nothing is served."""
    env = environment(ROUNDEL_PNIG="1", ROUNDEL_PING="x", ROUNDEL_JWT_SECRET="short")
    refused = run("serve", env=env)

    assert refused.returncode == 2
    lines = refused.stderr.splitlines()
    assert ["ROUNDEL_PNIG", "ROUNDEL_JWT_SECRET", "ROUNDEL_PING"] == [
        line.split()[1] for line in lines
    ]
    assert "short" not in refused.stderr


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "example.org:80"])
def test_demo_is_for_this_machine_alone(bind):
    """A page that can act as anybody is offered to nobody else."""
    refused = run("demo", "--bind", bind)

    assert refused.returncode == 2
    assert "loopback" in refused.stderr


def test_demo_needs_no_setting_and_serves_its_page():
    """One command, no secrets, and there is something to look at."""
    env = {k: v for k, v in environment().items() if k not in SECRETS}
    with started("demo", "--bind", "127.0.0.1:0", env=env) as (process, url):
        page = httpx2.get(url)
        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=3) == 0
        assert page.status_code == 200
        assert "<title>" in page.text


def test_bad_user_name_is_refused_before_anything_is_asked():
    """A name that no user has is told apart from a service that refuses it."""
    refused = run("token", "alice smith")

    assert refused.returncode == 2
    assert "A-Z a-z 0-9" in refused.stderr


def test_help_names_every_command_and_every_setting():
    """The manual page is whole: nothing can be set that it does not tell of."""
    group, serve = run("--help").stdout, run("serve", "--help").stdout

    for name in ("serve", "demo", "backup", "token", "notify", "watch"):
        assert re.search(rf"^  {name}\s+\S", group, re.MULTILINE), name
    settings = [config.PREFIX + f.upper() for f in config.Settings.__annotations__]
    assert settings == re.findall(r"^    +(ROUNDEL_[A-Z_]+)", serve, re.MULTILINE)


def test_version_is_the_distributions():
    """The command is of the version that was installed."""
    project = Path(__file__).parents[3] / "pyproject.toml"
    version = tomllib.loads(project.read_text())["project"]["version"]

    assert version in run("--version").stdout
