"""The client that needs no socket, against applications of a few lines."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from roundel_adapters.testing import AsgiClient


async def _start(send):
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def _piece(send, body, *, more=True):
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def echo(scope, receive, send):
    """Answer each piece of the body as it comes."""
    await _start(send)
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await _piece(send, message.get("body", b"").upper(), more=more)


async def test_body_is_sent_while_the_answer_is_read(autojump_clock):
    """The first piece is answered before the last one exists."""
    sender, body = trio.open_memory_channel[bytes](0)
    async with AsgiClient(echo).open("POST", "/", body=body) as answer:
        await sender.send(b"one")
        first = await answer.next_chunk()
        await sender.send(b"two")
        second = await answer.next_chunk()
        sender.close()

        assert [b"ONE", b"TWO", b""] == [first, second, await answer.next_chunk()]
        assert await answer.next_chunk() is None
        assert answer.status == 200


async def test_open_answer_is_not_taken_before_it_is_read(autojump_clock):
    """An application is held back by who reads slowly."""
    sent = []

    async def app(scope, receive, send):
        await _start(send)
        for number in range(3):
            await _piece(send, b"x")
            sent.append(number)

    async with AsgiClient(app).open("GET", "/") as answer:
        await wait_all_tasks_blocked()
        before = len(sent)
        await answer.next_chunk()
        await wait_all_tasks_blocked()

        assert (0, 1) == (before, len(sent))
        assert answer.headers == {}


async def test_body_in_pieces_is_whole_in_a_plain_request(autojump_clock):
    """A request takes its body from an iterable just as well."""

    async def pieces():
        yield b"a"
        yield b"b"

    answer = await AsgiClient(echo).request("POST", "/", body=pieces())

    assert b"AB" == answer.body


async def test_leaving_disconnects_in_the_middle_of_the_body(autojump_clock):
    """The application is told that its peer is gone, and the sender is ended."""
    received, ended = [], []

    async def app(scope, receive, send):
        await _start(send)
        while not received or received[-1] != "http.disconnect":
            received.append((await receive())["type"])

    async def pieces():
        try:
            yield b"a"
            await trio.sleep_forever()
        finally:
            ended.append(True)

    async with AsgiClient(app).open("POST", "/", body=pieces()):
        await wait_all_tasks_blocked()

    assert ["http.request", "http.disconnect"] == received
    assert ended


async def test_sender_that_nobody_receives_from_is_ended(autojump_clock):
    """An application that answers without reading leaves no task behind."""
    ended = []

    async def app(scope, receive, send):
        await _start(send)
        await _piece(send, b"no", more=False)

    async def pieces():
        try:
            yield b"a"
        finally:
            ended.append(True)

    answer = await AsgiClient(app).request("POST", "/", body=pieces())

    assert b"no" == answer.body
    assert ended


async def test_what_is_sent_after_the_disconnect_is_lost(autojump_clock):
    """An application does not fail because its peer is gone."""
    done = []

    async def app(scope, receive, send):
        await _start(send)
        await receive()
        await receive()
        await _piece(send, b"late")
        done.append(True)

    async with AsgiClient(app).open("GET", "/"):
        pass

    assert done


async def test_field_is_sent_for_each_of_its_values(autojump_clock):
    """A list repeats a field; the path arrives decoded."""
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)
        await _start(send)
        await _piece(send, b"", more=False)

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
