"""The documented systemd unit, Containerfile and Kubernetes manifest."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import yaml

from support.service import settings

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "deploy.md"


def block(language: str) -> str:
    """Return the one block of this language."""
    text = PAGE.read_text()
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return found


def test_supervisors_wait_longer_than_the_drain():
    """No supervisor kills the process before `ROUNDEL_DRAIN_TIMEOUT` is over."""
    drain = settings().drain_timeout
    pod = yaml.safe_load(block("yaml"))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    *_, pause = container["lifecycle"]["preStop"]["exec"]["command"]
    unit = re.findall(r"^TimeoutStopSec=(\d+)$", block("ini"), re.MULTILINE)
    stop = re.findall(r"--stop-timeout (\d+)", block("sh"))

    assert drain < float(unit[0])
    assert drain < float(stop[0])
    assert drain + float(pause) < pod["terminationGracePeriodSeconds"]


def test_unit_is_valid(tmp_path, lacking):
    """systemd accepts the unit."""
    if shutil.which("systemd-analyze") is None:
        lacking("systemd is not installed")
    unit = tmp_path / "roundel.service"
    unit.write_text(block("ini").replace("/opt/roundel/bin/roundel", "/bin/echo"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert str(unit) not in done.stderr
