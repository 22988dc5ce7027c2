"""Tickets on the stream: once, within a minute, and again only with a cursor."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
import trio

from roundel import Cursor
from support.service import (
    Valve,
    body,
    counted,
    cursor_now,
    data,
    frames_so_far,
    frames_to_the_end,
    opened,
    post,
)

LEVELS = pytest.mark.parametrize("level", ["badge", "items"])


async def ticket_of(world, *, user: str = "alice", **fields) -> str:
    """Return the URL of a ticket that a producer asked for."""
    return body(await post(world.producer, "/v1/tickets", {"user": user, **fields}))[
        "url"
    ]


async def users_ticket(world, *, ttl: float) -> str:
    """Return the URL of a ticket that a user asked for, with a token of *ttl*."""
    return body(await post(world.user(ttl=ttl), "/v1/tickets", {}))["url"]


async def status(world, url: str, cursor: str = "") -> int:
    """Return what the URL is answered with now, without using it."""
    headers = {"Last-Event-ID": cursor} if cursor else {}
    return (await world.anonymous.request("HEAD", url, headers=headers)).status


async def used(world, url: str, *, level: str = "badge") -> str:
    """Use a ticket, leave, and return the cursor that a browser has then."""
    async with world.anonymous.stream(f"{url}&level={level}") as stream:
        await frames_so_far(stream)
        return stream.last_event_id


def key_of(cursor: str) -> str:
    return Cursor.parse(cursor).positions["k"].epoch


# The first use.


@LEVELS
async def test_ticket_opens_a_stream_as_its_user(autojump_clock, world, level):
    """It tells the state of the user that it was issued for."""
    await world.notify("alice")
    url = await ticket_of(world)
    async with world.anonymous.stream(f"{url}&level={level}") as stream:
        _, state = await opened(stream)
        told = data(state)

        assert 1 == told.get("badge", told)["unread"]


@pytest.mark.parametrize(("seconds", "expected"), [(59.9, 200), (60, 401)])
async def test_ticket_opens_within_a_minute(autojump_clock, world, seconds, expected):
    """A ticket that was found later opens nothing."""
    url = await ticket_of(world)
    await trio.sleep(seconds)

    assert expected == await status(world, url)


async def test_ticket_opens_once(autojump_clock, world):
    """After its first state frame the URL alone opens nothing."""
    url = await ticket_of(world)
    await used(world, url)

    assert 401 == await status(world, url)


async def test_ticket_may_be_presented_again_until_the_first_state(
    autojump_clock, world
):
    """A connection that was cut before it was told anything has used nothing up."""
    url = await ticket_of(world)
    valve = Valve(world)
    async with valve.world.anonymous.stream(url):
        await trio.testing.wait_all_tasks_blocked()

    assert 200 == await status(world, url)


async def test_ticket_is_not_used_up_by_a_part_of_the_first_state(
    autojump_clock, world
):
    """A snapshot of several writes is written when the last of them is."""
    for _ in range(20):
        await world.notify(body="x" * 8_000)
    url = await ticket_of(world)
    pieces = []

    async def app(scope, receive, send) -> None:
        async def first_alone(message) -> None:
            if message["type"] == "http.response.body":
                pieces.append(message)
                if len(pieces) > 2:
                    await trio.sleep_forever()
            await send(message)

        await world.service.app(scope, receive, first_alone)

    async with type(world.anonymous)(app).stream(f"{url}&level=items") as stream:
        await frames_so_far(stream)
        again = await status(world, url)

    assert (3, 200) == (len(pieces), again)


async def test_head_uses_no_ticket_up(autojump_clock, world):
    """To ask for the head opens no stream."""
    url = await ticket_of(world)

    assert [200, 200] == [await status(world, url), await status(world, url)]


async def test_stream_that_was_shed_uses_no_ticket_up(autojump_clock, make_world):
    """Who was asked to come later comes with the same URL."""
    world = make_world(max_streams="1")
    url = await ticket_of(world)
    async with world.user("bob").stream("/v1/stream") as other:
        await opened(other)
        async with world.anonymous.stream(url) as stream:
            assert "shed" == data((await frames_to_the_end(stream))[-1])["reason"]
    async with world.anonymous.stream(url) as stream:
        assert "badge" == (await frames_so_far(stream))[1].type


async def test_of_two_at_the_same_time_one_stays(autojump_clock, world):
    """Both come in before the first state is written; then it is one."""
    url = await ticket_of(world)
    valve = Valve(world)
    async with (
        valve.world.anonymous.stream(url) as one,
        valve.world.anonymous.stream(url) as two,
    ):
        await trio.testing.wait_all_tasks_blocked()
        valve.open()
        types = [[e.type for e in await frames_so_far(each)] for each in (one, two)]

        assert [["hello", "badge"], ["hello", "badge", "bye"]] == sorted(types)
        assert 1 == world.service.hub.streams


async def test_two_that_are_current_are_one_at_the_first_state(autojump_clock, world):
    """A stream without a state frame has not used its ticket; the first one does."""
    headers = {"Last-Event-ID": await cursor_now(world)}
    url = await ticket_of(world)
    async with (
        world.anonymous.stream(url, headers=headers) as one,
        world.anonymous.stream(url, headers=headers) as two,
    ):
        before = [[e.type for e in await frames_so_far(each)] for each in (one, two)]
        await world.notify()
        after = [[e.type for e in await frames_so_far(each)] for each in (one, two)]

        assert [["hello"], ["hello"]] == before
        assert [["badge"], ["badge", "bye"]] == sorted(after)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/badge"),
        ("GET", "/v1/items"),
        ("POST", "/v1/ops"),
        ("POST", "/v1/tickets"),
    ],
)
async def test_ticket_serves_nothing_else(autojump_clock, world, method, target):
    """As a bearer's proof it is none, and no other call takes it."""
    ticket = (await ticket_of(world)).partition("ticket=")[2]
    headers = {"Authorization": f"Bearer {ticket}"}
    in_header = await world.anonymous.request(
        method, target, headers=headers, body=b"{}"
    )
    in_query = await world.anonymous.request(
        method, f"{target}?ticket={ticket}", body=b"{}"
    )

    assert (401, 401) == (in_header.status, in_query.status)


# The resume key.


@LEVELS
async def test_key_comes_in_a_block_of_an_id_before_any_state(
    autojump_clock, world, level
):
    """A reader has the key before it can have anything to resume."""
    url = await ticket_of(world)
    valve, pieces = Valve(world), []
    valve.open()
    async with valve.world.anonymous.stream(f"{url}&level={level}") as stream:
        await trio.testing.wait_all_tasks_blocked()
        pieces = [piece for piece in stream._exchange.ready_chunks() if piece]
    hello, key, state, _ = b"".join(pieces).split(b"\n\n")

    assert hello.startswith(b"event: hello\n")
    assert key.startswith(b"id: k.")
    assert b"\n" not in key
    assert state.split(b"\n")[-1].startswith(key)


@LEVELS
async def test_current_stream_gets_the_key_too(autojump_clock, world, level):
    """Who is told no state can come back with the same URL all the same."""
    await world.notify()
    cursor = await cursor_now(world)
    url = await ticket_of(world)
    headers = {"Last-Event-ID": cursor}
    target = f"{url}&level={level}"
    async with world.anonymous.stream(target, headers=headers) as stream:
        hello, *state = await frames_so_far(stream)

        assert ("current", []) == (data(hello)["resume"], state)
        assert stream.last_event_id.endswith(f"~{cursor}")
        assert 200 == await status(world, target, stream.last_event_id)


@LEVELS
@pytest.mark.parametrize("in_url", [False, True], ids=["header", "query"])
async def test_ticket_reopens_its_stream_with_a_cursor_of_it(
    autojump_clock, world, level, in_url
):
    """Native EventSource comes back to the same URL, long after the minute."""
    url = f"{await ticket_of(world)}&level={level}"
    cursor = await used(world, url.removesuffix(f"&level={level}"), level=level)
    await trio.sleep(100)
    await world.notify()
    headers = {} if in_url else {"Last-Event-ID": cursor}
    target = f"{url}&cursor={cursor}" if in_url else url
    async with world.anonymous.stream(target, headers=headers) as stream:
        hello, state = await opened(stream)

        assert ("replayed", 1) == (hello["resume"], data(state)["v"])
        assert key_of(cursor) == key_of(state.id)


async def test_it_is_reopened_again_and_again(autojump_clock, world):
    """Each reconnection goes on from the one before."""
    url = await ticket_of(world)
    cursor, seen = await used(world, url), []
    for _ in range(5):
        await trio.sleep(100)
        await world.notify()
        headers = {"Last-Event-ID": cursor}
        async with world.anonymous.stream(url, headers=headers) as stream:
            hello, *_ = await frames_so_far(stream)
            seen.append((data(hello)["resume"], data(hello)["v"]))
            cursor = stream.last_event_id

    assert [("replayed", v) for v in range(1, 6)] == seen


@LEVELS
async def test_reopened_stream_that_missed_nothing_is_current(
    autojump_clock, world, level
):
    """The key in a cursor does not make its outcome another."""
    url = await ticket_of(world)
    cursor = await used(world, url, level=level)
    headers = {"Last-Event-ID": cursor}
    async with world.anonymous.stream(
        f"{url}&level={level}", headers=headers
    ) as stream:
        hello, *state = await frames_so_far(stream)

        assert ("current", []) == (data(hello)["resume"], state)


@LEVELS
async def test_stream_reopens_across_a_restart(autojump_clock, make_world, level):
    """The key is derived and not kept: another process knows it, and says reset."""
    before, after = make_world(), make_world()
    url = await ticket_of(before)
    cursor = await used(before, url, level=level)
    await trio.sleep(100)
    headers = {"Last-Event-ID": cursor}
    async with after.anonymous.stream(
        f"{url}&level={level}", headers=headers
    ) as stream:
        hello, state = await opened(stream)

        assert ("reset", 0) == (hello["resume"], data(state)["v"])
        assert key_of(cursor) == key_of(state.id)


async def test_cursor_of_another_tickets_stream_reopens_nothing(autojump_clock, world):
    """A key is good for its own ticket alone, also of the same user."""
    one, two = await ticket_of(world), await ticket_of(world)
    cursors = [await used(world, one), await used(world, two)]

    assert [401, 401] == [
        await status(world, one, cursors[1]),
        await status(world, two, cursors[0]),
    ]


@pytest.mark.parametrize("waited", [1, 100], ids=["in-time", "too-late"])
async def test_cursor_without_a_key_reopens_nothing(autojump_clock, world, waited):
    """The position of the mailbox proves nothing of the ticket's stream."""
    url = await ticket_of(world)
    await used(world, url)
    await trio.sleep(waited)

    assert 401 == await status(world, url, await cursor_now(world))


FORGED = {
    "nothing": lambda key: "",
    "empty-lane": lambda key: "k..0",
    "short": lambda key: f"k.{key[:-1]}.0",
    "other": lambda key: f"k.{key[::-1]}.0",
    "other-lane": lambda key: f"x.{key}.0",
    "main-lane": lambda key: f"{key}.0",
    "torn": lambda key: f"k.{key}",
    "not-ascii": lambda key: f"k.{key}é.0",
    "overlong": lambda key: f"k.{key}.0~{'x' * 200}",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_forged_key_reopens_nothing(autojump_clock, world, forge):
    """What is not the key as a cursor carries it is no key."""
    url = await ticket_of(world)
    key = key_of(await used(world, url))

    assert 200 == await status(world, url, f"k.{key}.0")
    assert 401 == await status(world, url, forge(key))


async def test_new_ticket_goes_on_where_another_stream_ended(autojump_clock, world):
    """Between two tickets a reader keeps its position and gets another key."""
    old = await used(world, await ticket_of(world))
    await world.notify()
    url = await ticket_of(world)
    async with world.anonymous.stream(url, headers={"Last-Event-ID": old}) as stream:
        hello, state = await opened(stream)

        assert ("replayed", 1) == (hello["resume"], data(state)["v"])
        assert key_of(old) != key_of(state.id)


@LEVELS
async def test_cursor_of_a_tickets_stream_is_good_with_a_token(
    autojump_clock, world, level
):
    """A client that has found its cookie again resumes, and its ids lose the key."""
    cursor = await used(world, await ticket_of(world), level=level)
    headers = {"Last-Event-ID": cursor}
    target = f"/v1/stream?level={level}"
    async with world.user().stream(target, headers=headers) as stream:
        hello, *state = await frames_so_far(stream)

        assert ("current", []) == (data(hello)["resume"], state)
        assert await cursor_now(world) == stream.last_event_id


# Until when.


async def test_stream_of_a_ticket_ends_when_the_proof_behind_it_does(
    autojump_clock, world
):
    """A user's ticket is as good as the token that asked for it, and no longer."""
    url = await users_ticket(world, ttl=100)
    async with world.anonymous.stream(url) as stream:
        start = trio.current_time()
        hello, _ = await opened(stream)
        *_, bye = await frames_to_the_end(stream)

        assert (100, "expired") == (hello["expires_in"], data(bye)["reason"])
        assert trio.current_time() == pytest.approx(start + 100, abs=0.01)


@pytest.mark.parametrize(
    ("fields", "session"),
    [
        pytest.param({}, 3_600, id="by-itself", marks=pytest.mark.slow),
        pytest.param({"session": 90}, 90, id="asked-for"),
    ],
)
async def test_ticket_of_a_producer_holds_for_its_session(
    autojump_clock, world, fields, session
):
    """Without a proof behind it, a ticket reopens its stream for so many seconds."""
    url = await ticket_of(world, **fields)
    cursor = await used(world, url)
    await trio.sleep(session - 1)
    last = await status(world, url, cursor)
    await trio.sleep(1)

    assert [200, 401] == [last, await status(world, url, cursor)]


async def test_ticket_of_a_revoked_user_is_204(autojump_clock, world):
    """A browser that comes back with it is told never to come again."""
    fresh, old = await ticket_of(world), await ticket_of(world)
    cursor = await used(world, old)
    await trio.sleep(1)
    document = {"revoke": True}
    body(await post(world.producer, "/v1/users/alice/disconnect", document))

    assert [204, 204] == [await status(world, fresh), await status(world, old, cursor)]


async def test_running_stream_of_a_ticket_ends_when_its_user_is_revoked(
    autojump_clock, world
):
    """It is told bye like any other."""
    async with world.anonymous.stream(await ticket_of(world)) as stream:
        await frames_so_far(stream)
        await post(world.producer, "/v1/users/alice/disconnect", {"revoke": True})
        (bye,) = await frames_to_the_end(stream)

        assert "revoked" == data(bye)["reason"]


async def test_url_of_a_ticket_is_a_url(autojump_clock, world):
    """The answer's url opens the stream as it is, whatever is put behind it."""
    url = await ticket_of(world)
    query = urlencode({"level": "items", "categories": "a,b"})

    assert 200 == await status(world, f"{url}&{query}")


async def test_outcome_of_a_tickets_stream_is_counted_as_hello_tells_it(
    autojump_clock, world
):
    """The lane of the key is in no number."""
    headers = {"Last-Event-ID": await cursor_now(world)}
    async with world.anonymous.stream(
        await ticket_of(world), headers=headers
    ) as stream:
        hello = data(await stream.next_event())

        assert "current" == hello["resume"]
        assert 1 == counted(world, "roundel_streams_opened_total", resume="current")
        assert 0 == counted(world, "roundel_streams_opened_total", resume="snapshot")
