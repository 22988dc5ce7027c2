"""Log lines on a terminal: readable, and nothing in them controls it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundel_service.telemetry.terminal_lines import TerminalRenderer, has_colors
from support.process import command, environment

TIME = "2026-11-29T09:15:04.123456Z"


def render(**fields: object) -> str:
    event = {"level": "info", "event": "stream ended", "timestamp": TIME, **fields}
    return TerminalRenderer()(None, "", event)


def test_line_has_time_level_event_and_fields():
    """A line begins with the time of day, and its fields follow in their order."""
    line = render(user="josé", duration_s=1.5, status=200, logger="x", ok=True)

    assert (
        "09:15:04Z info    stream ended user=josé duration_s=1.5 status=200 ok=true"
        == line
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('"', '"\\""'),
        ("line\nend", '"line\\nend"'),
        ("\x1b[31mred", '"\\u001b[31mred"'),
        ("\x9b31m", '"\\u009b31m"'),
        ("\u202etxt.exe", '"\\u202etxt.exe"'),
        ("\ud800", '"\\ud800"'),
        (["a", 1], '["a", 1]'),
        (None, "null"),
    ],
)
def test_value_that_is_no_plain_word_is_json(value, shown):
    """Control characters, separators and quotes are escaped."""
    assert render(value=value).endswith(f" value={shown}")


@given(st.text(), st.text())
def test_no_text_controls_the_terminal(event, value):
    """Whatever a client sends, the line is one line of printable characters."""
    assert render(event=event, value=value).isprintable()


def test_traceback_follows_indented():
    """The lines of a traceback are readable, and escaped one by one."""
    first, *trace = render(exception="Traceback:\n  File\nError: \x1b[2J").splitlines()

    assert first.endswith("stream ended")
    assert ["    Traceback:", "      File", '    "Error: \\u001b[2J"'] == trace


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False),
     ({"NO_COLOR": ""}, True)],
)  # fmt: skip
def test_colors_can_be_switched_off(variables, expected):
    """NO_COLOR and a dumb terminal have no colours."""
    assert expected is has_colors(variables)


def test_level_has_a_color():
    """A warning is yellow, an error red."""
    paint = TerminalRenderer(colors=True)

    warning = paint(None, "", {"level": "warning", "event": "x", "timestamp": TIME})
    assert "\x1b[2m09:15:04Z\x1b[0m \x1b[33mwarning\x1b[0m x" == warning


def read_terminal(controller: int) -> str:
    """Return what was written to a terminal that is closed, and close this side."""
    written = b""
    with suppress(OSError):  # EIO at the end.
        while chunk := os.read(controller, 65_536):
            written += chunk
    os.close(controller)
    return written.decode()


@pytest.mark.slow
def test_service_on_a_terminal_has_readable_lines():
    """`serve` and `demo` write lines for people where stderr is a terminal."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        command("demo", "--bind", "127.0.0.1:0"),
        env=environment(NO_COLOR="1", ROUNDEL_PNAG_FOREIGN="1"),
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
    )
    try:
        url = re.search(r"http://\S+", process.stdout.readline())[0]
        subprocess.run(
            [*command("notify", "alice", "Hi", "--url", url)],
            env=environment(),
            capture_output=True,
            check=False,
        )
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)
    finally:
        process.kill()
        process.communicate()
        os.close(terminal)
    text = read_terminal(controller)

    line = r"^\d\d:\d\d:\d\dZ info    request .*path=/v1/notify status=4"
    assert re.search(line, text, re.MULTILINE), text
