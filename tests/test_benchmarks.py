"""The benchmark of the service still runs, whatever it measures on this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SERVING = Path(__file__).parent / "benchmarks" / "serving.py"
TRIAL = ("--rounds", "1", "--scale", "0.01", "--only", "fanout,storm")


@pytest.fixture
def _compiler(lacking):
    if shutil.which("cc") is None:
        lacking("there is no C compiler for the load generator")


@pytest.mark.slow
@pytest.mark.usefixtures("_compiler")
def test_serving():
    """Every cell of a small trial has a number: all was delivered and replayed."""
    done = subprocess.run(
        [sys.executable, str(SERVING), *TRIAL, "--peers", "floor,roundel"],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )

    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    whole = [row for row in rows if "delivered" in row]
    assert "–" not in done.stdout, done.stdout  # noqa: RUF001, what has no number
    assert [row.split("|")[-2].strip() for row in whole] == ["100", "100"]
