"""An application that is created after the server listens."""

from __future__ import annotations

from functools import partial
from threading import Event

import trio

from roundel_adapters.server.dispatcher.handoff import EXTENSION
from roundel_service.http.apps.deferred_app import DeferredApp


async def recording(calls: list, scope, receive, send) -> None:
    calls.append(scope)


def http_scope(**extensions) -> dict:
    return {"type": "http", "extensions": extensions}


async def test_application_is_created_for_its_first_request():
    """Without a load, the first request creates it; the next one uses it."""
    calls, created = [], []
    deferred = DeferredApp(lambda: created.append(1) or partial(recording, calls))

    assert [] == created
    for _ in range(2):
        await deferred(http_scope(), None, None)

    assert [1] == created
    assert [http_scope()] * 2 == calls


async def test_requests_wait_for_a_load_in_a_thread():
    """The loop is free while the application is created, and no request is lost."""
    calls, go = [], Event()
    deferred = DeferredApp(lambda: go.wait(10) and partial(recording, calls))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deferred.load)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            nursery.start_soon(deferred, http_scope(), None, None)
        await trio.testing.wait_all_tasks_blocked()
        assert [] == calls
        go.set()

    assert 3 == len(calls)


async def test_end_waits_for_a_load():
    """An exit during the import of a native module would abort the process."""
    go, has_ended = Event(), trio.Event()
    deferred = DeferredApp(lambda: go.wait(10) and recording)

    async def load() -> None:
        try:
            await deferred.load()
        finally:
            has_ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(load)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
        assert not has_ended.is_set()
        go.set()

    assert has_ended.is_set()


async def test_lifespan_creates_nothing():
    """The server starts at once: the lifespan is answered without the application."""
    sent = []
    deferred = DeferredApp(lambda: 1 / 0)

    async def receive() -> dict:
        return {}

    async def send(message) -> None:
        sent.append(message["type"])

    await deferred({"type": "lifespan"}, receive, send)

    assert ["lifespan.startup.complete", "lifespan.shutdown.complete"] == sent


async def test_application_may_hand_off_streams_as_if_served_itself():
    """The extension names the application, but only if it named this wrapper."""
    calls = []
    app = partial(recording, calls)
    deferred = DeferredApp(lambda: app)
    other = object()

    for named in (deferred, other):
        extension = {"app": named, "send": None}
        await deferred(http_scope(**{EXTENSION: extension}), None, None)

    handed = [scope["extensions"][EXTENSION]["app"] for scope in calls]
    assert app is handed[0]
    assert other is handed[1]
