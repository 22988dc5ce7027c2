"""How streams end and are rejected, in ways that an EventSource survives."""

from __future__ import annotations

from contextlib import AsyncExitStack

import attrs
import pytest
import trio
from joserfc import jwt
from joserfc.jwk import ECKey

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service import settings as config
from roundel_service.domain.operations import Disconnect
from support.service import (
    KEY,
    RunningService,
    StaleReadEngine,
    Valve,
    body,
    data,
    events_so_far,
    first_events,
    metric_value,
    post,
    remaining_events,
    wall_clock,
)

LEVELS = pytest.mark.parametrize("level", ["badge", "items"])
STREAM = "/v1/stream"


async def disconnect(world, user: str = "alice", *, revoke: bool = False) -> None:
    document = {"revoke": True} if revoke else {}
    body(await post(world.producer, f"/v1/users/{user}/disconnect", document))


# The warning before the proof runs out.


@pytest.mark.parametrize(
    ("ttl", "after", "left"), [(300, 240, 60), (61, 1, 60), (60, 0, 60), (20, 0, 20)]
)
async def test_auth_comes_before_the_credential_expires(
    autojump_clock, world, ttl, after, left
):
    """`auth` comes 60 s before the credential expires, or at once if less is left."""
    async with world.user(ttl=ttl).stream(STREAM) as stream:
        start = trio.current_time()
        while (event := await stream.next_event()).type != "auth":
            pass

        assert trio.current_time() == pytest.approx(start + after, abs=0.01)
        assert {"expires_in": left} == data(event)
        assert "" == event.id or event.id == stream.last_event_id


async def test_auth_comes_once(autojump_clock, world):
    """A stream sends `auth` once."""
    async with world.user(ttl=100).stream(STREAM) as stream:
        events = [event.type for event in await remaining_events(stream)]

        assert 1 == events.count("auth")


async def test_no_auth_if_the_stream_ends_first(autojump_clock, world):
    """A stream that ends before its credential expires sends no `auth`."""
    async with world.user(ttl=3_600).stream(STREAM) as stream:
        events = [event.type for event in await remaining_events(stream)]

        assert "auth" not in events


# bye, in each of its reasons.


async def _drain(world):
    world.service.hub.drain()


async def _revoke(world):
    await disconnect(world)


async def _nothing(world):
    pass


ENDS = {
    "drain": ({}, 86_400, _drain),
    "max_age": ({}, 86_400, _nothing),
    "expired": ({}, 100, _nothing),
    "revoked": ({}, 86_400, _revoke),
}


@LEVELS
@pytest.mark.parametrize("why", ENDS)
async def test_planned_end_sends_bye(autojump_clock, make_world, level, why):
    """The last event has the reason of the end and the reconnection time."""
    changes, ttl, end = ENDS[why]
    world = make_world(**changes)
    async with world.user(ttl=ttl).stream(f"{STREAM}?level={level}") as stream:
        await first_events(stream)
        await end(world)
        *_, bye = await remaining_events(stream)

        assert {"reason": why, "retry": stream.retry} == data(bye)
        assert "bye" == bye.type
        assert 0 == world.service.hub.streams
        assert 1 == metric_value(world, "roundel_streams_ended_total", reason=why)


@LEVELS
@pytest.mark.parametrize("setting", ["max_streams", "max_streams_per_user"])
async def test_stream_above_the_limit_is_shed(
    autojump_clock, make_world, level, setting
):
    """A stream above the limit gets `hello` and `bye`, with status 200."""
    world = make_world(**{setting: "1"})
    async with world.user().stream(STREAM) as first:
        await first_events(first)
        async with world.user().stream(f"{STREAM}?level={level}") as second:
            hello, bye = await remaining_events(second)

            assert (200, "hello") == (second.status, hello.type)
            assert {"reason": "shed", "retry": second.retry} == data(bye)
            assert 1 == metric_value(world, "roundel_streams_rejected_total")


async def test_retry_is_a_line_before_bye(autojump_clock, world):
    """The `retry` line is for the browser, the field of `bye` for page scripts."""
    world.service.hub.drain()
    answer = await world.user().request("GET", STREAM)
    last = answer.body.decode().split("\n\n")[-2].split("\n")

    assert ["retry", "event", "data"] == [line.partition(":")[0] for line in last]
    assert f'"retry":{last[0].removeprefix("retry: ")}}}' in last[2]


@LEVELS
@pytest.mark.parametrize(("changes", "retry"), [({}, 5_000), ({"retry": "2.5"}, 2_500)])
async def test_stream_begins_with_retry(
    autojump_clock, make_world, level, changes, retry
):
    """The line before `hello` replaces the reconnection time of an earlier `bye`."""
    world = make_world(**changes)
    async with world.user().stream(f"{STREAM}?level={level}") as stream:
        await first_events(stream)

        assert retry == stream.retry


@pytest.mark.parametrize(
    ("reason", "floor"), [("drain", 5_000), ("max_age", 1_000), ("expired", 1_000)]
)
async def test_drain_retry_has_the_floor_of_the_setting(
    autojump_clock, make_world, reason, floor
):
    """A drained page comes back when the next process listens."""
    changes, ttl, end = ENDS[reason]
    world = make_world(**changes)
    async with world.user(ttl=ttl).stream(STREAM) as stream:
        await first_events(stream)
        await end(world)
        *_, bye = await remaining_events(stream)

        assert floor <= data(bye)["retry"] <= floor + 2


async def test_shed_retry_has_the_floor_of_the_setting(autojump_clock, make_world):
    """A shed page asks again after `ROUNDEL_RETRY`, not each second for ever."""
    world = make_world(max_streams="1", retry="7")
    async with world.user().stream(STREAM) as first:
        await first_events(first)
        async with world.user().stream(STREAM) as second:
            *_, bye = await remaining_events(second)

            assert 7_000 <= data(bye)["retry"] <= 7_002


async def test_bye_moves_no_cursor(autojump_clock, world):
    """Changes after the end of a stream are replayed to the next connection."""
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        _, snapshot = await first_events(stream)
        world.service.hub.drain()
        await world.notify()
        (bye,) = await remaining_events(stream)

        assert "bye" == bye.type
        assert snapshot.id == stream.last_event_id


async def test_first_reason_wins(autojump_clock, world):
    """A second end changes neither reason nor reconnection time."""
    async with world.user().stream(STREAM) as stream:
        await first_events(stream)
        await world.service.hub.apply("alice", Disconnect())
        world.service.hub.drain()
        (bye,) = await remaining_events(stream)

        assert "revoked" == data(bye)["reason"]


async def test_disconnect(autojump_clock, world):
    """A disconnect ends all streams of the user, and no others."""
    async with (
        world.user().stream(STREAM) as one,
        world.user().stream(f"{STREAM}?level=items") as two,
        world.user("bob").stream(STREAM) as other,
    ):
        for stream in (one, two, other):
            await first_events(stream)
        await disconnect(world)
        byes = [await events_so_far(stream) for stream in (one, two, other)]

        assert [["bye"], ["bye"], []] == [[e.type for e in events] for events in byes]


async def test_disconnected_user_can_reconnect(autojump_clock, world):
    """A disconnect without `revoke` ends streams and rejects no request."""
    user = world.user()
    await disconnect(world)
    async with user.stream(STREAM) as stream:
        assert "snapshot" == data(await stream.next_event())["resume"]


def before_the_body(world: RunningService, act) -> RunningService:
    """Return the service with *act* between the head and the body of a stream."""

    async def app(scope, receive, send) -> None:
        async def sending(message) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                await act()

        await world.service.app(scope, receive, sending)

    return attrs.evolve(world, anonymous=AsgiClient(app))


@pytest.mark.parametrize("revoke", [False, True], ids=["disconnect", "revoke"])
async def test_disconnect_of_an_opening_stream(autojump_clock, world, revoke):
    """A disconnect ends a stream that was accepted before it and has sent nothing."""

    async def act() -> None:
        await trio.sleep(0.1)
        await disconnect(world, revoke=revoke)

    async with before_the_body(world, act).user().stream(STREAM) as stream:
        hello, bye = await remaining_events(stream)

        assert ("hello", "revoked") == (hello.type, data(bye)["reason"])


@pytest.mark.parametrize("steps", range(0, 15, 3))
async def test_revocation_of_an_opening_stream(autojump_clock, world, steps):
    """A disconnect between the check of the credential and the stream is not lost."""
    world.service.hub.engine = StaleReadEngine(world.service.hub.engine)
    user, events = world.user(), []
    await trio.sleep(1)

    async def read() -> None:
        async with user.stream(STREAM) as stream:
            events.append((stream.status, await remaining_events(stream)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        await world.service.hub.apply("alice", Disconnect(revoke=True))
    ((status, received),) = events

    assert 204 == status or "revoked" == data(received[-1])["reason"]


async def test_drain_of_an_opening_stream(autojump_clock, world):
    """A stream that starts during a drain gets `hello` and `bye`."""

    async def act() -> None:
        world.service.hub.drain()

    async with before_the_body(world, act).user().stream(STREAM) as stream:
        hello, bye = await remaining_events(stream)

        assert ("hello", "drain") == (hello.type, data(bye)["reason"])


@LEVELS
async def test_stream_during_a_drain(autojump_clock, world, level):
    """`hello` is always first, even if only `bye` follows."""
    await world.notify()
    world.service.hub.drain()
    async with world.user().stream(f"{STREAM}?level={level}") as stream:
        hello, bye = await remaining_events(stream)

        assert {
            "proto", "resume", "epoch", "v", "ping", "max_age", "expires_in",
        } == data(hello).keys()  # fmt: skip
        assert ("snapshot", 1) == (data(hello)["resume"], data(hello)["v"])
        assert "drain" == data(bye)["reason"]


# retry, so that a deploy is no stampede.


async def test_drain_spreads_reconnections(autojump_clock, world):
    """Each of N streams draws its reconnection time from [5, 5 + N/500] seconds."""
    retries = []
    async with trio.open_nursery() as nursery:

        async def read(user: str) -> None:
            async with world.user(user).stream(STREAM) as stream:
                *_, bye = await remaining_events(stream)
                retries.append(data(bye)["retry"])

        for number in range(50):
            nursery.start_soon(read, f"user{number}")
        await trio.testing.wait_all_tasks_blocked()
        world.service.hub.drain()

    assert 50 == len(retries)
    assert all(5_000 <= retry <= 5_100 for retry in retries)
    assert len(set(retries)) > 10


@pytest.mark.parametrize(("draw", "retry"), [(0.0, 5_000), (0.5, 5_005), (1.0, 5_010)])
async def test_retry_bounds(autojump_clock, world, draw, retry):
    """Five streams at 500 reconnections a second spread over 10 ms."""
    hub = world.service.hub
    hub._registry._random = lambda: draw
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(world.user(f"u{n}").stream(STREAM))
            for n in range(5)
        ]
        for stream in streams:
            await first_events(stream)
        hub.drain()
        byes = [data((await remaining_events(stream))[-1]) for stream in streams]

        assert [retry] * 5 == [bye["retry"] for bye in byes]


@pytest.mark.parametrize(("draw", "age"), [(0.0, 480), (0.5, 540), (1.0, 600)])
async def test_max_age_is_shortened(autojump_clock, world, draw, age):
    """The maximum age is shortened at random, so that streams do not end together."""
    world.service.hub._random = lambda: draw
    async with world.user().stream(STREAM) as stream:
        start = trio.current_time()
        hello, _ = await first_events(stream)
        await remaining_events(stream)

        assert age == hello["max_age"]
        assert trio.current_time() == pytest.approx(start + age, abs=0.01)


# A stream never outlives its proof.


@LEVELS
@pytest.mark.parametrize("ttl", [0.5, 20, 100, 479])
async def test_stream_ends_with_its_token(autojump_clock, world, level, ttl):
    """A stream ends at the `exp` of its token."""
    async with world.user(ttl=ttl).stream(f"{STREAM}?level={level}") as stream:
        start = trio.current_time()
        *_, bye = await remaining_events(stream)

        assert trio.current_time() == pytest.approx(start + ttl, abs=0.01)
        assert "expired" == data(bye)["reason"]


async def test_no_event_after_the_token_expired(autojump_clock, world):
    """A slow subscriber gets no change that was published after its token expired."""
    valve = Valve(world)
    async with valve.world.user(ttl=10).stream(f"{STREAM}?level=items") as stream:
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(15)
        await world.notify()
        valve.open()
        events = await remaining_events(stream)

        assert ["hello", "auth", "snapshot", "bye"] == [e.type for e in events]
        assert "expired" == data(events[-1])["reason"]


# Limits: reject, never evict.


@pytest.mark.parametrize("setting", ["max_streams", "max_streams_per_user"])
async def test_open_streams_stay(autojump_clock, make_world, setting):
    """New streams above the limit do not affect open streams."""
    world = make_world(**{setting: "2"})
    async with (
        world.user().stream(STREAM) as one,
        world.user().stream(STREAM) as two,
    ):
        for stream in (one, two):
            await first_events(stream)
        for _ in range(10):
            async with world.user().stream(STREAM) as late:
                assert "shed" == data((await remaining_events(late))[-1])["reason"]
        await world.notify()
        received = [await events_so_far(stream) for stream in (one, two)]

        assert [["badge"], ["badge"]] == [[e.type for e in each] for each in received]


@pytest.mark.parametrize("setting", ["max_streams", "max_streams_per_user"])
async def test_end_of_a_stream_makes_room(autojump_clock, make_world, setting):
    """The end of a stream makes room for the next one."""
    world = make_world(**{setting: "1"})
    for _ in range(3):
        async with world.user().stream(STREAM) as stream:
            assert "badge" == (await first_events(stream))[1].type


@pytest.mark.parametrize("setting", ["max_streams", "max_streams_per_user"])
async def test_shed_stream_takes_no_slot(autojump_clock, make_world, setting):
    """A rejected client that does not read takes no slot."""
    world = make_world(**{setting: "1"})
    valve, done = Valve(world), trio.Event()

    async def come_and_not_read(*, task_status) -> None:
        async with valve.world.user().stream(STREAM):
            task_status.started()
            await done.wait()

    async with trio.open_nursery() as nursery:
        async with world.user().stream(STREAM) as first:
            await first_events(first)
            await nursery.start(come_and_not_read)
            await trio.testing.wait_all_tasks_blocked()
        async with world.user().stream(STREAM) as second:
            types = [event.type for event in await events_so_far(second)]
        done.set()

    assert ["hello", "badge"] == types


async def test_limit_is_per_user(autojump_clock, make_world):
    """A user at the limit does not affect other users."""
    world = make_world(max_streams_per_user="1")
    async with (
        world.user().stream(STREAM) as alice,
        world.user("bob").stream(STREAM) as bob,
    ):
        types = [(await first_events(stream))[1].type for stream in (alice, bob)]

        assert ["badge", "badge"] == types


async def test_rate_limited_stream_is_shed(autojump_clock, make_world):
    """A rate-limited stream is shed with 200: an EventSource gives up at 429."""
    world = make_world(user_rate="1")
    whys = []
    for _ in range(6):
        async with world.user().stream(STREAM) as stream:
            assert 200 == stream.status
            whys.append([event.type for event in await events_so_far(stream)])

    assert [["hello", "badge"]] * 4 + [["hello", "bye"]] * 2 == whys


# Rejected with a status


async def test_revoked_token_is_204(autojump_clock, world):
    """A revoked credential is 204, so that an EventSource stops."""
    user = world.user()
    await trio.sleep(1)
    await disconnect(world, revoke=True)
    answer = await user.request("GET", STREAM)

    assert (204, b"") == (answer.status, answer.body)


async def test_token_after_the_revocation(autojump_clock, world):
    """A token that was issued after the revocation opens a stream."""
    await disconnect(world, revoke=True)
    await trio.sleep(1)
    async with world.user().stream(STREAM) as stream:
        assert 200 == stream.status


async def test_revocation_of_a_running_stream(autojump_clock, world):
    """A revoked stream gets `bye`, and its reconnection gets 204."""
    user = world.user()
    await trio.sleep(1)
    async with user.stream(STREAM) as stream:
        await first_events(stream)
        await disconnect(world, revoke=True)
        (bye,) = await remaining_events(stream)
    again = await user.request("GET", STREAM)

    assert ("revoked", 204) == (data(bye)["reason"], again.status)


async def test_expired_token_is_401(autojump_clock, world):
    """An expired token is 401, since it can be renewed."""
    user = world.user(ttl=10)
    await trio.sleep(11)

    assert 401 == (await user.request("GET", STREAM)).status


async def test_revoked_and_expired_token_is_401(autojump_clock, world):
    """A token that is expired and revoked is 401."""
    user = world.user(ttl=10)
    await trio.sleep(1)
    await disconnect(world, revoke=True)
    await trio.sleep(11)

    assert 401 == (await user.request("GET", STREAM)).status


def _good(world) -> str:
    return world.service.authenticator.sign("alice", ttl=60)


PROOFS = {
    "none": (lambda world: ({}, ""), 401),
    "empty": (lambda world: ({"Authorization": ""}, ""), 401),
    "basic": (lambda world: ({"Authorization": "Basic YTpi"}, ""), 401),
    "nonsense": (lambda world: ({"Authorization": "Bearer nonsense"}, ""), 401),
    "bad-cookie": (lambda world: ({"Cookie": "roundel=x"}, ""), 401),
    "bad-ticket": (lambda world: ({}, "?ticket=x"), 401),
    "empty-ticket": (lambda world: ({}, "?ticket="), 401),
    "token-as-ticket": (lambda world: ({}, f"?ticket={_good(world)}"), 401),
    "producer": (lambda world: ({"Authorization": f"Bearer {KEY}"}, ""), 403),
    "bad-beside-good": (
        lambda world: (
            {"Authorization": "Bearer x", "Cookie": f"roundel={_good(world)}"},
            "",
        ),
        401,
    ),
    "bad-ticket-beside-good": (
        lambda world: ({"Authorization": f"Bearer {_good(world)}"}, "?ticket=x"),
        401,
    ),
    "good": (lambda world: ({"Authorization": f"Bearer {_good(world)}"}, ""), 200),
    "good-cookie": (lambda world: ({"Cookie": f"roundel={_good(world)}"}, ""), 200),
}


@pytest.mark.parametrize("proof", PROOFS)
async def test_stream_needs_a_credential(autojump_clock, world, proof):
    """A stream needs a valid credential, and a bad one is not ignored."""
    make, status = PROOFS[proof]
    headers, query = make(world)
    answer = await world.anonymous.request("HEAD", STREAM + query, headers=headers)

    assert status == answer.status


async def test_bearer_takes_precedence_over_the_cookie(autojump_clock, world):
    """A bearer token takes precedence over the cookie."""
    await world.notify("bob")
    cookie = {"Cookie": f"roundel={world.service.authenticator.sign('bob', ttl=60)}"}
    async with world.user("alice").stream(STREAM, headers=cookie) as stream:
        assert 0 == data((await first_events(stream))[1])["unread"]


# Without keys


async def test_stream_without_keys_is_shed(autojump_clock, nursery, tmp_path):
    """Without a key to verify tokens a stream is shed."""
    missing = str(tmp_path / "missing.json")
    given = {"engine": "memory", "producer_keys": KEY, "jwks": missing}
    built = service.build(config.load(given, {}), clock=wall_clock)
    nursery.start_soon(built.run)
    claims = {"sub": "alice", "exp": wall_clock() + 60}
    token = jwt.encode({"alg": "ES256"}, claims, ECKey.generate_key("P-256"))
    headers = {"Authorization": f"Bearer {token}"}
    answer = await AsgiClient(built.app).request("GET", STREAM, headers=headers)
    retry, event, bye = answer.body.decode().strip().split("\n")

    assert 200 == answer.status
    assert "text/event-stream; charset=utf-8" == answer.headers["content-type"]
    assert "event: bye" == event
    assert f'data: {{"reason":"shed","retry":{retry.removeprefix("retry: ")}}}' == bye
