"""What holds for all tests: the profiles, and what a machine may lack."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave the long profile out unless it is asked for by its mark."""
    if "nightly" in (config.option.markexpr or ""):
        return
    nightly = [item for item in items if "nightly" in item.keywords]
    config.hook.pytest_deselected(items=nightly)
    items[:] = [item for item in items if item not in nightly]


@pytest.fixture
def lacking():
    """Skip a test for want of a program; in CI, where it must be there, fail."""

    def skip(reason: str) -> None:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    return skip
