"""Streams as responses of Django, under WSGI and under ASGI, without a server."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from math import inf

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from roundel import CloseMessage, Event
from roundel_adapters.django import EventStreamResponse, last_event_id
from roundel_adapters.testing import AsgiClient, WsgiClient
from roundel_adapters.topics import Topics
from support.asgi_peer import Peer
from support.frameworks import django_app

BYE = CloseMessage(Event("over", "bye"), 7_000)

COMMENT = b":seen\n"

user = ContextVar("user", default="nobody")


class Application:
    """What the views of a test use: one topic, and a log."""

    def __init__(self, **options):
        self.options = options
        self.topics = Topics(close_message=lambda: BYE, signals=False)
        self.topics.publish("news", Event("first"), snapshot=Event("first"))
        self.log = []
        self.stream = self.database = None
        self.threads = []

    @contextmanager
    def lifespan(self):
        self.log.append("enter")
        try:
            yield
        finally:
            self.log.append("exit")

    def publish(self, text):
        self.topics.publish("news", Event(text))

    def respond(self, request):
        self.stream = self.topics.stream(
            "news",
            last_event_id=last_event_id(request),
            hello=lambda info: Event(f"{info.outcome} {user.get()}", "hello"),
        )
        return EventStreamResponse(
            request, self.stream, lifespan=self.lifespan(), **self.options
        )

    def use_database(self):
        connection.ensure_connection()
        self.database = connection._connections[connection._alias]
        self.threads.append(threading.current_thread())


site = Application()


def sync_view(request):
    site.use_database()
    return site.respond(request)


async def async_view(request):
    return site.respond(request)


urlpatterns = [
    path("sync", sync_view),
    path("async", async_view),
]


def set_user(get_response):
    """Set the user, and reset it when the view has returned."""

    def middleware(request):
        token = user.set("alice")
        try:
            return get_response(request)
        finally:
            user.reset(token)

    return middleware


def replace_response(get_response):
    def middleware(request):
        response = get_response(request)
        response.close()
        return HttpResponse("replaced")

    return middleware


def add_comments(get_response):
    """Change the chunks, as a compressor does."""

    def middleware(request):
        response = get_response(request)
        chunks = response.streaming_content
        if response.is_async:
            response.streaming_content = with_comments(chunks)
        else:
            response.streaming_content = (COMMENT + c for c in chunks)
        return response

    async def with_comments(chunks):
        async for chunk in chunks:
            yield COMMENT + chunk

    return middleware


@pytest.fixture(autouse=True)
def settings():
    assert django_app.settings.configured
    site.__init__()
    middleware = ["django.middleware.gzip.GZipMiddleware", f"{__name__}.set_user"]
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=middleware):
        yield partial(override_settings, ROOT_URLCONF=__name__)


def on_asyncio(scenario):
    """Make a test of *scenario*, which Django runs on asyncio."""

    def test(**arguments):
        with asyncio.Runner(debug=False) as runner:
            runner.run(asyncio.wait_for(scenario(**arguments), 30))

    test.__doc__ = scenario.__doc__
    return test


# WSGI.


def test_wsgi_stream():
    """A view returns a stream, whose events arrive, and which a client resumes."""
    client = WsgiClient(WSGIHandler(), headers={"Accept-Encoding": "gzip"})
    with client.stream("/sync") as stream:
        assert ["snapshot alice", "first"] == [
            stream.next_event().data for _ in range(2)
        ]
        site.publish("live")
        assert "live" == stream.next_event().data
        assert ["enter"] == site.log
        assert "text/event-stream; charset=utf-8" == stream.headers["content-type"]
        assert "content-encoding" not in stream.headers
        # PEP 3333: hop-by-hop headers belong to the server.
        assert "connection" not in stream.headers
        last = stream.last_event_id
    assert ["enter", "exit"] == site.log
    assert not site.stream.is_open
    site.publish("missed")
    for target, headers in (
        ("/sync", {"Last-Event-ID": last}),
        (f"/sync?lastEventId={last}", {}),
    ):
        with client.stream(target, headers=headers) as stream:
            assert ["replayed alice", "missed"] == [
                stream.next_event().data for _ in range(2)
            ]


def test_wsgi_database_connection():
    """A stream holds no database connection of its view, except a transaction's."""
    with WsgiClient(WSGIHandler()).stream("/sync") as stream:
        assert site.database.connection is not None
        stream.next_event()
        assert site.database.connection is None
    with (
        transaction.atomic(),
        WsgiClient(WSGIHandler()).stream("/sync") as stream,
    ):
        stream.next_event()
        assert site.database.connection is not None
    connection.close()


def test_wsgi_head():
    """HEAD gets the headers alone, and closes the stream."""
    response = WsgiClient(WSGIHandler()).request("HEAD", "/sync")

    assert (200, b"", []) == (response.status, response.body, site.log)
    assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
    assert not site.stream.is_open


def test_wsgi_middleware(settings):
    """Middleware can change the chunks, or replace the response."""
    with settings(MIDDLEWARE=[f"{__name__}.add_comments"]):
        with WsgiClient(WSGIHandler()).stream("/sync") as stream:
            stream.next_event()
        assert ["enter", "exit"] == site.log
        assert not site.stream.is_open
    with settings(MIDDLEWARE=[f"{__name__}.replace_response"]):
        assert b"replaced" == WsgiClient(WSGIHandler()).request("GET", "/sync").body
        assert not site.stream.is_open


def test_wsgi_finished_signal():
    """Django's signal comes once, at the end of the stream."""
    calls = []

    def receiver(**arguments):
        calls.append(list(site.log))

    request_finished.connect(receiver)
    try:
        with WsgiClient(WSGIHandler()).stream("/sync") as stream:
            stream.next_event()
            assert [] == calls
    finally:
        request_finished.disconnect(receiver)

    assert [["enter", "exit"]] == calls


def test_own_headers():
    """Headers are pairs or a mapping, and replace those of a stream."""
    for headers in ({"X-App": "1"}, [("X-App", "1"), ("cache-control", "no-store")]):
        site.options = {"headers": headers}
        with WsgiClient(WSGIHandler()).stream("/sync") as stream:
            assert "1" == stream.headers["x-app"]

    assert "no-store" == stream.headers["cache-control"]


def test_django_client():
    """Django's test client reads the chunks of a stream."""
    response = Client().get("/sync")
    chunks = iter(response.streaming_content)

    assert b"data: first" in next(chunks)
    response.close()
    assert ["enter", "exit"] == site.log


# ASGI.


@on_asyncio
async def test_asgi_stream():
    """A view returns a stream, whose events arrive, and which a client resumes."""
    client = AsgiClient(ASGIHandler()).with_headers({"Accept-Encoding": "gzip"})
    for view in ("/sync", "/async"):
        site.log.clear()
        async with client.stream(view) as stream:
            hello = await stream.next_event()
            while (await stream.next_event()).data != "first":
                pass
            site.publish("live")
            assert "live" == (await stream.next_event()).data
            assert "snapshot alice" == hello.data
            assert "content-encoding" not in stream.headers
            assert ["enter"] == site.log
            last = stream.last_event_id
        assert ["enter", "exit"] == site.log
        assert not site.stream.is_open
        site.publish("first")
    async with client.stream("/sync", headers={"Last-Event-ID": last}) as stream:
        assert "replayed alice" == (await stream.next_event()).data
        site.topics.close()
        while (event := await stream.next_event()) is not None:
            last_event = event

    assert "bye" == last_event.type
    assert ["enter", "exit"] * 2 == site.log


@on_asyncio
async def test_asgi_thread_and_database_connection():
    """A stream holds neither the thread nor a database connection of its view."""
    async with AsgiClient(ASGIHandler()).stream("/sync") as stream:
        await stream.next_event()
        await asyncio.to_thread(site.threads[0].join, 10)

        assert site.database.connection is None
        assert not site.threads[0].is_alive()


@on_asyncio
async def test_asgi_head():
    """HEAD gets the headers alone, and closes the stream."""
    response = await AsgiClient(ASGIHandler()).request("HEAD", "/async")

    assert (200, b"", []) == (response.status, response.body, site.log)
    assert not site.stream.is_open


def peer_of(view):
    peer = Peer(ASGIHandler())
    peer.scope |= {"path": view, "headers": [(b"host", b"testserver")]}
    peer.scope |= {"query_string": b"", "server": ("testserver", 80)}
    return peer


async def until(condition):
    while not condition():  # noqa: ASYNC110, it is set by a peer without events
        await asyncio.sleep(0.001)


@on_asyncio
async def test_asgi_peer_that_does_not_read():
    """A write that takes too long ends the response, without an error."""
    site.options = {"write_timeout": 0.02}
    peer = peer_of("/async")
    task = asyncio.create_task(peer.run())
    await until(lambda: peer.chunks)
    peer.may_send = asyncio.Event()
    site.publish("lost")
    await task

    assert ["enter", "exit"] == site.log
    assert not site.stream.is_open


@on_asyncio
async def test_asgi_disconnect_within_a_write():
    """A peer that disconnects during a write ends the stream at once."""
    site.options = {"write_timeout": inf}
    peer = peer_of("/async")
    task = asyncio.create_task(peer.run())
    await until(lambda: peer.chunks)
    peer.may_send = asyncio.Event()
    site.publish("lost")
    await asyncio.sleep(0)
    peer.disconnect.set()
    await task

    assert ["enter", "exit"] == site.log
    assert not site.stream.is_open


@on_asyncio
async def test_asgi_middleware():
    """Middleware can change the chunks; a disconnect still ends the stream."""
    middleware = [f"{__name__}.add_comments"]
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=middleware):
        peer = peer_of("/async")
        task = asyncio.create_task(peer.run())
        await until(lambda: peer.chunks)
        peer.disconnect.set()
        await task
        await until(lambda: "exit" in site.log)

    assert peer.chunks[0].startswith(COMMENT)
    assert "snapshot nobody" in peer.received
    assert not site.stream.is_open


@on_asyncio
async def test_async_django_client():
    """Django's asynchronous test client reads the chunks of a stream."""
    response = await AsyncClient().get("/async")
    chunks = aiter(response)

    assert b"data: first" in await anext(chunks)
    await chunks.aclose()
    response.close()
    assert not site.stream.is_open
