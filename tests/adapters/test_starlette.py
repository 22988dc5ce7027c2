"""Streams as responses of Starlette, FastAPI and Litestar, without a server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import pytest
import trio
from fastapi import BackgroundTasks, Cookie, Depends, FastAPI, Response
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.routing import Route

from roundel import CloseMessage, Event, History, Stream
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.starlette import EventStreamResponse, last_event_id
from roundel_adapters.testing import AsgiClient
from roundel_adapters.topics import Topics
from roundel_adapters.wakeup import Wakeup


def stream():
    """Make a stream whose topic has a snapshot."""
    topics = Topics(signals=False)
    topics.publish("a", Event("one"), snapshot=Event("one"))
    return topics.stream("a")


def starlette_app(respond, path="/"):
    async def endpoint(request):
        return respond()

    return Starlette(routes=[Route(path, endpoint)])


@asynccontextmanager
async def opened(app, target="/", **headers):
    """Open a stream and yield it with the response's raw headers."""
    sent = []

    async def recording(scope, receive, send):
        async def record(message):
            sent.append(message)
            await send(message)

        await app(scope, receive, record)

    client = AsgiClient(recording)
    with trio.fail_after(10):
        async with client.stream(target, headers=headers) as response:
            yield response, sent[0]["headers"]


def values(fields, name):
    return [value for key, value in fields if key == name]


async def test_response_has_each_header_once():
    """The application's headers replace those of a stream, and are not repeated."""
    own = {"Cache-Control": "no-cache", "X-App": "1"}
    app = starlette_app(lambda: EventStreamResponse(stream(), headers=own))
    async with opened(app) as (_, fields):
        assert [b"no-cache"] == values(fields, b"cache-control")
        assert [b"1"] == values(fields, b"x-app")
        assert [b"text/event-stream; charset=utf-8"] == values(fields, b"content-type")
        assert [b"no"] == values(fields, b"x-accel-buffering")
        assert [] == values(fields, b"content-length")


async def test_headers_can_be_changed_after_the_response_was_made():
    """Cookies and headers of the response object are sent."""

    def respond():
        response = EventStreamResponse(stream())
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        response.headers["cache-control"] = "private"
        return response

    async with opened(starlette_app(respond)) as (_, fields):
        cookies = [value.split(b";")[0] for value in values(fields, b"set-cookie")]
        assert [b"a=1", b"b=2"] == cookies
        assert [b"private"] == values(fields, b"cache-control")


async def test_background_task_runs_at_the_end():
    """A background task runs when the stream has ended, and after a disconnect."""
    ended = []

    def respond():
        closed = stream()
        closed.close(CloseMessage(Event("over")))
        return EventStreamResponse(closed, background=BackgroundTask(ended.append, 1))

    async with opened(starlette_app(respond)) as (response, _):
        assert "over" == (await response.next_event()).data
        assert await response.next_event() is None
    assert [1] == ended

    task = BackgroundTask(ended.append, 2)
    app = starlette_app(lambda: EventStreamResponse(stream(), background=task))
    async with opened(app) as (response, _):
        await response.next_event()
        assert [1] == ended
    assert [1, 2] == ended


async def test_head_has_the_headers_alone():
    """`HEAD` ends at once, with the headers of the response to `GET`."""
    app = starlette_app(lambda: EventStreamResponse(stream(), headers={"X-App": "1"}))
    response = await AsgiClient(app).request("HEAD", "/")

    assert (200, b"") == (response.status, response.body)
    assert "1" == response.headers["x-app"]


def test_a_bare_stream_needs_a_wakeup():
    """A missing wakeup is an error where the response is made."""
    history = History("e")

    with pytest.raises(TypeError, match="wakeup"):
        EventStreamResponse(Stream(history, now=0.0))
    assert EventStreamResponse(Stream(history, now=0.0), Wakeup())


async def test_last_event_id_is_that_of_the_header_or_the_query():
    """The header takes precedence, since the query is outdated after a reconnect."""
    seen = []

    async def endpoint(request):
        seen.append(last_event_id(request))
        return EventStreamResponse(stream())

    app = Starlette(routes=[Route("/", endpoint)])
    query = "/?lastEventId=q.1"
    for target, headers in (
        ("/", {}),
        (query, {}),
        (query, {"Last-Event-ID": "h.1"}),
        ("/", {"Last-Event-ID": "ü".encode().decode("latin-1")}),
    ):
        async with opened(app, target, **headers):
            pass

    assert ["", "q.1", "h.1", "ü"] == seen


LOG: list[str] = []


async def session(response: Response) -> AsyncIterator[str]:
    response.set_cookie("session", "s1")
    response.headers["X-Dependency"] = "1"
    yield "s1"
    LOG.append("dependency")


def fastapi_app():
    """Make an application with all that FastAPI does around an endpoint."""
    app = FastAPI()

    @app.get("/annotated")
    async def annotated(
        request: Request,
        response: Response,
        session: Annotated[str, Depends(session)],
        last: Annotated[str, Depends(last_event_id)],
        background: BackgroundTasks,
        user: Annotated[str, Cookie()] = "none",
    ) -> EventStreamResponse:
        background.add_task(LOG.append, "background")
        LOG.append(f"{user} {last}")
        return EventStreamResponse(stream(), headers=response.headers)

    @app.get("/class", response_class=EventStreamResponse)
    def with_class() -> EventStreamResponse:
        return EventStreamResponse(stream())

    return app


async def test_fastapi_runs_its_dependencies():
    """Dependencies, their cookies and headers, and background tasks work."""
    LOG.clear()
    app = fastapi_app()
    sent = {"Cookie": "user=alice", "Last-Event-ID": "e.1"}
    async with opened(app, "/annotated", **sent) as (response, fields):
        assert "one" == (await response.next_event()).data
        assert [b"1"] == values(fields, b"x-dependency")
        assert 1 == len(values(fields, b"set-cookie"))
        assert values(fields, b"set-cookie")[0].startswith(b"session=s1;")
        assert ["alice e.1"] == LOG

    assert ["alice e.1", "background", "dependency"] == LOG


async def test_fastapi_dependency_can_end_before_the_stream():
    """A dependency with the scope of the function does not last as long as a stream."""
    LOG.clear()
    app = FastAPI()

    @app.get("/")
    async def events(
        session: Annotated[str, Depends(session, scope="function")],
    ) -> EventStreamResponse:
        return EventStreamResponse(stream())

    async with opened(app) as (response, _):
        assert "one" == (await response.next_event()).data
        assert ["dependency"] == LOG


async def test_fastapi_endpoint_can_be_a_plain_function():
    """An endpoint that runs in a thread can return a stream."""
    async with opened(fastapi_app(), "/class") as (response, _):
        assert "one" == (await response.next_event()).data


def test_fastapi_documents_an_event_stream():
    """OpenAPI shows the content type of the response class."""
    document = fastapi_app().openapi()
    response = document["paths"]["/class"]["get"]["responses"]["200"]

    assert ["text/event-stream"] == list(response["content"])


async def test_litestar_accepts_the_response():
    """A Litestar handler returns the response, by its annotation."""

    @get("/")
    async def events() -> EventStreamResponse:
        return EventStreamResponse(stream(), headers={"X-App": "1"})

    app = Litestar([events], openapi_config=None)
    async with opened(app) as (response, fields):
        assert "one" == (await response.next_event()).data
        assert [b"1"] == values(fields, b"x-app")


@pytest.mark.parametrize("response_class", [EventStreamResponse, StreamResponse])
async def test_litestar_documents_an_endpoint_with_a_stream(response_class):
    """OpenAPI of Litestar shows the endpoint, whatever the response has inside."""

    async def events():
        return response_class(stream())

    events.__annotations__["return"] = response_class
    app = Litestar([get("/", media_type="text/event-stream")(events)])
    answer = await AsgiClient(app).request("GET", "/schema/openapi.json")

    assert 200 == answer.status
    shown = json.loads(answer.body)["paths"]["/"]["get"]["responses"]["200"]
    assert {"text/event-stream": {"schema": {}}} == shown["content"]
