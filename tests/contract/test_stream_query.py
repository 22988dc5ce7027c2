"""The query of the stream: most is tolerated, since a 4xx is final for a browser."""

from __future__ import annotations

import pytest

from support.service import body, current_cursor, data, events_so_far, post


async def _hello(world, query: str, headers: dict[str, str] | None = None):
    """Return the data of hello, and the types of the events after it."""
    target = f"/v1/stream?{query}"
    async with world.user().stream(target, headers=headers or {}) as stream:
        assert 200 == stream.status
        hello, *state = await events_so_far(stream)
        return data(hello)["resume"], [event.type for event in state]


IGNORED = {
    "cache-buster": "_=1763690000123",
    "no-value": "flag",
    "upper-case": "LEVEL=none&Cursor=other.1",
    "array": "categories[]=a",
    "twice": "utm=1&utm=2",
    "many": "&".join(f"p{number}=1" for number in range(500)),
    "empty-name": "=x&&=",
    "not-utf-8": "%ff=%fe",
    "control": "a%00b=%0a",
    "of-another-call": "wait=60&before=1&limit=2",
}


@pytest.mark.parametrize("query", IGNORED.values(), ids=IGNORED)
async def test_unknown_parameters_are_ignored(autojump_clock, world, query):
    """An unknown parameter changes nothing, before and behind the known ones."""
    for known in (f"{query}&level=items", f"level=items&{query}"):
        assert ("snapshot", ["snapshot"]) == await _hello(world, known)


LAST = {
    "level": ("level=badge&level=items", ("snapshot", ["snapshot"])),
    "bad-level": ("level=nonsense&level=badge", ("snapshot", ["badge"])),
    "cursor": ("cursor=other.1&cursor=CURSOR", ("current", [])),
    "bad-cursor": ("cursor=CURSOR&cursor=other.1", ("reset", ["badge"])),
    "no-cursor": ("cursor=CURSOR&cursor=", ("snapshot", ["badge"])),
    "other-name": ("lastEventId=CURSOR", ("current", [])),
    "other-name-last": ("cursor=other.1&lastEventId=CURSOR", ("current", [])),
    "other-name-first": ("lastEventId=CURSOR&cursor=other.1", ("reset", ["badge"])),
    "other-name-twice": ("lastEventId=x&lastEventId=CURSOR", ("current", [])),
    "categories": ("categories=a&categories=b", ("snapshot", ["badge"])),
}


@pytest.mark.parametrize(("query", "expected"), LAST.values(), ids=LAST)
async def test_last_of_repeated_parameters_counts(
    autojump_clock, world, query, expected
):
    """Of a repeated parameter the last counts; `lastEventId` is a name of `cursor`."""
    await world.notify()
    query = query.replace("CURSOR", await current_cursor(world))

    assert expected == await _hello(world, query)


async def test_last_of_repeated_categories_filters(autojump_clock, world):
    """Only the categories of the last parameter are in the badge."""
    await world.notify(category="a")
    await world.notify(category="b")
    target = "/v1/stream?categories=a&categories=b"
    async with world.user().stream(target) as stream:
        _, badge = await events_so_far(stream)

    assert {"b"} == data(badge)["by"].keys()


async def test_last_of_repeated_tickets_counts(autojump_clock, world):
    """A page may append a fresh ticket to a URL that has an old one."""
    ticket = body(await post(world.producer, "/v1/tickets", {"user": "alice"}))
    target = f"/v1/stream?ticket=old&ticket={ticket['ticket']}"
    async with world.anonymous.stream(target) as stream:
        assert 200 == stream.status


@pytest.mark.parametrize("name", ["cursor", "lastEventId"])
async def test_header_takes_precedence(autojump_clock, world, name):
    """`Last-Event-ID` is newer than what the URL has."""
    await world.notify()
    header = {"Last-Event-ID": await current_cursor(world)}

    assert ("current", []) == await _hello(world, f"{name}=other.1", header)


async def test_polyfill_reconnects_with_its_parameter(autojump_clock, world):
    """`event-source-polyfill` appends `lastEventId` to the URL when it reconnects."""
    await world.notify()
    cursor = await current_cursor(world)
    await world.notify()
    query = f"level=items&cursor=&lastEventId={cursor}"

    assert ("replayed", ["change"]) == await _hello(world, query)
