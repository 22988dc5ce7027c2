"""The choice of an engine by its URL."""

from __future__ import annotations

import pytest

from roundel_service.engines import open_engine
from roundel_service.engines.memory import MemoryEngine
from roundel_service.engines.sqlite.engine import SqliteEngine
from roundel_service.engines.valkey.engine import ValkeyEngine


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory", MemoryEngine),
        ("sqlite:", SqliteEngine),
        ("sqlite:roundel.db", SqliteEngine),
        ("valkey://localhost", ValkeyEngine),
    ],
)
def test_engine_of_a_url(url, expected, tmp_path, monkeypatch):
    """The scheme of the URL selects the engine."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    assert isinstance(open_engine(url), expected)
