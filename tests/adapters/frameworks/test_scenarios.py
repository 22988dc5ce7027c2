"""The same scenarios over each framework on each server, with a real client."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.frameworks.rows import ROWS
from support.frameworks.scenarios import SCENARIOS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "frameworks.md"


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_framework_serves_every_scenario(row, tmp_path, lacking):
    """Events, resumes, disconnects, slow readers and SIGTERM work on this server."""
    if missing := row.missing():
        lacking(f"{', '.join(missing)}: not installed")
    results = row.run(tmp_path)
    failures = {k: v for k, v in results.items() if isinstance(v, Exception)}
    for error in failures.values():
        print(*error.__notes__)

    assert not failures


def test_page_has_the_rows_and_columns():
    """The documented table has the scenarios as columns, and rows that exist."""
    lines = PAGE.read_text().split("## Table")[1].splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    head, _, *rows = cells
    existing = {(row.framework, row.server) for row in ROWS}

    assert ["framework", "server", *SCENARIOS] == head
    assert {tuple(row[:2]) for row in rows} <= existing
    assert not any("FAILED" in row for row in rows)
