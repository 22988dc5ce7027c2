"""Queries: percent-encoded UTF-8, and nothing that only resembles it."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from support.service import body, data, events_so_far

GARBAGE = {
    "latin-1": "caf%E9",
    "cut": "%C3",
    "overlong": "%C0%AF",
    "surrogate": "%ED%A0%80",
    "too-large": "%F4%90%80%80",
    "lone-percent": "100%",
    "no-digits": "%zz",
    "one-digit": "a%2",
    "utf-16": "%u00e9",
}


@pytest.mark.parametrize("value", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("name", ["source", "user"])
async def test_garbage_is_422(autojump_clock, world, name, value):
    """Garbage is no text: it would select what another client named otherwise."""
    await world.notify("\ufffd", source="caf\ufffd")
    query = {"source": "s", name: value}
    target = "&".join(f"{name}={value}" for name, value in query.items())
    answer = await world.producer.request("DELETE", f"/v1/items?{target}")

    assert [name] == [error["field"] for error in body(answer, 422)["errors"]]
    assert 1 == (await world.badge("\ufffd"))["unread"]


@pytest.mark.parametrize("value", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_as_a_name_is_an_unknown_field(autojump_clock, world, value):
    """The problem names the parameter as far as it is text."""
    answer = await world.producer.request("DELETE", f"/v1/items?source=s&{value}=1")
    (error,) = body(answer, 422)["errors"]

    assert "unknown field" == error["detail"]


@pytest.mark.parametrize("value", GARBAGE.values(), ids=GARBAGE)
async def test_stream_takes_garbage_for_a_cursor_and_ignores_the_rest(
    autojump_clock, world, value
):
    """A 4xx would be final for a browser: the stream is reset instead."""
    target = f"/v1/stream?cursor={value}&{value}={value}&x={value}"
    async with world.user().stream(target) as stream:
        hello, _ = await events_so_far(stream)

    assert "reset" == data(hello)["resume"]


@pytest.mark.parametrize("value", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_is_no_ticket(autojump_clock, world, value):
    """A ticket that is no text is 401, like any other that was not issued."""
    answer = await world.anonymous.request("GET", f"/v1/stream?ticket={value}")

    assert 401 == answer.status


TEXTS = [
    "caf\u00e9",
    "a b",
    "a+b",
    "100%",
    "%C3%A9",
    "&=",
    "\ufffd",
    "\U0001f600",
    "\0",
]


@pytest.mark.parametrize("text", TEXTS)
async def test_text_selects_exactly_what_it_names(autojump_clock, world, text):
    """A source of any text is retracted by its percent-encoded form."""
    await world.notify(source=text)
    await world.notify(source="another")
    target = f"/v1/items?source={quote(text, safe='')}"
    answer = await world.producer.request("DELETE", target)

    assert {"removed": 1, "users": 1, "topics": 0, "waiting": 0} == body(answer)


async def test_plus_is_a_space_and_letters_may_be_raw(autojump_clock, world):
    """A query is form-encoded (WHATWG URL 5.1), and clients may send raw UTF-8."""
    await world.notify(source="a caf\u00e9")
    answer = await world.producer.request("DELETE", "/v1/items?source=a+caf\u00e9")

    assert {"removed": 1, "users": 1, "topics": 0, "waiting": 0} == body(answer)
