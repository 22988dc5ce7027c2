"""The command line: commands in process, and servers in processes of their own."""

from __future__ import annotations

import json
import os
import re
import shlex
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
from click.testing import CliRunner, Result

from roundel import Parser
from roundel_service.cli.main import COMMANDS, main
from roundel_service.settings import PREFIX, Settings
from support.ports import reserved_port
from support.process import SECRETS, accept_ctrl_c, command, environment, run, started

slow = pytest.mark.slow
ROOT = Path(__file__).parents[3]


def invoke(*arguments: str, **changes: str) -> Result:
    """Run a command in this process, with only these settings of the service."""
    unset = {name: None for name in os.environ if name.startswith(PREFIX)}
    return CliRunner().invoke(main, arguments, env={**unset, **SECRETS, **changes})


@contextmanager
def serving(**changes: str):
    with started("serve", "--bind", "127.0.0.1:0", env=environment(**changes)) as pair:
        yield pair


def bearer(user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {invoke('token', user).stdout.strip()}"}


def read_to_end(response: httpx2.Response):
    """Read a stream to its end; return its events."""
    parser = Parser()
    return [e for chunk in response.iter_raw() for e in parser.receive_data(chunk)]


@slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_signal_ends_fifty_streams_with_bye_and_the_process_in_time(end):
    """A graceful shutdown sends `bye` on every stream and exits within 3 s."""
    limits = {"ROUNDEL_MAX_STREAMS_PER_USER": "50"}
    with serving(**limits) as (process, url), ExitStack() as streams:
        client = streams.enter_context(
            httpx2.Client(timeout=10, limits=httpx2.Limits(max_connections=None))
        )
        headers = bearer("alice")
        responses = [
            streams.enter_context(
                client.stream("GET", f"{url}/v1/stream", headers=headers)
            )
            for _ in range(50)
        ]
        process.send_signal(end)
        received = [read_to_end(response) for response in responses]
        process.wait(timeout=3)

        assert process.returncode == 0
        assert ["hello", "badge", "bye"] == [event.type for event in received[0]]
        reasons = {json.loads(events[-1].data)["reason"] for events in received}
        assert {"drain"} == reasons
        lines = [json.loads(line) for line in process.stderr]
        ends = [line for line in lines if line["event"] == "stream ended"]
        assert ["drain"] * 50 == [line["reason"] for line in ends]


@slow
def test_stream_over_a_socket_is_that_of_the_contract():
    """The bytes of a stream with a snapshot and a change are as documented."""
    with serving() as (_, url), httpx2.Client(timeout=10) as client:
        target = f"{url}/v1/stream?level=items"
        with client.stream("GET", target, headers=bearer("alice")) as response:
            wire = response.iter_text()
            opening = next(wire)
            while "event: snapshot" not in opening:
                opening += next(wire)
            invoke("notify", "alice", "Hi", "--url", url)
            change = next(wire)

    hello, snapshot, _ = opening.split("\n\n")
    assert re.fullmatch(r'retry: 5000\nevent: hello\ndata: \{"proto":1,.*\}', hello)
    assert re.fullmatch(
        r"event: snapshot\ndata: \{.*\}\nid: [A-Za-z0-9._~-]+\.0", snapshot
    )
    assert re.fullmatch(
        r'event: change\ndata: \{.*"from":0,"v":1,.*\}\nid: [A-Za-z0-9._~-]+\.1\n\n',
        change,
    )


@slow
def test_readme_block_works_when_pasted(lacking, tmp_path):
    """The block that runs the service shows a notification and its badge."""
    if shutil.which("curl") is None:
        lacking("curl is not installed")
    readme = (ROOT / "README.md").read_text()
    block = next(
        b for b in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL) if "curl" in b
    )
    with reserved_port() as port:
        # As pasted, but on a free port, and with an end.
        script = block.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
        script = script.replace("curl -N", "curl -N --max-time 2 -s") + "kill %1; wait"
        changes = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ROUNDEL_BIND": f"127.0.0.1:{port}",
            "ROUNDEL_URL": f"http://127.0.0.1:{port}",
            "XDG_DATA_HOME": str(tmp_path),
        }
        env = environment(**changes)
        for name in SECRETS.keys() - {"ROUNDEL_OPS_BIND"}:
            del env[name]
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    before, stream = done.stdout.split("retry: ", 1)
    *_, response = before.splitlines()
    assert json.loads(response)["results"][0]["badge"]["unread"] == 1
    assert '"unread":1' in stream
    assert "" == done.stderr
    assert (tmp_path / "roundel" / "roundel.db").exists()
    assert '"event":"stream ended"' in (tmp_path / "roundel.log").read_text()


@slow
def test_watch_prints_the_notification_of_notify():
    """`watch` prints one event per line while `notify` changes the badge."""
    with serving() as (_, url):
        watch = subprocess.Popen(
            command("watch", "alice", "--level", "badge", "--url", url),
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            first = [watch.stdout.readline().split(maxsplit=1)[0] for _ in range(2)]
            notified = invoke("notify", "alice", "Hi", "--category", "dm", "--url", url)
            kind, data = watch.stdout.readline().split(maxsplit=1)
            to_topic = invoke("notify", "Hi", "--topic", "team-7", "--url", url)
            to_all = invoke("notify", "Hi", "--all", "--url", url)
        finally:
            watch.kill()
            watch.communicate()

    assert ["hello", "badge"] == first
    assert json.loads(notified.stdout)["results"][0]["user"] == "alice"
    sent = [json.loads(each.stdout)["results"][0] for each in (to_topic, to_all)]
    assert ["team-7", "all"] == [each["topic"] for each in sent]
    assert kind == "badge"
    assert json.loads(data)["by"] == {"dm": {"unread": 1, "unseen": 1}}


@slow
def test_watch_prints_objects_for_scripts():
    """With --json each line is an object: the type, the id and the data."""
    with serving() as (_, url):
        watch = subprocess.Popen(
            command("watch", "alice", "--json", "--url", url),
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            hello, snapshot = (json.loads(watch.stdout.readline()) for _ in range(2))
        finally:
            watch.kill()
            watch.communicate()

    assert ("hello", "", 1) == (
        hello["type"],
        hello["last_event_id"],
        hello["data"]["proto"],
    )
    assert snapshot["type"] == "snapshot"
    assert snapshot["last_event_id"].endswith(".0")
    assert snapshot["data"]["items"] == []


@slow
def test_watch_says_what_it_waits_for():
    """A lost service is reported on stderr with the time of the next try."""
    with reserved_port() as port:
        url = f"http://127.0.0.1:{port}"
        watch = subprocess.Popen(
            command("watch", "alice", "--url", url),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            waiting = watch.stderr.readline()
            with started("serve", "--bind", f"127.0.0.1:{port}"):
                connected = watch.stderr.readline()
                while "connected" not in connected:
                    connected = watch.stderr.readline()
        finally:
            watch.kill()
            watch.communicate()

    assert waiting.startswith(f"roundel: {url}/v1/stream?level=items: ConnectError")
    assert re.search(r"; trying again in \d+\.\d s$", waiting)
    assert f"roundel: {url}/v1/stream?level=items: connected\n" == connected


@slow
@pytest.mark.parametrize(
    ("url", "secret", "message"),
    [
        ("", "another-secret-of-more-than-32-bytes-for-tests", "have to be those of"),
        ("/elsewhere", SECRETS["ROUNDEL_JWT_SECRET"], "got 404"),
    ],
    ids=["secret", "path"],
)
def test_watch_ends_when_waiting_cannot_help(url, secret, message):
    """A wrong secret or path is an error of one line."""
    with serving() as (_, service):
        result = run(
            "watch",
            "alice",
            "--url",
            f"{service}{url}",
            env=environment(ROUNDEL_JWT_SECRET=secret),
        )

    assert 1 == result.returncode
    assert message in result.stderr
    assert 1 == len(result.stderr.splitlines())


@slow
@pytest.mark.parametrize(("level", "count"), [("info", 1), ("warning", 0)])
def test_log_level_selects_the_request_lines(level, count):
    """A request has one log line at `info`, and none at `warning`.

    A rejected notification is printed to stderr, with exit status 1.
    """
    with serving(ROUNDEL_LOG_LEVEL=level) as (process, url):
        rejected = invoke("notify", "alice", "Hi", "--category", "Bad", "--url", url)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)

    assert count == log.count('"path":"/v1/notify"')
    assert rejected.exit_code == 1
    assert "roundel: 422 Unprocessable Entity: " in rejected.stderr
    assert "category: " in rejected.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["notify", "alice", "Hi", "--ttl", "nan"], "nan is not a number of seconds"),
        (["notify", "alice", "Hi", "--ttl", "inf"], "inf is not a number of seconds"),
        (["notify", "alice", "Hi", "--ttl", "soon"], "'soon' is not a valid"),
        (["notify", "alice", "Hi", "--at", "inf"], "inf is not a time"),
        (["notify", "alice", "Hi", "--at", "soon"], "'soon' is not a time like 2026"),
        (["notify", "alice", "\udcff"], "expected text in UTF-8"),
        (["token", "alice", "--ttl", "nan"], "nan is not a number of seconds"),
        (["token", "alice", "--ttl", "0"], "0.0 is not in the range"),
        (["watch", "alice", "--url", "127.0.0.1:8080"], "expected a URL like http://"),
        (["watch", "alice", "--url", "ftp://x"], "expected a URL like http://"),
        (["watch", "alice", "--url", "http://"], "expected a URL like http://"),
        (["watch", "alice", "--url", "http://x:y"], "expected a URL like http://"),
        (["watch", "alice", "--url", "http://[::1"], "expected a URL like http://"),
        (["watch", "alice", "--url", "http://u:p@x"], "expected a URL like http://"),
        (["watch", "alice", "--url", "http://x?y=1"], "expected a URL like http://"),
        (["watch", "alice", "--url", "http://x\ny"], "expected a URL like http://"),
        (["notify", "alice", "Hi", "--url", "http://x/\udcff"], "expected a URL like"),
        (["notify", "alice", "Hi", "--url", "http://a b"], "expected a URL like"),
        (["watch", "alice", "--level", "all"], "'all' is not one of"),
        (["notify", "alice"], "Missing argument 'TITLE'"),
        (["notify", "alice", "Hi", "bob"], "unexpected arguments: bob"),
        (["notify", " alice", "Hi"], "expected no white space"),
        (["notify", "alice", "Hi", "--all"], "expected no USER"),
        (["notify", "alice", "Hi", "--topic", "t"], "expected no USER"),
        (["notify", "Hi", "--topic", "t", "--all"], "either --all or --topic"),
        (["serv"], "No such command 'serv'. Did you mean 'serve'?"),
        (["serve", "--bnid", "x"], "No such option '--bnid'. (Did you mean"),
    ],
)
def test_argument_that_does_not_fit_is_named(arguments, message):
    """A bad argument ends the command with status 2, before any request."""
    result = invoke(*arguments)

    assert result.exit_code == 2
    assert message in result.stderr


@slow
@pytest.mark.parametrize(
    ("absent", "arguments", "extra"),
    [
        ("click", ["--version"], "service"),
        ("structlog", ["serve"], "service"),
        ("httpx2", ["notify", "alice", "Hi"], "service"),
        ("glide", ["serve", "--engine", "valkey://127.0.0.1:9"], "valkey"),
        ("glide", ["doctor", "--engine", "valkey://127.0.0.1:9"], "valkey"),
    ],
)
def test_absent_package_is_named_with_its_extra(absent, arguments, extra):
    """A command that needs an optional package says how to install it."""
    script = (
        f"import sys; sys.modules[{absent!r}] = None; "
        "from roundel_service.__main__ import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 1
    assert f"pip install 'roundel[{extra}]'" in result.stderr
    assert 1 == len(result.stderr.splitlines())


@slow
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["token", "alice"]])
def test_output_that_cannot_be_written_is_a_one_line_error(arguments):
    """A full disk is named, without a traceback."""
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            command(*arguments),
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert process.returncode == 1
    assert "roundel: [Errno 28] No space left on device\n" == process.stderr


@slow
def test_reader_of_the_output_may_leave():
    """A closed pipe, as of `head`, ends a command without a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        command("token", "alice"),
        env=environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writer)

    assert process.returncode == 1
    assert b"" == process.stderr


def test_unreachable_service_is_a_one_line_error():
    """A failed connection is reported without a traceback."""
    result = invoke("notify", "alice", "Hi", "--url", "http://127.0.0.1:9")

    assert result.exit_code == 1
    assert result.stderr.startswith("roundel: ")
    assert 1 == len(result.stderr.splitlines())


HEAVY = ("joserfc", "quart", "werkzeug", "httpx2", "glide", "jsonschema")


@slow
@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--version"], ["trio", "structlog", "msgspec", *HEAVY]),
        (["serve", "--bind", "127.0.0.1:0"], [
            *HEAVY, "roundel_service.http.openapi.document", "roundel_service.demo.app",
            "roundel_service.operator.app",
        ]),
        (["token", "alice"], ["quart", "werkzeug", "hypercorn", "glide"]),
        (["notify", "alice", "Hi"], ["quart", "werkzeug", "hypercorn", "glide"]),
    ],
    ids=["version", "serve", "token", "notify"],
)  # fmt: skip
def test_command_imports_only_what_it_needs(arguments, absent):
    """A start is quick: nothing is imported that a later request may need first.

    `serve` is asked when it binds its address, so before the threads that load the
    rest, and `notify` when it connects.
    """
    script = (
        "import atexit, os, sys\n"
        "def report():\n"
        f"    loaded = [each for each in {absent} if each in sys.modules]\n"
        "    os.write(2, f'loaded {loaded}'.encode())\n"
        "    os._exit(0)\n"
        "atexit.register(report)\n"
        "ends = {'socket.bind', 'socket.connect'}\n"
        "sys.addaudithook(lambda event, _: event in ends and report())\n"
        "from roundel_service.__main__ import main\n"
        "main()"
    )
    env = environment(ROUNDEL_URL="http://127.0.0.1:9")
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.stderr.endswith("loaded []")


@slow
def test_user_ends_watch_by_ctrl_c():
    """SIGINT ends it without a word, with the status that shells give it."""
    with serving() as (_, url):
        watch = subprocess.Popen(
            command("watch", "alice", "--url", url),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=accept_ctrl_c,
        )
        try:
            watch.stdout.readline()
            watch.send_signal(signal.SIGINT)
            _, errors = watch.communicate(timeout=10)
        finally:
            watch.kill()
            watch.communicate()

    assert watch.returncode == 130
    assert "" == errors


INTERRUPTED_IMPORT = """
import sys

class Finder:
    def find_spec(self, name, *_):
        if name == "roundel_service.settings":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Finder())
from roundel_service.__main__ import main
main()
"""


@slow
@pytest.mark.parametrize("name", ["serve", "watch"])
def test_ctrl_c_during_the_imports_is_quiet_too(name):
    """SIGINT before the command itself runs has the same status, and no text."""
    result = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT, name, "alice"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (130, "") == (result.returncode, result.stderr)


@slow
def test_address_in_use_is_a_one_line_error():
    """A second service on the port reports the error without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = run("serve", "--bind", f"127.0.0.1:{other.getsockname()[1]}")

    assert result.returncode == 1
    assert "Address already in use" in result.stderr
    assert 1 == len(result.stderr.splitlines())


@slow
def test_unusable_file_is_a_one_line_error(tmp_path):
    """A file that is in use, is no database or has no folder is named."""
    (tmp_path / "text").write_text("Dear diary, " * 99)
    file = f"sqlite:{tmp_path}/roundel.db"
    with serving(ROUNDEL_ENGINE=file) as (process, _):
        for engine, message in [
            (file, f"is in use by another process ({process.pid})"),
            (f"sqlite:{tmp_path}/text", "is not a database"),
            (f"sqlite:{tmp_path}/no/roundel.db", "does not exist: create it"),
        ]:
            result = run("serve", "--bind", "127.0.0.1:0", "--engine", engine)

            assert result.returncode == 1
            assert result.stderr.startswith(f"roundel: {tmp_path}")
            assert message in result.stderr
            assert 1 == len(result.stderr.splitlines())


@slow
def test_restart_keeps_the_mailboxes_of_the_file(tmp_path):
    """A restarted service has the items and the epoch of the one before."""
    file = {"ROUNDEL_ENGINE": f"sqlite:{tmp_path}/roundel.db"}
    results = []
    for _ in range(2):
        with serving(**file) as (process, url):
            notified = invoke("notify", "alice", "Hi", "--url", url)
            results.append(json.loads(notified.stdout)["results"][0])
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=5) == 0

    assert [1, 2] == [result["badge"]["unread"] for result in results]
    assert results[0]["epoch"] == results[1]["epoch"]


def test_invalid_settings_are_all_reported_at_the_start():
    """Each invalid setting has a line, and exit status 2 follows."""
    result = invoke(
        "serve", ROUNDEL_PNIG="1", ROUNDEL_PING="x", ROUNDEL_JWT_SECRET="short"
    )

    assert result.exit_code == 2
    assert ["ROUNDEL_PNIG", "ROUNDEL_JWT_SECRET", "ROUNDEL_PING"] == [
        line.split()[1] for line in result.stderr.splitlines()
    ]
    assert "short" not in result.stderr


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "example.org:80"])
def test_demo_serves_only_on_loopback(bind):
    """The page can act as any user, so other machines cannot load it."""
    result = invoke("demo", "--bind", bind)

    assert result.exit_code == 2
    assert "loopback" in result.stderr


@slow
def test_demo_needs_no_setting_and_serves_its_page():
    """`roundel demo` starts without secrets and stops at SIGTERM."""
    env = {k: v for k, v in environment().items() if k not in SECRETS}
    with started("demo", "--bind", "127.0.0.1:0", env=env) as (process, url):
        page = httpx2.get(url)
        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=3) == 0
        assert page.status_code == 200
        assert "<title>" in page.text


def test_invalid_user_name_is_refused_before_any_request():
    """The error of the argument says which rule the name breaks."""
    result = invoke("token", "alice ")

    assert result.exit_code == 2
    assert "expected no white space at the ends" in result.stderr


def test_help_has_every_command_and_setting():
    """`--help` lists each command, and `serve --help` each setting."""
    group, serve = invoke("--help").stdout, invoke("serve", "--help").stdout

    for name in COMMANDS.keys() - {"worker"}:
        assert re.search(rf"^  {name}\s+\S", group, re.MULTILINE), name
    settings = [PREFIX + field.upper() for field in Settings.__annotations__]
    assert settings == re.findall(r"^    +(ROUNDEL_[A-Z0-9_]+)", serve, re.MULTILINE)
    assert all(len(line) <= 80 for line in serve.splitlines())


def test_url_of_the_service_comes_from_the_environment():
    """ROUNDEL_URL is the default of --url, and is no unknown setting."""
    result = invoke("notify", "alice", "Hi", ROUNDEL_URL="http://127.0.0.1:9/a/")

    assert "http://127.0.0.1:9/a/v1/notify" in result.stderr


def write_settings(folder: Path, **settings: str) -> None:
    lines = [f'{name} = "{value}"' for name, value in settings.items()]
    (folder / "roundel.toml").write_text("\n".join(lines))


def test_settings_file_of_the_directory_is_read(tmp_path, monkeypatch):
    """`roundel.toml` needs no --config; a flag names another, and variables win."""
    monkeypatch.chdir(tmp_path)
    write_settings(tmp_path, jwt_secret="short")
    other = tmp_path / "other.toml"
    other.write_text("pnig = 1")

    found = invoke("token", "alice", ROUNDEL_JWT_SECRET="")
    named = invoke("token", "alice", "--config", str(other))

    assert "ROUNDEL_JWT_SECRET (roundel.toml): expected" in found.stderr
    assert "ROUNDEL_PNIG" in named.stderr
    assert 0 == invoke("token", "alice").exit_code


def test_settings_file_of_another_user_has_to_be_named(tmp_path, monkeypatch):
    """A file that somebody put into a shared directory is not taken by accident."""
    monkeypatch.chdir(tmp_path)
    write_settings(tmp_path, jwt_secret="a-secret-of-more-than-32-bytes-for-tests")
    if os.geteuid() == 0:
        os.chown(tmp_path / "roundel.toml", 12_345, 12_345)
    else:
        other = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: other)

    found = invoke("token", "alice")

    assert 2 == found.exit_code
    assert "roundel.toml belongs to another user" in found.stderr
    assert 0 == invoke("token", "alice", "--config", "roundel.toml").exit_code


@slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_of_the_shell(shell, tmp_path):
    """The script of bash completes commands and options in a real shell."""
    result = run("completion", shell)

    assert 0 == result.returncode
    assert "_ROUNDEL_COMPLETE" in result.stdout
    if shell != "bash":
        return
    program = tmp_path / "roundel"
    program.write_text(f"#!/bin/sh\nexec {shlex.join(command())}\n")
    program.chmod(0o700)
    complete = (
        f"{result.stdout}\n"
        "COMP_WORDS=(roundel notify alice Hi --u) COMP_CWORD=4\n"
        f"_roundel_completion {program}\n"
        'echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", complete],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "--url" == done.stdout.strip(), done.stderr


def test_version_is_that_of_the_distribution():
    """`--version` prints the version of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] in invoke("--version").stdout
