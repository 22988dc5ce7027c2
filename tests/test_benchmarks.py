"""The benchmarks still run, whatever they measure on this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"
TRIAL = ("--rounds", "1", "--scale", "0.01", "--only", "fanout,storm")


def run(script: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    ).stdout


@pytest.fixture
def _compiler(lacking):
    if shutil.which("cc") is None:
        lacking("there is no C compiler for the load generator")


@pytest.mark.slow
@pytest.mark.usefixtures("_compiler")
def test_serving():
    """Every cell of a small trial has a number: all was delivered and replayed."""
    said = run("serving.py", *TRIAL, "--peers", "floor,roundel")

    rows = [line for line in said.splitlines() if line.startswith("| ")][1:]
    whole = [row for row in rows if "delivered" in row]
    assert "–" not in said, said  # noqa: RUF001, what has no number
    assert [row.split("|")[-2].strip() for row in whole] == ["100", "100"]


@pytest.mark.slow
def test_big_file(tmp_path):
    """A file of many users is made, opened and read."""
    said = run("engines.py", "--big=20", "--items=3", f"--folder={tmp_path}")

    assert "20 users of 3 items" in said


@pytest.mark.slow
def test_floods():
    """The bystanders of a flood are served, and each cell has a number."""
    said = run("floods.py", "--seconds=0.2", "--connections=2", "--only=none,PING")

    rows = [line.split("|")[1:-1] for line in said.splitlines()[2:]]
    assert ["none", "PING"] == [row[0].strip() for row in rows]
    assert all(float(cell) >= 0 for row in rows for cell in row[1:])


@pytest.mark.slow
def test_clients():
    """Each client reads all events, and each cell has a number."""
    said = run("clients.py", "--rounds=1", "--events=400", "--streams=2")

    rows = [line for line in said.splitlines() if line.startswith("| ")]
    assert 4 == len(rows)
    assert len({row.count("|") for row in rows}) == 1


@pytest.mark.slow
def test_embedding():
    """Each cell of a small trial has a number, and all missed events are replayed."""
    trial = ("--rounds=1", "--scale=0.01", "--only=resume,fan_out")
    said = run("embedding.py", *trial, "--apps=embedded_roundel")

    rows = [line.split("|")[1:-1] for line in said.splitlines()[2:]]
    assert 5 == len(rows)
    assert all(float(row[1]) >= 0 for row in rows)
    assert ["0"] == [row[1].strip() for row in rows if "not replayed" in row[0]]


@pytest.mark.slow
def test_topics():
    """Roundel's candidates deliver each event, and each cell has a number."""
    only = "--only=topics,core"
    said = run("topics.py", "--streams=1,10", "--events=5", "--rounds=1", only)

    rows = [line.strip("|").split("|") for line in said.splitlines()[2:]]
    assert 3 == len(rows)
    assert all(float(cell.split()[0]) > 0 for row in rows for cell in row[1:])


@pytest.mark.slow
def test_badge_service():
    """The start of the fixture is measured."""
    said = run("badge_service.py", "--rounds=2")

    assert ["import", "start", "first tab", "notify", "end"] == [
        line.partition(":")[0] for line in said.splitlines()
    ]


@pytest.mark.slow
def test_reducer():
    """The build of the interpreter is named, and each cell has a number."""
    said = run("reducer.py", "--rounds=1")

    rows = [line.split("|")[1:-1] for line in said.splitlines()[4:]]
    assert re.match(r"Python 3\.\d+\.\d+ \(.*(PGO|LTO|unknown)\), 1 rounds\.", said)
    assert 4 == len(rows)
    assert all(float(cell) > 0 for row in rows for cell in row[1:])


@pytest.mark.slow
def test_broadcast(tmp_path):
    """All open streams get a broadcast, and a user without a stream no write."""
    said = run("broadcast.py", "--users=40", "--online=10", f"--folder={tmp_path}")

    rows = dict(line.strip("| ").split(" | ") for line in said.splitlines()[4:])
    assert float(rows["all streams have it after s"]) > 0
    assert "1" == rows["items of a user without a stream"]
    assert "2" == rows["and after a read"]
