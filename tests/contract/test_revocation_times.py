"""Revocations compare the clock of a token's issuer with the clock of the service."""

from __future__ import annotations

from math import floor

import attrs
import pytest
import trio

from roundel_adapters.testing import AsgiClient
from roundel_service import app
from support.service import (
    RunningService,
    body,
    first_events,
    post,
    settings,
    wall_clock,
)

YEAR = 365 * 86_400


@attrs.define
class Clock:
    """A clock that is *ahead* of the right time by some seconds."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return wall_clock() + self.ahead


@pytest.fixture
async def clock():
    return Clock()


@pytest.fixture
async def world(clock, nursery):
    """Run a service on *clock*."""
    built = app.build(settings(), clock=clock)
    nursery.start_soon(built.run)
    return RunningService(built, AsgiClient(built.app))


def user(world, **claims) -> AsgiClient:
    """Return a client of alice; the issuer of its token has the right time."""
    fields = {"sub": "alice", "exp": wall_clock() + 2 * YEAR, **claims}
    token = world.service.authenticator.keys.sign(fields)
    return world.anonymous.with_headers({"Authorization": f"Bearer {token}"})


async def disconnect(world, **fields):
    answer = await post(world.producer, "/v1/users/alice/disconnect", fields)
    return body(answer)


async def statuses(client) -> tuple[int, int]:
    """Return the statuses of the badge and of a stream."""
    badge = await client.request("GET", "/v1/badge")
    stream = await client.request("HEAD", "/v1/stream")
    return badge.status, stream.status


ACCEPTED, REFUSED = (200, 200), (401, 204)


@pytest.mark.parametrize("fraction", [0.0, 0.000_01, 0.5, 0.999_9])
async def test_login_in_the_second_of_the_revocation_is_accepted(
    autojump_clock, world, fraction
):
    """A login service may revoke and sign the next token at once; `iat` is whole."""
    await trio.sleep(5 + fraction)
    await disconnect(world, revoke=True)
    now = floor(wall_clock())

    assert REFUSED == await statuses(user(world, iat=now - 1))
    assert ACCEPTED == await statuses(user(world, iat=now))
    assert ACCEPTED == await statuses(user(world, iat=float(now)))


@pytest.mark.parametrize("passed", [0.0, 0.000_3, 0.000_65])
async def test_login_in_the_millisecond_of_the_revocation_is_accepted(
    autojump_clock, world, passed
):
    """An issuer with `iat` in milliseconds cuts off the rest of its clock, too."""
    await trio.sleep(5.123_3)
    await disconnect(world, revoke=True)
    await trio.sleep(passed)
    iat = floor(wall_clock() * 1_000) / 1_000

    assert ACCEPTED == await statuses(user(world, iat=iat))
    assert ACCEPTED == await statuses(world.user())
    assert REFUSED == await statuses(user(world, iat=iat - 0.001))


async def test_fraction_of_iat_is_compared(autojump_clock, world):
    """A token with a fraction is older or newer than the revocation."""
    await trio.sleep(5.5)
    await disconnect(world, revoke=True)

    assert REFUSED == await statuses(user(world, iat=wall_clock() - 0.25))
    assert ACCEPTED == await statuses(user(world, iat=wall_clock() + 0.25))


async def test_ticket_of_a_login_in_that_second_opens_its_stream(autojump_clock, world):
    """A ticket has the time of issue of the token behind it."""
    await trio.sleep(5.5)
    await disconnect(world, revoke=True)
    alice = user(world, iat=floor(wall_clock()))
    url = body(await post(alice, "/v1/tickets", {}))["url"]
    async with world.anonymous.stream(url) as stream:
        hello, _ = await first_events(stream)

    assert "snapshot" == hello["resume"]


# The time in the request, and the tokens' `iat`, relative to a whole second.
GIVEN = {
    "now": (0, [-1, -0.001], [0, 0.5, 1]),
    "past": (-100, [-101, -100.25], [-100, -99, 0]),
    "fraction": (-99.5, [-101, -99.75], [-100, -99.25]),
    "issuer-is-ahead": (20, [0, 19, 19.75], [20, 20.25]),
    "limit-of-the-skew": (60, [0, 59], [60]),
    "far-ahead": (61, [-1], [0, 1]),
    "a-year-ahead": (YEAR, [-1], [0, 1]),
}


@pytest.mark.parametrize(("given", "old", "new"), GIVEN.values(), ids=GIVEN)
async def test_time_of_the_issuer_can_be_given(autojump_clock, world, given, old, new):
    """`issued_before` is of the issuer's clock; one far in the future counts as now."""
    await trio.sleep(5)
    now = floor(wall_clock())
    answer = await disconnect(world, revoke=True, issued_before=now + given)

    assert {"user": "alice", "revoked": True} == answer
    for iat in old:
        assert (iat, REFUSED) == (iat, await statuses(user(world, iat=now + iat)))
    for iat in new:
        assert (iat, ACCEPTED) == (iat, await statuses(user(world, iat=now + iat)))


async def test_time_zero_revokes_nothing(autojump_clock, world):
    """No token was issued before 1970; a token without `iat` is of that time."""
    await disconnect(world, revoke=True, issued_before=0)

    assert ACCEPTED == await statuses(user(world, iat=0))
    assert ACCEPTED == await statuses(user(world))


async def test_earlier_time_takes_no_revocation_back(autojump_clock, world):
    """A later revocation of older tokens keeps what an earlier one refuses."""
    await trio.sleep(100)
    await disconnect(world, revoke=True)
    await disconnect(world, revoke=True, issued_before=wall_clock() - 50)

    assert REFUSED == await statuses(user(world, iat=wall_clock() - 10))


async def test_time_is_remembered_for_a_day_from_the_request(autojump_clock, world):
    """Each revocation is remembered for 24 h, whatever time it names."""
    await trio.sleep(5)
    old = user(world, iat=wall_clock() - 90_000)
    await disconnect(world, revoke=True, issued_before=wall_clock() - 80_000)
    autojump_clock.jump(86_399)
    during = await statuses(old)
    await trio.sleep(2)

    assert (REFUSED, ACCEPTED) == (during, await statuses(old))


BAD = {
    "alone": b'{"issued_before":1}',
    "not-revoked": b'{"revoke":false,"issued_before":1}',
    "text": b'{"revoke":true,"issued_before":"1"}',
    "bool": b'{"revoke":true,"issued_before":true}',
    "null": b'{"revoke":true,"issued_before":null}',
    "negative": b'{"revoke":true,"issued_before":-1}',
    "milliseconds": b'{"revoke":true,"issued_before":1763690000000}',
    "huge": b'{"revoke":true,"issued_before":1e300}',
    "digits": b'{"revoke":true,"issued_before":' + b"9" * 400 + b"}",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
async def test_bad_time_revokes_nothing(autojump_clock, world, content):
    """The problem names the field, and the call has no effect."""
    alice = user(world, iat=0)
    target = "/v1/users/alice/disconnect"
    answer = await world.producer.request("POST", target, body=content)

    assert ["issued_before"] == [each["field"] for each in body(answer, 422)["errors"]]
    assert ACCEPTED == await statuses(alice)


NO_JSON = [
    b'{"revoke":true,"issued_before":NaN}',
    b'{"revoke":true,"issued_before":1e999}',
]


@pytest.mark.parametrize("content", NO_JSON)
async def test_time_that_is_no_number_is_refused(autojump_clock, world, content):
    """Neither NaN nor infinity is a time."""
    alice = user(world, iat=0)
    target = "/v1/users/alice/disconnect"
    answer = await world.producer.request("POST", target, body=content)

    assert answer.status in (400, 422)
    assert ACCEPTED == await statuses(alice)


# A clock that was wrong and is put right


AHEAD = [0.5, 30, 3_600, YEAR]


@pytest.mark.parametrize("ahead", AHEAD)
@pytest.mark.parametrize("path", ["/v1/badge", "/v1/stream"])
async def test_revocation_of_the_future_counts_as_now(
    autojump_clock, world, clock, ahead, path
):
    """After the clock is put right, the next request fixes the time for good."""
    await trio.sleep(5)
    old, clock.ahead = user(world, iat=wall_clock()), ahead
    await trio.sleep(1.5)
    await disconnect(world, revoke=True)
    clock.ahead = 0
    first = await old.request("HEAD", path)
    await trio.sleep(5)

    assert first.status in REFUSED
    assert REFUSED == await statuses(old)
    assert ACCEPTED == await statuses(user(world, iat=wall_clock() - 2))


async def test_running_stream_outlives_the_correction(autojump_clock, world, clock):
    """The correction ends no stream: it is no new revocation."""
    clock.ahead = YEAR
    await disconnect(world, revoke=True)
    clock.ahead = 0
    await user(world, iat=wall_clock() - 9).request("GET", "/v1/badge")
    await trio.sleep(5)
    async with user(world, iat=wall_clock() - 1).stream("/v1/stream") as stream:
        await first_events(stream)
        await statuses(user(world, iat=wall_clock() - 9))
        await world.notify()

        assert "badge" == (await stream.next_event()).type


@pytest.mark.parametrize("ahead", AHEAD)
async def test_revocation_after_one_of_the_future(autojump_clock, world, clock, ahead):
    """Another revocation has the right time, also without a request in between."""
    clock.ahead = ahead
    await disconnect(world, revoke=True)
    clock.ahead = 0
    await trio.sleep(2)
    await disconnect(world, revoke=True)
    await trio.sleep(2)

    assert REFUSED == await statuses(user(world, iat=wall_clock() - 3))
    assert ACCEPTED == await statuses(user(world, iat=wall_clock() - 1))


async def test_given_time_survives_a_clock_put_right(autojump_clock, world, clock):
    """The time of the issuer's clock was right all along."""
    await trio.sleep(100)
    clock.ahead = YEAR
    await disconnect(world, revoke=True, issued_before=wall_clock() - 50)
    clock.ahead = 0

    assert REFUSED == await statuses(user(world, iat=wall_clock() - 60))
    assert ACCEPTED == await statuses(user(world, iat=wall_clock() - 40))


@pytest.mark.parametrize(("ahead", "status"), [(0, 200), (30, 200), (YEAR, 401)])
async def test_ticket_of_a_clock_put_right(autojump_clock, world, clock, ahead, status):
    """A ticket can be used for a minute, also if its time is a year ahead."""
    clock.ahead = ahead
    answer = await post(world.producer, "/v1/tickets", {"user": "alice"})
    clock.ahead = 0
    stream = await world.anonymous.request("HEAD", body(answer)["url"])

    assert status == stream.status


@pytest.mark.parametrize("ahead", [0, YEAR])
async def test_forgotten_user_is_not_revoked(autojump_clock, world, clock, ahead):
    """A deletion clears the revocation; the streams were ended by it."""
    await trio.sleep(5)
    old, clock.ahead = user(world, iat=wall_clock() - 2), ahead
    await disconnect(world, revoke=True)
    clock.ahead = 0
    await world.producer.request("DELETE", "/v1/users/alice")

    assert ACCEPTED == await statuses(old)
