"""Long polls count with the streams: one too many is answered at once."""

from __future__ import annotations

import attrs
import pytest
import trio

from roundel_service.engines.memory import MemoryEngine
from support.service import body, data, events_so_far, first_events, wall_clock

STREAM = "/v1/stream"


@attrs.define
class Poll:
    """A long poll, its answer, and the time of the answer."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    status: int | None = None
    answered_at: float | None = None


@pytest.fixture
async def start_poll(nursery):
    """Return a function that starts a long poll of the current badge."""

    async def start(world, user: str = "alice", *, by_producer: bool = False) -> Poll:
        client = world.producer if by_producer else world.user(user)
        path = f"/v1/users/{user}/badge" if by_producer else "/v1/badge"
        tag = (await client.request("GET", path)).headers["etag"]
        poll = Poll()

        async def run() -> None:
            with poll.scope:
                answer = await client.request(
                    "GET", f"{path}?wait=60", headers={"If-None-Match": tag}
                )
                poll.status, poll.answered_at = answer.status, trio.current_time()

        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        return poll

    return start


async def _is_shed(world, user: str = "alice") -> bool:
    async with world.user(user).stream(STREAM) as stream:
        *_, last = await events_so_far(stream)
        return last.type == "bye" and data(last)["reason"] == "shed"


@pytest.mark.parametrize("setting", ["max_streams", "max_streams_per_user"])
@pytest.mark.parametrize("by_producer", [False, True], ids=["user", "producer"])
async def test_one_poll_too_many_is_answered_at_once(
    autojump_clock, make_world, start_poll, setting, by_producer
):
    """At the limit a poll is an ordinary request; it takes no place of a stream."""
    world = make_world(**{setting: "2"})
    polls = [await start_poll(world, by_producer=by_producer) for _ in range(5)]

    assert [None, None, 304, 304, 304] == [poll.status for poll in polls]
    assert [0, 0, 0] == [poll.answered_at for poll in polls[2:]]
    assert await _is_shed(world)

    await trio.sleep(61)
    assert [60, 60] == [round(poll.answered_at) for poll in polls[:2]]
    assert not await _is_shed(world)


@pytest.mark.parametrize("setting", ["max_streams", "max_streams_per_user"])
async def test_streams_leave_no_room_for_polls(
    autojump_clock, make_world, start_poll, setting
):
    """A poll beside the last stream is answered at once, with what is known."""
    world = make_world(**{setting: "1"})
    async with world.user().stream(STREAM) as stream:
        await first_events(stream)
        poll = await start_poll(world)

        assert (304, 0) == (poll.status, poll.answered_at)
    assert (await start_poll(world)).status is None


async def test_places_are_free_again(autojump_clock, make_world, start_poll):
    """A poll that was answered, or whose client left, takes no place."""
    world = make_world(max_streams_per_user="2")
    one, two = await start_poll(world), await start_poll(world)
    two.scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    three = await start_poll(world)
    await world.notify()
    await trio.testing.wait_all_tasks_blocked()

    assert (200, None, 200) == (one.status, two.status, three.status)
    assert [None, None] == [(await start_poll(world)).status for _ in range(2)]


async def test_limit_of_polls_is_per_user(autojump_clock, make_world, start_poll):
    """The polls of a user take no place of another user."""
    world = make_world(max_streams_per_user="1")
    polls = [await start_poll(world, user) for user in ("alice", "bob", "alice")]

    assert [None, None, 304] == [poll.status for poll in polls]


async def test_request_that_need_not_wait_takes_no_place(
    autojump_clock, make_world, start_poll
):
    """With another tag the badge is sent, also at the limit."""
    world = make_world(max_streams_per_user="1")
    await start_poll(world)
    answer = await world.user().request(
        "GET", "/v1/badge?wait=60", headers={"If-None-Match": '"other"'}
    )

    assert 0 == body(answer)["v"]


class SharedEngine(MemoryEngine):
    """An engine of several nodes, whose count of streams waits for *may_report*."""

    is_shared = True

    def __init__(self) -> None:
        super().__init__(clock=wall_clock)
        self.may_report = trio.Event()

    async def report_presence(self, streams, *, ttl):
        await self.may_report.wait()
        return await super().report_presence(streams, ttl=ttl)


@pytest.mark.parametrize("query", ["", "&categories=default"])
async def test_change_before_the_wait_ends_it(
    autojump_clock, make_world, nursery, query
):
    """A change while the streams of the user are counted is the one waited for."""
    engine = SharedEngine()
    world = make_world(engine=engine)
    target = "/v1/badge?wait=60" + query
    tag = (await world.user().request("GET", "/v1/badge")).headers["etag"]
    answers = []

    async def poll() -> None:
        headers = {"If-None-Match": tag}
        answers.append(await world.user().request("GET", target, headers=headers))

    nursery.start_soon(poll)
    await trio.testing.wait_all_tasks_blocked()
    await world.notify()
    engine.may_report.set()
    await trio.testing.wait_all_tasks_blocked()

    assert [1] == [body(answer)["v"] for answer in answers]
