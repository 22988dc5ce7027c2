"""The claim `topics` of a token: what the user follows, and since when."""

from __future__ import annotations

import pytest
import trio

from roundel_service.domain.operations import ClaimTopics
from roundel_service.engines.memory import MemoryEngine
from support.service import (
    START,
    body,
    data,
    events_so_far,
    first_events,
    post,
    wall_clock,
)


def token(world, topics, *, iat=None, name="alice"):
    """Return a token that has this claim."""
    issued_at = wall_clock() if iat is None else iat
    claims = {"sub": name, "exp": wall_clock() + 3_600, "iat": issued_at}
    if topics is not None:
        claims["topics"] = topics
    return world.service.authenticator.keys.sign(claims)


def user(world, topics, **claims):
    """Return a client with such a token."""
    credential = f"Bearer {token(world, topics, **claims)}"
    return world.anonymous.with_headers({"Authorization": credential})


async def publish(world, topic="team-7", **fields):
    request = {"to": {"topic": topic}, "title": topic, **fields}
    body(await post(world.producer, "/v1/notify", request))


async def titles(client):
    response = await client.request("GET", "/v1/items?state=all")
    return [item["title"] for item in body(response)["items"]]


async def topics_of(world):
    response = await world.producer.request("GET", "/v1/users/alice/topics")
    return body(response)["topics"]


async def test_list_is_since_the_start(autojump_clock, world):
    """Of `["team-7"]` the user pulls all that the topic holds, and what comes."""
    await publish(world, title="before")
    alice = user(world, ["team-7"])

    assert ["before"] == await titles(alice)
    await publish(world, title="after")
    await publish(world, "other")
    assert ["after", "before"] == await titles(alice)
    found = (await topics_of(world))["team-7"]
    assert {"since": "start", "by": "token"} == found


async def test_object_has_times(autojump_clock, world):
    """Of `{"team-7": T}` the user pulls what was created at T or later."""
    await publish(world, title="old")
    await trio.sleep(10.0)
    await publish(world, title="new")
    alice = user(world, {"team-7": START + 5})

    assert ["new"] == await titles(alice)


async def test_time_of_all_spares_old_announcements(autojump_clock, world):
    """`{"all": T}` counts before the first pull, on a stream and in a call."""
    await publish(world, "all", title="old")
    await trio.sleep(10.0)
    await publish(world, "all", title="new")
    for name in ("alice", "bob"):
        client = user(world, {"all": START + 5}, name=name)
        if name == "bob":
            async with client.stream("/v1/stream?level=items") as stream:
                _, snapshot = await first_events(stream)
                shown = data(snapshot)["items"]
        else:
            shown = body(await client.request("GET", "/v1/items"))["items"]

        assert ["new"] == [item["title"] for item in shown]


async def test_stream_begins_with_what_the_token_lets_follow(autojump_clock, world):
    """The first badge of a stream counts the items of the topics."""
    await publish(world)
    async with user(world, ["team-7"]).stream("/v1/stream") as stream:
        _, badge = await first_events(stream)

    assert 1 == data(badge)["unread"]


async def test_later_token_counts(autojump_clock, world):
    """What an earlier token named and a later one does not is left, never reversely."""
    for topic in ("a", "b"):
        await publish(world, topic)
    earlier, later = user(world, ["a", "b"]), user(world, ["b"], iat=START + 1)
    assert ["b", "a"] == await titles(earlier)
    assert ["b"] == await titles(later)

    # An earlier token, in another tab, changes nothing.
    assert ["b"] == await titles(earlier)
    assert {"all", "b"} == {*await topics_of(world)}
    assert [] == await titles(user(world, [], iat=START + 2))


async def test_token_without_the_claim_says_nothing(autojump_clock, world):
    """The user still follows what an earlier token named."""
    await publish(world)
    await titles(user(world, ["team-7"]))

    for silent in (user(world, None, iat=START + 5), world.user()):
        assert ["team-7"] == await titles(silent)


async def test_what_a_producer_made_a_user_follow_stays(autojump_clock, world):
    """A token that does not name the topic does not leave it."""
    request = {"add": ["alice"], "since": "start"}
    await post(world.producer, "/v1/topics/team-7/followers", request)
    await publish(world)
    await titles(user(world, ["other"]))

    assert ["team-7"] == await titles(user(world, [], iat=START + 1))
    # Also if a token has named it meanwhile.
    await titles(user(world, ["team-7"], iat=START + 2))
    assert ["team-7"] == await titles(user(world, [], iat=START + 3))


class CountingEngine:
    """A memory engine that counts the claims that are written, and the peeks."""

    def __init__(self) -> None:
        self._engine = MemoryEngine(clock=wall_clock)
        self.claims = self.peeks = 0

    def __getattr__(self, name):
        return getattr(self._engine, name)

    async def peek(self, name):
        self.peeks += 1
        return await self._engine.peek(name)

    async def apply(self, work):
        self.claims += sum(isinstance(each, ClaimTopics) for _, each in work)
        return await self._engine.apply(work)


async def test_same_token_is_written_once(autojump_clock, make_world):
    """Only a token with a later `iat` costs a write, and a claim makes no version."""
    engine = CountingEngine()
    world = make_world(engine=engine)
    for iat, written in ((START, 1), (START, 1), (START + 1, 2), (START, 2)):
        for _ in range(3):
            await titles(user(world, ["team-7"], iat=iat))

        assert written == engine.claims
    assert 0 == (await world.badge())["v"]
    # A known token is read as any other: a peek is slower at a shared engine.
    engine.peeks = 0
    await titles(user(world, ["team-7"], iat=START))
    assert 0 == engine.peeks


async def test_topics_of_a_deleted_user_are_followed_again(autojump_clock, world):
    """The token of a user who was deleted says again what the user follows."""
    alice = user(world, ["team-7"])
    await publish(world, title="before")
    assert ["before"] == await titles(alice)
    await world.producer.request("DELETE", "/v1/users/alice")
    await publish(world, "all", title="all")

    assert ["all", "before"] == sorted(await titles(alice))


async def test_ticket_opens_a_stream_of_what_the_token_named(autojump_clock, world):
    """A user's ticket has the same topics as the token that asked for it."""
    await publish(world)
    ticket = body(await post(user(world, ["team-7"]), "/v1/tickets", {}))
    async with world.anonymous.stream(ticket["url"]) as stream:
        _, badge = await first_events(stream)

    assert 1 == data(badge)["unread"]


async def test_latest_of_two_cookies_counts(autojump_clock, world):
    """Of two cookies of one user the one with the later `iat` says the topics."""
    await publish(world)
    tokens = [
        token(world, topics, iat=iat)
        for topics, iat in ((["team-7"], START + 1), ([], START))
    ]
    cookies = "; ".join(f"roundel={each}" for each in tokens)

    assert ["team-7"] == await titles(world.anonymous.with_headers({"Cookie": cookies}))


async def test_revoked_token_changes_nothing(autojump_clock, world):
    """The topics of a revoked token are not followed."""
    revoked = user(world, ["team-7"])
    await trio.sleep(2.0)
    await post(world.producer, "/v1/users/alice/disconnect", {"revoke": True})

    assert 401 == (await revoked.request("GET", "/v1/badge")).status
    async with revoked.stream("/v1/stream") as stream:
        assert 204 == stream.status
    assert ["all"] == [*await topics_of(world)]


INVALID = {
    "text": "team-7",
    "number": 7,
    "bad name": ["a b"],
    "name with #": {"#t": 0},
    "empty name": [""],
    "no text": [7],
    "list in a list": [["a"]],
    "65 topics": [f"t{number}" for number in range(65)],
    "65 times": {f"t{number}": 0 for number in range(65)},
    "text as time": {"t": "now"},
    "bool as time": {"t": True},
    "null as time": {"t": None},
    "negative time": {"t": -1},
    "milliseconds": {"t": START * 1_000},
}


@pytest.mark.parametrize("topics", INVALID.values(), ids=INVALID)
async def test_invalid_claim_is_401_with_a_reason(autojump_clock, world, topics):
    """More than 64 topics, and what is no topic or time, is 401 and named."""
    client = user(world, topics)
    problem = body(await client.request("GET", "/v1/badge"), 401)

    assert "topics" in problem["detail"]
    async with client.stream("/v1/stream") as stream:
        assert 401 == stream.status


async def test_topics_need_the_time_of_issue(autojump_clock, world):
    """Without `iat` no later token could be told: such a token is 401."""
    claims = {"sub": "alice", "exp": wall_clock() + 60, "topics": []}
    signed = world.service.authenticator.keys.sign(claims)
    client = world.anonymous.with_headers({"Authorization": f"Bearer {signed}"})

    assert "iat" in body(await client.request("GET", "/v1/badge"), 401)["detail"]


async def test_limit_of_topics_is_a_setting(autojump_clock, make_world):
    """`ROUNDEL_MAX_FOLLOWS` also bounds the topics of a token."""
    world = make_world(max_follows="2")

    assert [] == await titles(user(world, ["a", "b"]))
    response = await user(world, ["a", "b", "c"]).request("GET", "/v1/badge")
    assert 401 == response.status


async def test_64_topics_fit(autojump_clock, world):
    """A token names up to 64 topics."""
    alice = user(world, [f"{number:064}" for number in range(64)])

    assert [] == await titles(alice)
    assert 65 == len(await topics_of(world))


async def test_signed_topics(autojump_clock, world):
    """`Authenticator.sign()` can name topics, for tests of a site."""
    await publish(world)
    signed = world.service.authenticator.sign("alice", ttl=60, topics={"team-7": 0})
    client = world.anonymous.with_headers({"Authorization": f"Bearer {signed}"})

    assert ["team-7"] == await titles(client)


async def test_open_stream_gets_what_another_tab_lets_follow(autojump_clock, world):
    """A later token in another tab changes the list of a stream that is open."""
    await publish(world)
    async with user(world, []).stream("/v1/stream?level=items") as stream:
        await events_so_far(stream)
        await titles(user(world, ["team-7"], iat=START + 1))
        [change] = await events_so_far(stream)

    assert "team-7" == data(change)["ops"][0]["add"]["topic"]
