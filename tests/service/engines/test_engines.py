"""Every engine of the project passes the engine contract."""

from __future__ import annotations

import pytest

from roundel_service.testing import CHECKS, Check
from support.engines import ENGINES, memory, redis, sqlite, store_urls, valkey

# pytest finds fixtures by name.
__all__ = ["memory", "redis", "sqlite", "store_urls", "valkey"]


def applicable() -> list:
    """Return each engine with each check that applies to it."""
    return [
        pytest.param(
            name,
            check,
            id=f"{name}-{check.name}",
            marks=[] if name == "memory" else [pytest.mark.slow],
        )
        for name, traits in ENGINES.items()
        for check in CHECKS
        if check.applies_to(traits)
    ]


@pytest.mark.parametrize(("name", "check"), applicable())
async def test_check(name: str, check: Check, request):
    """The engine passes the check."""
    make_engine, traits = request.getfixturevalue(name), ENGINES[name]

    await check.run(
        make_engine, is_durable=traits.is_durable, is_shared=traits.is_shared
    )
