"""Limits of bodies, queries, time, rates and categories."""

from __future__ import annotations

import json
from math import ceil

import pytest
import trio

from support.service import KEY, body, data, post

NOTE = {"to": {"user": "alice"}, "title": "Hello"}
TEXT = json.dumps(NOTE).encode()
MIB = 1 << 20

BODIES = {
    "notify": ("POST", "/v1/notify"),
    "gauge": ("PUT", "/v1/users/alice/gauges/c"),
    "disconnect": ("POST", "/v1/users/alice/disconnect"),
    "ticket": ("POST", "/v1/tickets"),
    "ops": ("POST", "/v1/ops"),
}


def _client(world, target):
    return world.user() if target == "/v1/ops" else world.producer


@pytest.mark.parametrize(("method", "target"), BODIES.values(), ids=BODIES)
async def test_body_with_a_large_content_length_is_not_read(
    autojump_clock, world, method, target
):
    """With a Content-Length above 1 MiB the response is 413 at once."""
    taken = []

    async def chunks():
        for number in range(100):
            taken.append(number)
            yield b"x" * 65_536

    headers = {"Content-Length": str(MIB + 1)}
    answer = await _client(world, target).request(
        method, target, body=chunks(), headers=headers
    )

    assert body(answer, 413)["type"] == "urn:roundel:problem:too-large"
    assert len(taken) <= 2


@pytest.mark.parametrize(("method", "target"), BODIES.values(), ids=BODIES)
async def test_body_that_turns_out_too_large_is_read_no_further(
    autojump_clock, world, method, target
):
    """Without a Content-Length the response is 413 at the limit."""
    taken = []

    async def chunks():
        for number in range(100):
            taken.append(number)
            yield b" " * 65_536

    answer = await _client(world, target).request(method, target, body=chunks())

    assert 413 == answer.status
    assert len(taken) <= MIB // 65_536 + 3


async def test_body_of_1_mib_is_accepted(autojump_clock, world):
    """The limit itself is allowed."""
    content = TEXT + b" " * (MIB - len(TEXT))
    for headers in ({}, {"Content-Length": str(MIB)}):
        answer = await world.producer.request(
            "POST", "/v1/notify", body=content, headers=headers
        )
        assert 200 == answer.status
    assert (
        413
        == (
            await world.producer.request("POST", "/v1/notify", body=content + b" ")
        ).status
    )


@pytest.mark.parametrize("length", ["9" * 30, "9" * 5_000])
async def test_absurd_content_length_is_413(autojump_clock, world, length):
    """A number of thousands of digits is too large, too."""
    answer = await world.producer.request(
        "POST", "/v1/notify", body=TEXT, headers={"Content-Length": length}
    )

    assert 413 == answer.status


@pytest.mark.parametrize(("method", "target"), BODIES.values(), ids=BODIES)
async def test_body_that_stalls_is_408(autojump_clock, world, method, target):
    """A request whose body stops gets a 408 after the timeout."""

    async def chunks():
        yield b"{"
        await trio.sleep_forever()

    answer = await _client(world, target).request(method, target, body=chunks())

    assert body(answer, 408)["type"] == "urn:roundel:problem:request-timeout"
    assert trio.current_time() == pytest.approx(30)


async def test_body_that_trickles_is_408(autojump_clock, world):
    """The timeout is for the whole body: a few bytes do not restart it."""

    async def chunks():
        for byte in TEXT:
            yield bytes([byte])
            await trio.sleep(1)

    answer = await world.producer.request("POST", "/v1/notify", body=chunks())

    assert (408, 0) == (answer.status, (await world.badge())["v"])


async def test_slow_body_within_the_timeout_is_accepted(autojump_clock, world):
    """A slow body within the timeout is accepted."""

    async def chunks():
        yield TEXT[:10]
        await trio.sleep(29)
        yield TEXT[10:]

    answer = await world.producer.request("POST", "/v1/notify", body=chunks())

    assert 200 == answer.status


async def test_disconnect_within_the_body_changes_nothing(autojump_clock, world):
    """A request takes effect entirely or not at all."""

    async def chunks():
        yield TEXT
        await trio.sleep_forever()

    with trio.move_on_after(5):
        await world.producer.request("POST", "/v1/notify", body=chunks())

    assert (await world.badge())["v"] == 0


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "headers", [{"Content-Length": "1"}, {"Transfer-Encoding": "chunked"}]
)
async def test_body_of_a_get_is_rejected(autojump_clock, world, method, headers):
    """A `GET` with a body is 413."""
    answer = await world.user().request(method, "/v1/badge", headers=headers, body=b"x")

    assert 413 == answer.status


# Queries

QUERIES = {
    "badge": ("GET", "/v1/badge"),
    "items": ("GET", "/v1/items"),
    "stream": ("GET", "/v1/stream"),
    "retract": ("DELETE", "/v1/items"),
    "notify": ("POST", "/v1/notify"),
}


@pytest.mark.parametrize(("method", "path"), QUERIES.values(), ids=QUERIES)
async def test_query_that_is_too_long_is_414(autojump_clock, world, method, path):
    """A query has at most 8 KiB."""
    client = world.user() if method == "GET" else world.producer
    over = await client.request(method, f"{path}?x={'y' * 8_191}")
    fits = await client.request(method, f"{path}?x={'y' * 8_190}")

    assert body(over, 414)["type"] == "urn:roundel:problem:query-too-long"
    assert (200 if path == "/v1/stream" else 422) == fits.status


async def test_query_of_many_parameters_is_422(autojump_clock, world):
    """A query has at most 20 parameters."""
    query = "&".join(f"p{number}=1" for number in range(21))
    answer = await world.user().request("GET", f"/v1/badge?{query}")

    assert ["query"] == [error["field"] for error in body(answer, 422)["errors"]]


# Rates


async def _statuses(call, times):
    return [(await call()).status for _ in range(times)]


async def test_user_above_the_rate_is_429(autojump_clock, make_world):
    """A burst is allowed; above it the response has `Retry-After`."""
    world = make_world(user_rate="2")
    alice = world.user()

    async def call():
        return await alice.request("GET", "/v1/badge")

    statuses = await _statuses(call, 8)
    refused = await call()
    await trio.sleep(int(refused.headers["retry-after"]))

    assert [200] * 8 == statuses
    assert body(refused, 429)["type"] == "urn:roundel:problem:too-many-requests"
    assert "1" == refused.headers["retry-after"]
    assert [200, 200, 429] == await _statuses(call, 3)


async def test_rate_is_per_user(autojump_clock, make_world):
    """A user above the rate does not limit another user."""
    world = make_world(user_rate="1")
    alice, bob = world.user("alice"), world.user("bob")

    async def call():
        return await alice.request("GET", "/v1/badge")

    assert [200] * 4 + [429] == await _statuses(call, 5)
    assert 200 == (await bob.request("GET", "/v1/badge")).status
    assert 200 == (await post(world.producer, "/v1/notify", NOTE)).status


async def test_rate_is_per_user_not_per_token(autojump_clock, make_world):
    """Two tokens of one user share the rate."""
    world = make_world(user_rate="1")

    async def call():
        await trio.sleep(0.001)
        return await world.user().request("GET", "/v1/items")

    assert [200] * 4 + [429] == await _statuses(call, 5)


async def test_stream_is_never_429(autojump_clock, make_world):
    """A browser does not reconnect after a 429, so the response is a 200."""
    world = make_world(user_rate="1")
    alice = world.user()
    for _ in range(5):
        await alice.request("GET", "/v1/badge")
    async with alice.stream("/v1/stream") as stream:
        events = [await stream.next_event()]
        while events[-1] is not None:
            events.append(await stream.next_event())

        assert 200 == stream.status
        assert "shed" == data(events[-2])["reason"]
        assert stream.retry >= 1_000


async def test_producer_above_the_rate_is_429(autojump_clock, make_world):
    """Producers have a rate limit, too."""
    world = make_world(producer_rate="1")

    async def call():
        return await post(world.producer, "/v1/notify", NOTE)

    statuses = await _statuses(call, 3)
    refused = await call()

    assert [200, 200, 429] == statuses
    assert "1" == refused.headers["retry-after"]
    assert (await world.badge())["v"] == 2


async def test_rate_is_per_producer_key(autojump_clock, make_world):
    """A producer above the rate does not limit another producer."""
    world = make_world(producer_rate="1", producer_keys=f"{KEY},the-other-producer")
    other = world.anonymous.with_headers({"Authorization": "Bearer the-other-producer"})

    async def call():
        return await post(world.producer, "/v1/notify", NOTE)

    assert 429 == (await _statuses(call, 3))[-1]
    assert 200 == (await post(other, "/v1/notify", NOTE)).status


async def test_each_recipient_is_charged(autojump_clock, make_world):
    """A call for many is charged as many calls, and rejected as a whole."""
    world = make_world(producer_rate="10")
    users = [f"u{number}" for number in range(15)]
    note = {**NOTE, "to": {"users": users}}
    first = await post(world.producer, "/v1/notify", note)
    second = await post(world.producer, "/v1/notify", note)

    assert (200, 429) == (first.status, second.status)
    assert (await world.badge("u0"))["v"] == 1


@pytest.mark.parametrize("rate", ["0.3", "1", "7", "499"])
async def test_call_for_more_than_a_burst_gets_through_in_its_time(
    autojump_clock, make_world, rate
):
    """A retry after `Retry-After` succeeds, however many the recipients are."""
    world = make_world(producer_rate=rate)
    note = {**NOTE, "to": {"users": [f"u{number}" for number in range(1_000)]}}
    await post(world.producer, "/v1/notify", NOTE)
    refused = await post(world.producer, "/v1/notify", note)
    await trio.sleep(int(refused.headers["retry-after"]))
    again = await post(world.producer, "/v1/notify", note)

    assert (429, 200) == (refused.status, again.status)
    assert int(refused.headers["retry-after"]) <= ceil(1 / float(rate))


async def test_429_is_a_problem_document(autojump_clock, make_world):
    """A 429 is a problem document with `Retry-After`."""
    world = make_world(producer_rate="0.1")
    await post(world.producer, "/v1/notify", NOTE)
    answer = await post(world.producer, "/v1/notify", NOTE)

    assert "application/problem+json" == answer.headers["content-type"]
    assert int(answer.headers["retry-after"]) >= 9


# Categories


async def test_mailbox_has_a_limit_of_categories(autojump_clock, world):
    """A new category above the limit is rejected; known categories still work."""
    for number in range(64):
        await world.notify(category=f"c{number}")
    over = await post(world.producer, "/v1/notify", {**NOTE, "category": "new"})
    known = await post(world.producer, "/v1/notify", {**NOTE, "category": "c0"})

    assert ["category"] == [error["field"] for error in body(over, 422)["errors"]]
    assert 200 == known.status


async def test_removed_category_makes_room(autojump_clock, world):
    """The limit is for current categories, not past ones."""
    for number in range(64):
        await world.notify(category=f"c{number}", source=str(number))
    await world.producer.request("DELETE", "/v1/items?source=0")
    answer = await post(world.producer, "/v1/notify", {**NOTE, "category": "new"})

    assert 200 == answer.status
