"""A store for the tests of a module, which is empty at the start of each test."""

from __future__ import annotations

import pytest

from support import valkey_server


@pytest.fixture(scope="module", params=valkey_server.mainly("redis"))
def shared_store(request):
    with valkey_server.server(request.param) as server:
        yield server


@pytest.fixture
def store(shared_store):
    shared_store.execute("FLUSHALL")
    return shared_store
