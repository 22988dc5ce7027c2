"""The pytest plugin: the fixtures `badge_service` and `badge_tab`.

pytest loads it in every run where this package is installed. So it imports only pytest,
and the service when a test uses a fixture.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeAlias, cast

import pytest

from roundel_adapters import requires_extra

if TYPE_CHECKING:
    from .testing.fixtures import (
        AsyncBadgeService,
        AsyncBadgeTab,
        BadgeService,
        BadgeTab,
    )

    AnyService: TypeAlias = BadgeService | AsyncBadgeService

CLASH = (
    "pytest-trio would run this test, and anyio its fixtures: "
    "switch trio_mode off, or remove the mark anyio"
)


@pytest.fixture
def badge_settings() -> Mapping[str, str]:
    """Settings of `badge_service`, by their names in a configuration file.

    Override it in a test module or in conftest.py.
    """
    return {}


@pytest.fixture
def badge_user() -> str:
    """The user of `badge_tab`; override it for another name."""
    return "alice"


@pytest.fixture
def badge_service(
    request: pytest.FixtureRequest, badge_settings: Mapping[str, str]
) -> Iterator[AnyService]:
    """A real badge service on the memory engine, for the length of the test.

    It is an `AsyncBadgeService` in a coroutine test, and a `BadgeService` in another.
    In a test of trio it runs in the test's loop, and in virtual time with the fixture
    `autojump_clock` or `mock_clock`; otherwise it runs in a thread.
    """
    if _is_trio_test(request):
        # The plugins of trio and anyio run only coroutine fixtures in the test's loop.
        yield request.getfixturevalue("_badge_service_on_trio")
    else:
        with _service_in_thread(request, badge_settings) as service:
            yield service


def _service_in_thread(
    request: pytest.FixtureRequest, settings: Mapping[str, str]
) -> AbstractContextManager[AnyService]:
    with requires_extra("service"):
        from .testing import fixtures
        from .testing.fixtures.async_service import run_beside_asyncio
    if _is_coroutine_test(request):
        return run_beside_asyncio(settings)
    return fixtures.run_badge_service(**settings)


@pytest.fixture
async def _badge_service_on_trio(
    badge_settings: Mapping[str, str],
) -> AsyncIterator[AsyncBadgeService]:
    with requires_extra("service"):
        from .testing import fixtures
    async with fixtures.open_badge_service(**badge_settings) as service:
        yield service


@pytest.fixture
def badge_tab(request: pytest.FixtureRequest) -> BadgeTab | AsyncBadgeTab:
    """An open tab of `badge_user`: an `AsyncBadgeTab` in a coroutine test."""
    # Not parameters: pytest-trio runs a fixture with a coroutine parameter in the loop.
    if _is_trio_test(request):
        return cast("AsyncBadgeTab", request.getfixturevalue("_badge_tab_on_trio"))
    service, user = map(request.getfixturevalue, ("badge_service", "badge_user"))
    if _is_coroutine_test(request):
        return cast("AsyncBadgeService", service).open_at_once(user)
    return cast("BadgeService", service).open(user)


@pytest.fixture
async def _badge_tab_on_trio(
    _badge_service_on_trio: AsyncBadgeService, badge_user: str
) -> AsyncBadgeTab:
    return await _badge_service_on_trio.open(badge_user)


def _is_coroutine_test(request: pytest.FixtureRequest) -> bool:
    function = request.function
    # A test of hypothesis has its coroutine function inside.
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return inspect.iscoroutinefunction(inner)


def _is_trio_test(request: pytest.FixtureRequest) -> bool:
    is_of_anyio = "anyio_backend" in request.fixturenames
    # With `trio_mode`, pytest-trio marks each coroutine test.
    if request.node.get_closest_marker("trio") is not None:
        if is_of_anyio:
            pytest.fail(CLASH, pytrace=False)
        return True
    if is_of_anyio and _is_coroutine_test(request):
        return bool(request.getfixturevalue("anyio_backend_name") == "trio")
    return False
