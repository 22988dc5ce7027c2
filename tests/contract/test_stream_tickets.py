"""Streams with a ticket: the first use, the resume key and the expiry."""

from __future__ import annotations

from hashlib import blake2b
from urllib.parse import urlencode

import pytest
import trio
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import OctKey

from roundel import Cursor
from roundel_service.engines.memory import MemoryEngine
from support.service import (
    KEY,
    Valve,
    body,
    current_cursor,
    data,
    events_so_far,
    first_events,
    metric_value,
    post,
    remaining_events,
    wall_clock,
)

LEVELS = pytest.mark.parametrize("level", ["badge", "items"])


async def ticket_of(world, *, user: str = "alice", **fields) -> str:
    """Return the URL of a ticket that a producer requested."""
    return body(await post(world.producer, "/v1/tickets", {"user": user, **fields}))[
        "url"
    ]


async def users_ticket(world, *, ttl: float) -> str:
    """Return the URL of a ticket that a user with a token of *ttl* requested."""
    return body(await post(world.user(ttl=ttl), "/v1/tickets", {}))["url"]


async def status(world, url: str, cursor: str = "") -> int:
    """Return the status of a `HEAD` request, which does not use the ticket."""
    headers = {"Last-Event-ID": cursor} if cursor else {}
    return (await world.anonymous.request("HEAD", url, headers=headers)).status


async def used(world, url: str, *, level: str = "badge") -> str:
    """Open and close the stream of a ticket; return the last cursor."""
    async with world.anonymous.stream(f"{url}&level={level}") as stream:
        await events_so_far(stream)
        return stream.last_event_id


def key_of(cursor: str) -> str:
    return Cursor.parse(cursor).positions["k"].epoch


# The first use


@LEVELS
async def test_ticket_opens_a_stream_as_its_user(autojump_clock, world, level):
    """The stream has the state of the user that the ticket was issued for."""
    await world.notify("alice")
    url = await ticket_of(world)
    async with world.anonymous.stream(f"{url}&level={level}") as stream:
        _, state = await first_events(stream)
        state = data(state)

        assert 1 == state.get("badge", state)["unread"]


@pytest.mark.parametrize(("seconds", "expected"), [(59.9, 200), (60, 401)])
async def test_ticket_opens_within_a_minute(autojump_clock, world, seconds, expected):
    """After 60 s, an unused ticket opens no stream."""
    url = await ticket_of(world)
    await trio.sleep(seconds)

    assert expected == await status(world, url)


async def test_ticket_opens_one_stream(autojump_clock, world):
    """After the first state event, the ticket alone opens no stream."""
    url = await ticket_of(world)
    await used(world, url)

    assert 401 == await status(world, url)


async def test_ticket_is_unused_until_the_first_state_event(autojump_clock, world):
    """A connection that failed before any event has not used the ticket."""
    url = await ticket_of(world)
    valve = Valve(world)
    async with valve.world.anonymous.stream(url):
        await trio.testing.wait_all_tasks_blocked()

    assert 200 == await status(world, url)


async def test_ticket_is_unused_until_the_whole_snapshot_is_written(
    autojump_clock, world
):
    """A snapshot in several writes uses the ticket with its last write."""
    for _ in range(20):
        await world.notify(body="x" * 8_000)
    url = await ticket_of(world)
    chunks = []

    async def app(scope, receive, send) -> None:
        async def first_chunks_only(message) -> None:
            if message["type"] == "http.response.body":
                chunks.append(message)
                if len(chunks) > 2:
                    await trio.sleep_forever()
            await send(message)

        await world.service.app(scope, receive, first_chunks_only)

    async with type(world.anonymous)(app).stream(f"{url}&level=items") as stream:
        await events_so_far(stream)
        again = await status(world, url)

    assert (3, 200) == (len(chunks), again)


async def test_head_request_does_not_use_the_ticket(autojump_clock, world):
    """`HEAD` opens no stream."""
    url = await ticket_of(world)

    assert [200, 200] == [await status(world, url), await status(world, url)]


async def test_rejected_stream_does_not_use_the_ticket(autojump_clock, make_world):
    """After a rejection, the client reconnects with the same URL."""
    world = make_world(max_streams="1")
    url = await ticket_of(world)
    async with world.user("bob").stream("/v1/stream") as other:
        await first_events(other)
        async with world.anonymous.stream(url) as stream:
            assert "shed" == data((await remaining_events(stream))[-1])["reason"]
    async with world.anonymous.stream(url) as stream:
        assert "badge" == (await events_so_far(stream))[1].type


async def test_one_of_two_concurrent_streams_stays_open(autojump_clock, world):
    """Two streams open before the first state event; one closes."""
    url = await ticket_of(world)
    valve = Valve(world)
    async with (
        valve.world.anonymous.stream(url) as one,
        valve.world.anonymous.stream(url) as two,
    ):
        await trio.testing.wait_all_tasks_blocked()
        valve.open()
        types = [[e.type for e in await events_so_far(each)] for each in (one, two)]

        assert [["hello", "badge"], ["hello", "badge", "bye"]] == sorted(types)
        assert 1 == world.service.hub.streams


async def test_current_stream_does_not_use_the_ticket(autojump_clock, world):
    """Without a state event the ticket is unused, so both streams stay open."""
    headers = {"Last-Event-ID": await current_cursor(world)}
    url = await ticket_of(world)
    async with (
        world.anonymous.stream(url, headers=headers) as one,
        world.anonymous.stream(url, headers=headers) as two,
    ):
        before = [[e.type for e in await events_so_far(each)] for each in (one, two)]
        await world.notify()
        after = [[e.type for e in await events_so_far(each)] for each in (one, two)]

        assert [["hello"], ["hello"]] == before
        assert [["badge"], ["badge", "bye"]] == sorted(after)


# The resume key


@LEVELS
async def test_resume_key_is_sent_before_the_state(autojump_clock, world, level):
    """An id-only block with the key precedes the first state event."""
    url = await ticket_of(world)
    valve, chunks = Valve(world), []
    valve.open()
    async with valve.world.anonymous.stream(f"{url}&level={level}") as stream:
        await trio.testing.wait_all_tasks_blocked()
        while stream._chunks.statistics().current_buffer_used:
            chunks.append(stream._chunks.receive_nowait())
    hello, key, state, _ = b"".join(chunks).split(b"\n\n")

    assert hello.startswith(b"retry: 5000\nevent: hello\n")
    assert key.startswith(b"id: k.")
    assert b"\n" not in key
    assert state.split(b"\n")[-1].startswith(key)


@LEVELS
async def test_current_stream_gets_the_resume_key(autojump_clock, world, level):
    """A stream without a state event can be reopened as well."""
    await world.notify()
    cursor = await current_cursor(world)
    url = await ticket_of(world)
    headers = {"Last-Event-ID": cursor}
    target = f"{url}&level={level}"
    async with world.anonymous.stream(target, headers=headers) as stream:
        hello, *state = await events_so_far(stream)

        assert ("current", []) == (data(hello)["resume"], state)
        assert stream.last_event_id.endswith(f"~{cursor}")
        assert 200 == await status(world, target, stream.last_event_id)


@LEVELS
async def test_ticket_reopens_its_stream_with_its_cursor(autojump_clock, world, level):
    """`EventSource` reconnects to the same URL, also after the first minute."""
    url = f"{await ticket_of(world)}&level={level}"
    cursor = await used(world, url.removesuffix(f"&level={level}"), level=level)
    await trio.sleep(100)
    await world.notify()
    headers = {"Last-Event-ID": cursor}
    async with world.anonymous.stream(url, headers=headers) as stream:
        hello, state = await first_events(stream)

        assert ("replayed", 1) == (hello["resume"], data(state)["v"])
        assert key_of(cursor) == key_of(state.id)


@pytest.mark.parametrize("waited", [1, 100], ids=["in-time", "too-late"])
@pytest.mark.parametrize("parameter", ["cursor", "lastEventId", "Last-Event-ID"])
async def test_resume_key_in_a_url_reopens_no_stream(
    autojump_clock, world, parameter, waited
):
    """A URL from a log opens nothing, whatever cursor is in it."""
    url = await ticket_of(world)
    cursor = await used(world, url)
    await trio.sleep(waited)
    target = f"{url}&{parameter}={cursor}"
    position = await current_cursor(world)

    assert 401 == await status(world, target)
    assert 401 == await status(world, target, position)
    assert 200 == await status(world, target, cursor)


async def test_cursor_in_the_url_of_a_new_ticket_is_a_position(autojump_clock, world):
    """A page that has a cursor of an earlier stream goes on where that ended."""
    old = await used(world, await ticket_of(world))
    await world.notify()
    url = f"{await ticket_of(world)}&cursor={old}"
    async with world.anonymous.stream(url) as stream:
        hello, state = await first_events(stream)

        assert ("replayed", 1) == (hello["resume"], data(state)["v"])
        assert key_of(old) != key_of(state.id)


async def test_stream_is_reopened_repeatedly(autojump_clock, world):
    """Each reconnection resumes from the previous one."""
    url = await ticket_of(world)
    cursor, seen = await used(world, url), []
    for _ in range(5):
        await trio.sleep(100)
        await world.notify()
        headers = {"Last-Event-ID": cursor}
        async with world.anonymous.stream(url, headers=headers) as stream:
            hello, *_ = await events_so_far(stream)
            seen.append((data(hello)["resume"], data(hello)["v"]))
            cursor = stream.last_event_id

    assert [("replayed", v) for v in range(1, 6)] == seen


@LEVELS
async def test_reopened_stream_without_changes_is_current(autojump_clock, world, level):
    """The resume key in a cursor does not change the outcome."""
    url = await ticket_of(world)
    cursor = await used(world, url, level=level)
    headers = {"Last-Event-ID": cursor}
    async with world.anonymous.stream(
        f"{url}&level={level}", headers=headers
    ) as stream:
        hello, *state = await events_so_far(stream)

        assert ("current", []) == (data(hello)["resume"], state)


@LEVELS
async def test_stream_reopens_at_another_node(autojump_clock, make_world, level):
    """The nodes of a store share its secret, from which the keys are derived."""
    engine = MemoryEngine(clock=wall_clock)
    before, after = make_world(engine=engine), make_world(engine=engine)
    url = await ticket_of(before)
    cursor = await used(before, url, level=level)
    await trio.sleep(100)
    await before.notify()
    headers = {"Last-Event-ID": cursor}
    async with after.anonymous.stream(
        f"{url}&level={level}", headers=headers
    ) as stream:
        hello, state = await first_events(stream)

        assert ("replayed", 1) == (hello["resume"], data(state)["v"])
        assert key_of(cursor) == key_of(state.id)


async def test_ticket_of_another_store_opens_no_stream(autojump_clock, make_world):
    """With the same producer keys, another store still has another secret."""
    url = await ticket_of(make_world())

    assert 401 == await status(make_world(), url)


async def test_ticket_does_not_reveal_a_producer_key(autojump_clock, world):
    """A user who holds a ticket cannot try a dictionary of keys against it."""
    ticket = (await ticket_of(world)).partition("=")[2]
    secrets = [KEY.encode(), blake2b(KEY.encode()).digest()]
    for person in (b"", b"roundel.ticket", b"roundel.resume"):
        secrets += [blake2b(KEY.encode(), digest_size=32, person=person).digest()]

    for secret in secrets:
        with pytest.raises(BadSignatureError):
            jwt.decode(ticket, OctKey.import_key(secret), algorithms=["HS256"])


async def test_cursor_of_another_ticket_reopens_no_stream(autojump_clock, world):
    """A resume key is valid only for its own ticket, even of the same user."""
    one, two = await ticket_of(world), await ticket_of(world)
    cursors = [await used(world, one), await used(world, two)]

    assert [401, 401] == [
        await status(world, one, cursors[1]),
        await status(world, two, cursors[0]),
    ]


@pytest.mark.parametrize("waited", [1, 100], ids=["in-time", "too-late"])
async def test_cursor_without_a_key_reopens_no_stream(autojump_clock, world, waited):
    """A cursor with only a position is not enough."""
    url = await ticket_of(world)
    await used(world, url)
    await trio.sleep(waited)

    assert 401 == await status(world, url, await current_cursor(world))


FORGED = {
    "empty": lambda key: "",
    "empty-topic": lambda key: "k..0",
    "other-topic": lambda key: f"x.{key}.0",
    "main-topic": lambda key: f"{key}.0",
    "torn": lambda key: f"k.{key}",
    "not-ascii": lambda key: f"k.{key}é.0",
    "overlong": lambda key: f"k.{key}.0~{'x' * 200}",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_forged_key_reopens_no_stream(autojump_clock, world, forge):
    """The key must be in the topic `k` of a valid cursor."""
    url = await ticket_of(world)
    key = key_of(await used(world, url))

    assert 200 == await status(world, url, f"k.{key}.0")
    assert 401 == await status(world, url, forge(key))


async def test_new_ticket_resumes_the_stream_of_an_old_one(autojump_clock, world):
    """The position is kept, and the resume key changes."""
    old = await used(world, await ticket_of(world))
    await world.notify()
    url = await ticket_of(world)
    async with world.anonymous.stream(url, headers={"Last-Event-ID": old}) as stream:
        hello, state = await first_events(stream)

        assert ("replayed", 1) == (hello["resume"], data(state)["v"])
        assert key_of(old) != key_of(state.id)


@LEVELS
async def test_cursor_with_a_key_is_valid_with_a_token(autojump_clock, world, level):
    """The stream resumes, and its ids have no resume key."""
    cursor = await used(world, await ticket_of(world), level=level)
    headers = {"Last-Event-ID": cursor}
    target = f"/v1/stream?level={level}"
    async with world.user().stream(target, headers=headers) as stream:
        hello, *state = await events_so_far(stream)

        assert ("current", []) == (data(hello)["resume"], state)
        assert await current_cursor(world) == stream.last_event_id


# The expiry


async def test_stream_of_a_ticket_expires_with_the_token_behind_it(
    autojump_clock, world
):
    """A user's ticket expires with the token that requested it."""
    url = await users_ticket(world, ttl=100)
    async with world.anonymous.stream(url) as stream:
        start = trio.current_time()
        hello, _ = await first_events(stream)
        *_, bye = await remaining_events(stream)

        assert (100, "expired") == (hello["expires_in"], data(bye)["reason"])
        assert trio.current_time() == pytest.approx(start + 100, abs=0.01)


@pytest.mark.parametrize(
    ("fields", "session"),
    [
        pytest.param({}, 3_600, id="default", marks=pytest.mark.slow),
        pytest.param({"session": 90}, 90, id="set"),
    ],
)
async def test_ticket_of_a_producer_expires_after_its_session(
    autojump_clock, world, fields, session
):
    """The session is one hour by default."""
    url = await ticket_of(world, **fields)
    cursor = await used(world, url)
    await trio.sleep(session - 1)
    last = await status(world, url, cursor)
    await trio.sleep(1)

    assert [200, 401] == [last, await status(world, url, cursor)]


async def test_ticket_of_a_revoked_user_is_204(autojump_clock, world):
    """The status 204 stops a browser's `EventSource`."""
    fresh, old = await ticket_of(world), await ticket_of(world)
    cursor = await used(world, old)
    await trio.sleep(1)
    document = {"revoke": True}
    body(await post(world.producer, "/v1/users/alice/disconnect", document))

    assert [204, 204] == [await status(world, fresh), await status(world, old, cursor)]


async def test_url_of_a_ticket_accepts_more_parameters(autojump_clock, world):
    """Query parameters can be appended to the URL in the response."""
    url = await ticket_of(world)
    query = urlencode({"level": "items", "categories": "a,b"})

    assert 200 == await status(world, f"{url}&{query}")


async def test_counted_outcome_is_that_of_hello(autojump_clock, world):
    """The topic of the resume key does not affect the metrics."""
    headers = {"Last-Event-ID": await current_cursor(world)}
    async with world.anonymous.stream(
        await ticket_of(world), headers=headers
    ) as stream:
        hello = data(await stream.next_event())

        assert "current" == hello["resume"]
        assert 1 == metric_value(
            world, "roundel_streams_opened_total", resume="current"
        )
        assert 0 == metric_value(
            world, "roundel_streams_opened_total", resume="snapshot"
        )
