"""The ASGI client without sockets, with applications of a few lines."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from roundel_adapters.testing import AsgiClient
from support.asgi_apps import START, body_message


async def echo(scope, receive, send):
    """Send each chunk of the request body back, in upper case."""
    await send(START)
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send(body_message(message.get("body", b"").upper(), more=more))


async def test_body_is_sent_while_the_response_is_read(autojump_clock):
    """A response can be read while the request body is sent."""
    sender, body = trio.open_memory_channel[bytes](0)
    async with AsgiClient(echo).open("POST", "/", body=body) as response:
        await sender.send(b"one")
        first = await response.next_chunk()
        await sender.send(b"two")
        second = await response.next_chunk()
        sender.close()

        assert [b"ONE", b"TWO", b""] == [first, second, await response.next_chunk()]
        assert await response.next_chunk() is None
        assert response.status == 200


async def test_application_waits_for_a_slow_reader(autojump_clock):
    """With `open()` the application waits until a chunk is read."""
    sent = []

    async def app(scope, receive, send):
        await send(START)
        for number in range(3):
            await send(body_message(b"x"))
            sent.append(number)

    async with AsgiClient(app).open("GET", "/") as response:
        await wait_all_tasks_blocked()
        before = len(sent)
        await response.next_chunk()
        await wait_all_tasks_blocked()

        assert (0, 1) == (before, len(sent))
        assert response.headers == {}


async def test_iterable_body(autojump_clock):
    """`request()` accepts an iterable body."""

    async def chunks():
        yield b"a"
        yield b"b"

    response = await AsgiClient(echo).request("POST", "/", body=chunks())

    assert b"AB" == response.body


async def test_disconnect_during_the_body(autojump_clock):
    """Leaving the block disconnects, and closes the body's iterator."""
    received, ended = [], []

    async def app(scope, receive, send):
        await send(START)
        while not received or received[-1] != "http.disconnect":
            received.append((await receive())["type"])

    async def chunks():
        try:
            yield b"a"
            await trio.sleep_forever()
        finally:
            ended.append(True)

    async with AsgiClient(app).open("POST", "/", body=chunks()):
        await wait_all_tasks_blocked()

    assert ["http.request", "http.disconnect"] == received
    assert ended


async def test_response_before_the_end_of_the_body(autojump_clock):
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


async def test_send_after_the_disconnect(autojump_clock):
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


async def test_header_with_several_values(autojump_clock):
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
