"""`POST /v1/tickets`: the ticket in the response, and the routes that refuse it.

`test_stream_tickets.py` has the streams that a ticket opens.
"""

from __future__ import annotations

import pytest

from support.service import body, data, post


async def issue(client, **fields):
    return body(await post(client, "/v1/tickets", fields))


async def test_user_gets_a_ticket_with_its_lifetime_and_url(autojump_clock, world):
    """The response has the ticket, the seconds for its first use and its URL."""
    response = await post(world.user(), "/v1/tickets", {})
    document = body(response)

    assert {"ticket", "expires_in", "url"} == document.keys()
    assert document["expires_in"] == 60
    assert document["url"] == f"/v1/stream?ticket={document['ticket']}"
    assert response.headers["cache-control"] == "no-store"


async def test_ticket_expires_no_later_than_its_token(autojump_clock, world):
    """A token that is valid for 20 s gets a ticket of 20 s."""
    assert 20 == (await issue(world.user(ttl=20)))["expires_in"]


@pytest.mark.parametrize("session", [0.5, 1, 60, 86_400])
async def test_producer_sets_the_session_of_a_ticket(autojump_clock, world, session):
    """The stream of a producer's ticket expires with the session."""
    document = await issue(world.producer, user="bob", session=session)
    async with world.anonymous.stream(document["url"]) as stream:
        assert session == data(await stream.next_event())["expires_in"]
    assert document["expires_in"] == min(60, int(session))


ROUTES = {
    "badge": ("GET", "/v1/badge"),
    "items": ("GET", "/v1/items"),
    "ops": ("POST", "/v1/ops"),
    "tickets": ("POST", "/v1/tickets"),
    "notify": ("POST", "/v1/notify"),
    "badge-of-user": ("GET", "/v1/users/alice/badge"),
}


@pytest.mark.parametrize(("method", "target"), ROUTES.values(), ids=ROUTES)
async def test_other_routes_refuse_a_ticket(autojump_clock, world, method, target):
    """A ticket is invalid in the URL, as a bearer credential and as a cookie."""
    ticket = (await issue(world.user()))["ticket"]
    bearer = world.anonymous.with_headers({"Authorization": f"Bearer {ticket}"})
    cookie = world.anonymous.with_headers({"Cookie": f"roundel={ticket}"})
    in_url = await world.anonymous.request(method, f"{target}?ticket={ticket}")

    assert 401 == in_url.status
    assert 401 == (await bearer.request(method, target)).status
    assert 401 == (await cookie.request(method, target)).status


async def test_stream_accepts_a_ticket_only_in_the_url(autojump_clock, world):
    """As a bearer credential of the stream, a ticket is invalid."""
    ticket = (await issue(world.user()))["ticket"]
    bearer = world.anonymous.with_headers({"Authorization": f"Bearer {ticket}"})

    assert 401 == (await bearer.request("GET", "/v1/stream")).status


@pytest.mark.parametrize("ticket", ["", "nonsense", "%00"])
async def test_invalid_ticket_is_401(autojump_clock, world, ticket):
    """The stream route refuses a text that is no ticket."""
    response = await world.anonymous.request("GET", f"/v1/stream?ticket={ticket}")

    assert 401 == response.status


BAD_REQUESTS = {
    "no-user": ({}, ["user"]),
    "user": ({"user": "a "}, ["user"]),
    "null": ({"user": None}, ["user"]),
    "unknown": ({"user": "a", "users": []}, ["users"]),
    "session-zero": ({"user": "a", "session": 0}, ["session"]),
    "session-negative": ({"user": "a", "session": -1}, ["session"]),
    "session-long": ({"user": "a", "session": 86_401}, ["session"]),
    "session-text": ({"user": "a", "session": "60"}, ["session"]),
    "session-null": ({"user": "a", "session": None}, ["session"]),
}


@pytest.mark.parametrize(("content", "fields"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
async def test_invalid_request_of_a_producer_is_422(
    autojump_clock, world, content, fields
):
    """The problem names the invalid field; a session is at most a day."""
    response = await post(world.producer, "/v1/tickets", content)

    assert fields == [error["field"] for error in body(response, 422)["errors"]]


@pytest.mark.parametrize("content", [{"user": "bob"}, {"session": 9}, {"x": 1}])
async def test_user_cannot_set_the_user_or_session(autojump_clock, world, content):
    """Both come from the token of the request."""
    response = await post(world.user(), "/v1/tickets", content)

    assert list(content) == [error["field"] for error in body(response, 422)["errors"]]
