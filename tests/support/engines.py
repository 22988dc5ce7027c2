"""The engines of the project, for tests that run with each of them.

To add an engine, add a fixture that returns its `MakeEngine`, and its traits. A test
module must import the fixtures. The simulation reuses the names of stores, so a store
that outlives a test needs a prefix of its own in each test.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import final

import pytest

from roundel_service.engines.base import Engine
from roundel_service.engines.memory import MemoryEngine
from roundel_service.engines.sqlite.engine import SqliteEngine
from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.engines.valkey.keys import Keys
from roundel_service.testing import EngineTraits, MakeEngine, Setup
from support import valkey_server

ENGINES = {
    "memory": EngineTraits(),
    "sqlite": EngineTraits(is_durable=True),
    "redis": EngineTraits(is_durable=True, is_shared=True),
    "valkey": EngineTraits(is_durable=True, is_shared=True),
}
"""The traits of each engine, by the name of its fixture.

Redis and Valkey are two servers of one engine.
"""


@pytest.fixture
def memory() -> MakeEngine:
    def make(setup: Setup) -> Engine:
        return MemoryEngine(setup.limits, clock=setup.clock)

    return make


@pytest.fixture
def sqlite(tmp_path: Path) -> MakeEngine:
    def make(setup: Setup) -> Engine:
        path = tmp_path / f"{setup.name}.db"
        return SqliteEngine(path, setup.limits, clock=setup.clock)

    return make


@pytest.fixture
def redis(store_urls: valkey_server.Urls) -> MakeEngine:
    return SharedStore(store_urls("redis"))


@pytest.fixture
def valkey(store_urls: valkey_server.Urls) -> MakeEngine:
    return SharedStore(store_urls("valkey"))


@final
class SharedStore:
    """Makes engines on one store, and loses and damages its mailboxes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._prefix = secrets.token_hex(4)

    def __call__(self, setup: Setup) -> Engine:
        url = f"{self._url}?prefix={self._prefix}-{setup.name}"
        return ValkeyEngine(url, setup.limits, clock=setup.clock)

    def lose(self, name: str, user: str) -> None:
        """Delete the mailbox of *user* in the store of a setup's *name*."""
        valkey_server.execute(self._url, "DEL", self._mailbox(name, user))

    def damage(self, name: str, user: str) -> None:
        """Make the revision of the mailbox of *user* unreadable."""
        key = self._mailbox(name, user)
        valkey_server.execute(self._url, "HSET", key, "w", "x")

    def dump(self, name: str, user: str) -> str:
        """Return all that is stored of the mailbox of *user*, or of a topic."""
        key = self._mailbox(name, user)
        return "".join(valkey_server.execute(self._url, "HGETALL", key))

    def _mailbox(self, name: str, user: str) -> str:
        return Keys(f"{self._prefix}-{name}").user(user)


@pytest.fixture(scope="module")
def store_urls() -> Iterator[valkey_server.Urls]:
    """Start servers on first use, and stop them after the module."""
    with valkey_server.urls() as started:
        yield started
