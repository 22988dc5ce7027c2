"""`roundel serve` as a process: its environment, its signals and its log."""

from __future__ import annotations

import json
import signal

import pytest

from support.process import environment, started

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
