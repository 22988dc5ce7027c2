"""Fixtures for the tests of the SQLite engine."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path) -> Path:
    """Return a path with characters that have a meaning in a URI."""
    return tmp_path / "a name with ? and #.db"
