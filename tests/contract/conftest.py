"""The HTTP contract, tested through ASGI in memory, on virtual time.

`tests/service/http/` compares the path without ASGI with this one, byte for byte.
"""

from __future__ import annotations

import pytest
from werkzeug.routing import Rule

from support.service import make_world, world

__all__ = ["make_world", "world"]  # Fixtures are found by their names.


@pytest.fixture(autouse=True)
def no_url_builders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the compilation of URL builders, which takes longer than most tests."""
    monkeypatch.setattr(Rule, "_compile_builder", lambda *_: lambda *_: None)
