"""For all tests: the long profile, the mark of the core, and absent programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline would be a statement about the speed of the machine.
settings.register_profile("untimed", parent=settings(), deadline=None)
settings.load_profile("untimed")

CORE = Path(__file__).parent / "core"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Collect no other tests with `-m core`, which saves 4 of 15 seconds."""
    is_other = collection_path.parent == CORE.parent and collection_path != CORE
    return True if is_other and config.option.markexpr == "core" else None


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Mark the core's tests; deselect nightly ones unless `-m` asks for them."""
    for item in items:
        if CORE in item.path.parents:
            item.add_marker("core")
    if "nightly" in (config.option.markexpr or ""):
        return
    nightly = [item for item in items if "nightly" in item.keywords]
    config.hook.pytest_deselected(items=nightly)
    items[:] = [item for item in items if item not in nightly]


@pytest.fixture
def lacking():
    """Skip a test because a program is absent; fail it in CI."""

    def skip(reason: str) -> None:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    return skip
