"""`POST /v1/tickets`: what a ticket is, what it opens, and what it does not."""

from __future__ import annotations

import pytest
import trio

from support.service import body, data, post


async def _ticket(client, **fields):
    return body(await post(client, "/v1/tickets", fields))


async def _opens(world, url, **headers):
    """Return the status of a stream, after its first state frame if it opens."""
    async with world.anonymous.stream(url, headers=headers) as stream:
        if stream.status == 200:
            await stream.next_event()
            await stream.next_event()
            await trio.testing.wait_all_tasks_blocked()
        return stream.status


async def test_user_gets_a_ticket(autojump_clock, world):
    """The answer is the ticket, its time, and where to go with it."""
    answer = await post(world.user(), "/v1/tickets", {})
    document = body(answer)

    assert {"ticket", "expires_in", "url"} == document.keys()
    assert document["expires_in"] == 60
    assert document["url"] == f"/v1/stream?ticket={document['ticket']}"
    assert answer.headers["cache-control"] == "no-store"


async def test_producer_gets_a_ticket_for_a_user(autojump_clock, world):
    """A backend that knows its user opens the stream for the browser."""
    await world.notify("bob")
    document = await _ticket(world.producer, user="bob")

    assert {"ticket", "expires_in", "url"} == document.keys()
    async with world.anonymous.stream(document["url"]) as stream:
        hello, badge = await stream.next_event(), await stream.next_event()

        assert 3_600 == data(hello)["expires_in"]
        assert 1 == data(badge)["unread"]


async def test_tickets_are_all_different(autojump_clock, world):
    """Each opens a stream of its own."""
    tickets = {(await _ticket(world.user()))["ticket"] for _ in range(3)}

    assert 3 == len(tickets)


async def test_stream_of_a_users_ticket_ends_with_the_users_proof(
    autojump_clock, world
):
    """A ticket is worth no more than the proof behind it."""
    document = await _ticket(world.user(ttl=100))
    await trio.sleep(10)
    async with world.anonymous.stream(document["url"]) as stream:
        assert 90 == data(await stream.next_event())["expires_in"]


async def test_ticket_expires_no_later_than_its_proof(autojump_clock, world):
    """Of a proof that is almost over there is just as little."""
    document = await _ticket(world.user(ttl=20))
    await trio.sleep(20.1)

    assert 20 == document["expires_in"]
    assert 401 == await _opens(world, document["url"])


@pytest.mark.parametrize("session", [0.5, 1, 60, 86_400])
async def test_producer_says_how_long_a_session_is(autojump_clock, world, session):
    """The stream of a producer's ticket holds for so many seconds."""
    document = await _ticket(world.producer, user="bob", session=session)
    async with world.anonymous.stream(document["url"]) as stream:
        assert session == data(await stream.next_event())["expires_in"]
    assert document["expires_in"] == min(60, int(session))


async def test_ticket_opens_one_stream_once(autojump_clock, world):
    """The URL alone, found in a log, opens nothing."""
    url = (await _ticket(world.user()))["url"]

    assert [200, 401, 401] == [await _opens(world, url) for _ in range(3)]


async def test_ticket_is_too_old_after_a_minute(autojump_clock, world):
    """A ticket that nobody used is worth nothing any more."""
    good = (await _ticket(world.user()))["url"]
    late = (await _ticket(world.user()))["url"]
    await trio.sleep(59)
    within = await _opens(world, good)
    await trio.sleep(2)

    assert (200, 401) == (within, await _opens(world, late))


async def test_ticket_without_its_first_state_frame_can_be_presented_again(
    autojump_clock, world
):
    """A request that came to nothing does not cost the ticket: `HEAD` is one."""
    url = (await _ticket(world.user()))["url"]
    heads = [(await world.anonymous.request("HEAD", url)).status for _ in range(2)]

    assert [200, 200] == heads
    assert [200, 401] == [await _opens(world, url) for _ in range(2)]


async def test_used_ticket_reopens_its_stream_with_one_of_its_cursors(
    autojump_clock, world
):
    """Native EventSource comes back to the same URL, for as long as the proof holds."""
    url = (await _ticket(world.producer, user="alice", session=600))["url"]
    async with world.anonymous.stream(url) as stream:
        await stream.next_event()
        await stream.next_event()
        cursor = stream.last_event_id
    await world.notify()
    await trio.sleep(500)
    async with world.anonymous.stream(url, headers={"Last-Event-ID": cursor}) as again:
        hello = data(await again.next_event())
    await trio.sleep(101)
    late = await _opens(world, url, **{"Last-Event-ID": cursor})

    assert ("replayed", 1) == (hello["resume"], hello["v"])
    assert 401 == late


async def test_cursor_of_another_stream_does_not_reopen(autojump_clock, world):
    """Only who has read the stream knows what opens it again."""
    one, two = await _ticket(world.user()), await _ticket(world.user())
    async with world.anonymous.stream(one["url"]) as stream:
        await stream.next_event()
        await stream.next_event()
        of_ticket = stream.last_event_id
    async with world.user().stream("/v1/stream") as stream:
        await stream.next_event()
        await stream.next_event()
        of_proof = stream.last_event_id
    await _opens(world, two["url"])

    assert 401 == await _opens(world, two["url"], **{"Last-Event-ID": of_ticket})
    assert 401 == await _opens(world, two["url"], **{"Last-Event-ID": of_proof})


CALLS = {
    "badge": ("GET", "/v1/badge"),
    "items": ("GET", "/v1/items"),
    "ops": ("POST", "/v1/ops"),
    "tickets": ("POST", "/v1/tickets"),
    "notify": ("POST", "/v1/notify"),
    "badge-of-user": ("GET", "/v1/users/alice/badge"),
}


@pytest.mark.parametrize(("method", "target"), CALLS.values(), ids=CALLS)
async def test_ticket_serves_nothing_but_the_stream(
    autojump_clock, world, method, target
):
    """Neither in the URL, nor as a bearer, nor as a cookie."""
    ticket = (await _ticket(world.user()))["ticket"]
    bearer = world.anonymous.with_headers({"Authorization": f"Bearer {ticket}"})
    cookie = world.anonymous.with_headers({"Cookie": f"roundel={ticket}"})
    in_url = await world.anonymous.request(method, f"{target}?ticket={ticket}")

    assert 401 == in_url.status
    assert 401 == (await bearer.request(method, target)).status
    assert 401 == (await cookie.request(method, target)).status


async def test_ticket_is_no_bearer_of_the_stream(autojump_clock, world):
    """On the stream it is presented by its URL alone."""
    ticket = (await _ticket(world.user()))["ticket"]
    bearer = world.anonymous.with_headers({"Authorization": f"Bearer {ticket}"})

    assert 401 == (await bearer.request("GET", "/v1/stream")).status


BAD_TICKETS = ["", "nonsense", "null", "a.b.c", "%00", "x" * 8_000]


@pytest.mark.parametrize("ticket", BAD_TICKETS)
async def test_bad_ticket_is_401(autojump_clock, world, ticket):
    """What is no ticket of ours opens nothing."""
    assert 401 == await _opens(world, f"/v1/stream?ticket={ticket}")


async def test_token_of_a_user_is_no_ticket(autojump_clock, world):
    """A JWT has no business in a URL."""
    token = world.service.authenticator.sign("alice", ttl=60)

    assert 401 == await _opens(world, f"/v1/stream?ticket={token}")


BAD_PRODUCERS = {
    "no-user": ({}, ["user"]),
    "user": ({"user": "a b"}, ["user"]),
    "null": ({"user": None}, ["user"]),
    "unknown": ({"user": "a", "users": []}, ["users"]),
    "session-zero": ({"user": "a", "session": 0}, ["session"]),
    "session-negative": ({"user": "a", "session": -1}, ["session"]),
    "session-long": ({"user": "a", "session": 86_401}, ["session"]),
    "session-text": ({"user": "a", "session": "60"}, ["session"]),
    "session-null": ({"user": "a", "session": None}, ["session"]),
}


@pytest.mark.parametrize(
    ("content", "fields"), BAD_PRODUCERS.values(), ids=BAD_PRODUCERS
)
async def test_bad_request_of_a_producer_is_named(
    autojump_clock, world, content, fields
):
    """A ticket is given for a user that can be, and for a day at the most."""
    answer = await post(world.producer, "/v1/tickets", content)

    assert fields == [error["field"] for error in body(answer, 422)["errors"]]


@pytest.mark.parametrize("content", [{"user": "bob"}, {"session": 9}, {"x": 1}])
async def test_user_gets_a_ticket_for_nobody_else(autojump_clock, world, content):
    """A user has nothing to say: whose, and for how long, is in the proof."""
    answer = await post(world.user(), "/v1/tickets", content)

    assert list(content) == [error["field"] for error in body(answer, 422)["errors"]]


async def test_nobody_gets_no_ticket(autojump_clock, world):
    """Tickets are for those who prove who they are."""
    assert 401 == (await post(world.anonymous, "/v1/tickets", {})).status
