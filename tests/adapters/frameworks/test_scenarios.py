"""The same scenarios over each framework on each server, with a real client."""

from __future__ import annotations

import pytest

from support.frameworks.rows import ROWS

pytestmark = pytest.mark.slow


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
