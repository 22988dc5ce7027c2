"""The ASGI client without sockets, on trio and on asyncio."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from anyio import create_memory_object_stream
from anyio.lowlevel import checkpoint

from roundel import Event, History, Stream
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.testing import AsgiClient, LifespanFailed
from roundel_adapters.wakeup import Wakeup
from support.asgi_apps import START, body_message
from support.asgi_peer import all_tasks_wait, approx, on_both_loops


async def echo(scope, receive, send):
    """Send each chunk of the request body back, in upper case."""
    await send(START)
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send(body_message(message.get("body", b"").upper(), more=more))


@on_both_loops
async def test_body_is_sent_while_the_response_is_read():
    """A response can be read while the request body is sent."""
    sender, body = create_memory_object_stream[bytes](0)
    async with body, AsgiClient(echo).open("POST", "/", body=body) as response:
        await sender.send(b"one")
        first = await response.next_chunk()
        await sender.send(b"two")
        second = await response.next_chunk()
        sender.close()

        assert [b"ONE", b"TWO", b""] == [first, second, await response.next_chunk()]
        assert await response.next_chunk() is None
        assert response.status == 200


@on_both_loops
async def test_application_waits_for_a_slow_reader():
    """With `open()` the application waits until a chunk is read."""
    sent = []

    async def app(scope, receive, send):
        await send(START)
        for number in range(3):
            await send(body_message(b"x"))
            sent.append(number)

    async with AsgiClient(app).open("GET", "/") as response:
        await all_tasks_wait()
        before = len(sent)
        await response.next_chunk()
        await all_tasks_wait()

        assert (0, 1) == (before, len(sent))
        assert response.headers == {}


@on_both_loops
async def test_iterable_body():
    """`request()` accepts an iterable body."""

    async def chunks():
        yield b"a"
        yield b"b"

    response = await AsgiClient(echo).request("POST", "/", body=chunks())

    assert b"AB" == response.body


@on_both_loops
async def test_disconnect_during_the_body():
    """Leaving the block disconnects, and closes the body's iterator."""
    received, ended = [], []

    async def app(scope, receive, send):
        await send(START)
        while not received or received[-1] != "http.disconnect":
            received.append((await receive())["type"])

    async def chunks():
        try:
            yield b"a"
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with AsgiClient(app).open("POST", "/", body=chunks()):
        await all_tasks_wait()

    assert ["http.request", "http.disconnect"] == received
    assert ended


@on_both_loops
async def test_response_before_the_end_of_the_body():
    """A response before the end of the request body closes the body's iterator."""
    ended = []

    async def app(scope, receive, send):
        await send(START)
        await send(body_message(b"no", more=False))

    async def chunks():
        try:
            yield b"a"
        finally:
            ended.append(True)

    response = await AsgiClient(app).request("POST", "/", body=chunks())

    assert b"no" == response.body
    assert ended


@on_both_loops
async def test_send_after_the_disconnect():
    """A send after the disconnect does not fail."""
    done = []

    async def app(scope, receive, send):
        await send(START)
        await receive()
        await receive()
        await send(body_message(b"late"))
        done.append(True)

    async with AsgiClient(app).open("GET", "/"):
        pass

    assert done


@on_both_loops
async def test_header_with_several_values():
    """A header with a list is sent once per value; the path is decoded."""
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)
        await send(START)
        await send(body_message(b"", more=False))

    client = AsgiClient(app, headers={"Host": "a.test"})
    await client.with_headers({"Cookie": ["a=1", "b=2"]}).request("GET", "/x%20y?z=%20")

    (scope,) = scopes
    assert ("/x y", b"/x%20y", b"z=%20") == (
        scope["path"],
        scope["raw_path"],
        scope["query_string"],
    )
    assert [
        (b"host", b"a.test"),
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
    ] == scope["headers"]


class Page:
    """An application with one topic."""

    def __init__(self):
        self.history = History("e", snapshot=Event("start"))
        self.wakeup = Wakeup()
        self.stream = None

    async def __call__(self, scope, receive, send):
        self.stream = Stream(self.history, now=anyio.current_time(), retry=2000)
        await StreamResponse(self.stream, self.wakeup)(scope, receive, send)

    def publish(self, text):
        self.history.append(Event(text), now=anyio.current_time())
        self.wakeup.notify()


@on_both_loops
async def test_event_stream():
    """Events are read one by one, or all that have arrived."""
    page = Page()
    async with AsgiClient(page).stream("/") as stream:
        first = await stream.next_event()
        page.publish("one")
        page.publish("two")
        await all_tasks_wait()
        ready = stream.ready_events()

        assert (200, "text/event-stream; charset=utf-8") == (
            stream.status, stream.headers["content-type"],
        )  # fmt: skip
        assert ["start", "one", "two"] == [event.data for event in [first, *ready]]
        assert ("e.2", 2000) == (stream.last_event_id, stream.retry)
        assert [] == stream.ready_events()
        page.stream.close()
        page.wakeup.notify()
        assert await stream.next_event() is None
    assert not page.stream.is_open


@on_both_loops
async def test_leaving_the_block_disconnects():
    """Leaving the block ends the response, also by an error."""
    page = Page()
    failed = False
    try:
        async with AsgiClient(page).stream("/") as stream:
            await stream.next_event()
            _ = [][0]
    except* IndexError:
        failed = True

    assert failed
    assert not page.stream.is_open
    assert not page.wakeup.wakers


@on_both_loops
async def test_time_passes_while_a_stream_is_silent():
    """A test waits for the stream's heartbeat in virtual time."""
    page = Page()
    async with AsgiClient(page).stream("/") as stream:
        await stream.next_event()
        await anyio.sleep(3600)
        page.publish("late")

        assert "late" == (await stream.next_event()).data
        assert 3600.0 == approx(anyio.current_time())


@on_both_loops
async def test_error_of_the_application():
    """An error of the application is raised by the client."""

    async def app(scope, receive, send):
        await checkpoint()
        raise KeyError("slot")

    raised = False
    try:
        await AsgiClient(app).request("GET", "/")
    except* KeyError:
        raised = True

    assert raised


@on_both_loops
async def test_application_without_a_response():
    """An application that sends nothing has status 0."""

    async def app(scope, receive, send):
        await receive()

    response = await AsgiClient(app).request("GET", "/")

    assert (0, b"") == (response.status, response.body)


@on_both_loops
async def test_failed_assertion_is_reported_as_such():
    """An error in the block is raised without a group around it."""
    with pytest.raises(AssertionError, match=r"^expected two$"):
        async with AsgiClient(Page()).stream("/"):
            raise AssertionError("expected two")


@on_both_loops
async def test_only_the_error_of_the_application_is_reported():
    """An application that fails before its response fails the test by its own error."""

    async def app(scope, receive, send):
        raise KeyError("slot")

    with pytest.raises(KeyError, match="slot"):
        async with AsgiClient(app).open("GET", "/") as response:
            assert response.status == 200


@on_both_loops
async def test_group_of_the_block_stays_a_group():
    """A group that the test or the application raises itself is not taken apart."""
    mine = ExceptionGroup("mine", [ValueError("one")])
    with pytest.raises(ExceptionGroup) as raised:
        async with AsgiClient(Page()).stream("/"):
            raise mine

    assert (mine.message, mine.exceptions) == (
        raised.value.message, raised.value.exceptions,
    )  # fmt: skip


@on_both_loops
async def test_two_errors_are_a_group():
    """An error of the application after one of the block hides neither."""

    async def app(scope, receive, send):
        await send(START)
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("slot")

    with pytest.raises(BaseExceptionGroup) as raised:
        async with AsgiClient(app).open("GET", "/"):
            raise AssertionError("expected two")

    assert {KeyError, AssertionError} == set(map(type, raised.value.exceptions))


@on_both_loops
async def test_http_version():
    """The application sees the version of HTTP that the test sets."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["http_version"])
        await send(START)
        await send(body_message(b"", more=False))

    await AsgiClient(app).request("GET", "/")
    await AsgiClient(app, http_version="2").with_headers({}).request("GET", "/")

    assert ["1.1", "2"] == seen


@on_both_loops
async def test_each_cookie_of_a_response():
    """Several `Set-Cookie` fields are kept apart, and read by name."""
    fields = [
        (b"Set-Cookie", b"session=abc; Path=/; HttpOnly"),
        (b"set-cookie", b"theme=dark"),
        (b"Vary", b"Accept"),
        (b"Vary", b"Origin"),
    ]

    async def app(scope, receive, send):
        await send({**START, "headers": fields})
        await send(body_message(b"", more=False))

    headers = (await AsgiClient(app).request("GET", "/")).headers

    assert {"session": "abc", "theme": "dark"} == headers.cookies
    assert ["session=abc; Path=/; HttpOnly", "theme=dark"] == headers.getlist(
        "Set-Cookie"
    )
    assert "Accept, Origin" == headers["VARY"]
    assert ["set-cookie", "vary"] == list(headers)
    assert 2 == len(headers)
    assert headers.get("etag") is None
    assert "('vary', 'Origin')" in repr(headers)


class AppWithLifespan:
    """An application that notes what it received; the startup sets a state."""

    def __init__(self, *, fails=None):
        self.fails = fails
        self.received = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            self.received.append(dict(scope["state"]))
            scope["state"]["of"] = "one request"
            await send(START)
            await send(body_message(b"", more=False))
            return
        scope["state"]["database"] = "open"
        for phase in ("lifespan.startup", "lifespan.shutdown"):
            self.received.append((await receive())["type"])
            if self.fails == phase:
                await send({"type": f"{phase}.failed", "message": "no database"})
                await anyio.sleep_forever()
            await send({"type": f"{phase}.complete"})


@on_both_loops
async def test_lifespan():
    """The startup's state is that of each request; then the shutdown runs."""
    app = AppWithLifespan()
    async with AsgiClient(app).lifespan() as client:
        await client.request("GET", "/")
        await client.request("GET", "/")

    state = {"database": "open"}
    assert ["lifespan.startup", state, state, "lifespan.shutdown"] == app.received


@on_both_loops
async def test_shutdown_after_an_error_in_the_block():
    """The shutdown runs also if the test fails."""
    app = AppWithLifespan()
    with pytest.raises(AssertionError, match="mine"):
        async with AsgiClient(app).lifespan():
            raise AssertionError("mine")

    assert ["lifespan.startup", "lifespan.shutdown"] == app.received


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
@on_both_loops
async def test_failed_lifespan(phase):
    """A failed startup or shutdown is an error with the application's reason."""
    app = AppWithLifespan(fails=f"lifespan.{phase}")
    with pytest.raises(LifespanFailed, match=f"complete {phase}, got: no database"):
        async with AsgiClient(app).lifespan():
            pass


@on_both_loops
async def test_application_without_a_lifespan():
    """An application that raises or returns instead is an error."""

    async def returns(scope, receive, send):
        await checkpoint()

    async def raises(scope, receive, send):
        raise ValueError("only http")

    with pytest.raises(LifespanFailed, match="the end of the application"):
        async with AsgiClient(returns).lifespan():
            pass
    with pytest.raises(ValueError, match="only http"):
        async with AsgiClient(raises).lifespan():
            pass


@on_both_loops
async def test_last_event_id_is_that_of_the_last_event_read():
    """Events that have arrived in the same chunk, and are not read, are not lost."""
    chunk = b"id: 0\n\ndata: a\n\ndata: b\nid: 2\n\ndata: c\nid: 3\n\nid: 4\n\n"

    async def app(scope, receive, send):
        await send(START)
        await send(body_message(chunk, more=False))

    async with AsgiClient(app).stream("/") as stream:
        ids = [stream.last_event_id]
        while await stream.next_event():
            ids.append(stream.last_event_id)

    assert ["", "0", "2", "4"] == ids


def in_tasks_of_their_own(context):
    """Return functions that enter and leave *context* as pytest-asyncio's fixtures."""

    async def enter():
        return await context.__aenter__()

    async def leave():
        await context.__aexit__(None, None, None)

    return lambda: asyncio.create_task(enter()), lambda: asyncio.create_task(leave())


def test_fixtures_that_end_in_another_task():
    """A fixture of pytest-asyncio can yield a client, or a stream."""
    app = AppWithLifespan()

    async def use_fixtures():
        start, stop = in_tasks_of_their_own(AsgiClient(app).lifespan())
        client = await start()
        connect, disconnect = in_tasks_of_their_own(client.stream("/"))
        assert 200 == (await connect()).status
        await disconnect()
        await stop()

    asyncio.run(use_fixtures())
    assert "lifespan.shutdown" == app.received[-1]


def test_error_of_an_application_that_a_fixture_runs(caplog):
    """The error is raised when the fixture ends, though its first task is gone."""

    async def app(scope, receive, send):
        await send(START)
        raise ValueError("mine")

    async def use_fixture():
        connect, disconnect = in_tasks_of_their_own(AsgiClient(app).stream("/"))
        await connect()
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="mine"):
            await disconnect()

    asyncio.run(use_fixture())
