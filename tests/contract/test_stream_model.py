"""Any sequence of operations and disconnects leaves a page with the right state."""

from __future__ import annotations

from random import Random

import pytest
import trio

from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import (
    DeleteGauge,
    DeleteUser,
    Mark,
    Notify,
    Operation,
    Retract,
    SetGauge,
    UserOps,
)
from support.service import Client, Valve, body

pytestmark = pytest.mark.slow

STEPS = 12
READ = {"read": True, "seen": True}


def _operation(random: Random, number: int) -> Operation:
    """Draw an operation on a mailbox."""
    category = random.choice("ab")
    mark = Mark(
        flags=random.choice(
            [READ, {"read": False}, {"archived": True}, {"seen": True}]
        ),
        upto=random.choice([None, number]),
        category=random.choice([None, category]),
    )
    notify = Notify(
        id=f"item-{number}",
        category=category,
        content=encode_content("Hello"),
        key=random.choice([None, "k"]),
        source=random.choice(["s", "t"]),
        ttl=random.choice([None, 5.0]),
    )
    others: list[Operation] = [
        UserOps(ops=(mark,), op_id=f"op-{number}"),
        Retract(source=random.choice("st")),
        SetGauge(category=category, count=random.randrange(3), source_version=number),
        DeleteGauge(category),
        DeleteUser(f"forgotten{number:03}"),
    ]
    (drawn,) = random.choices([notify, *others], weights=[10, 6, 2, 2, 1, 0.3])
    return drawn


async def _happen(world, random: Random, valve: Valve, count: int) -> None:
    for _ in range(random.randrange(STEPS)):
        count += 1
        await world.service.hub.apply("alice", _operation(random, count))
        match random.randrange(6):
            case 0:
                await trio.sleep(2)
            case 1:
                valve.close()
            case 2 | 3:
                valve.open()
                await trio.testing.wait_all_tasks_blocked()
    valve.open()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("level", ["badge", "items"])
@pytest.mark.parametrize("categories", ["a,b", "a"])
async def test_page_with_disconnects_ends_with_the_right_state(
    autojump_clock, make_world, level, categories, seed
):
    """No version is lost or repeated, and the badge equals the server's."""
    random, client = Random(seed), Client()
    world = make_world(ring_changes="8", mailbox_items="6")
    target = f"/v1/stream?level={level}&categories={categories}"
    for connection in range(10):
        valve = Valve(world)
        headers = {"Last-Event-ID": client.cursor} if client.cursor else {}
        async with valve.world.user().stream(target, headers=headers) as stream:
            await _happen(world, random, valve, 100 * connection)
            await trio.testing.wait_all_tasks_blocked()
            events = stream.ready_events()
            is_last = connection == 9
            client.receive(*events[: None if is_last else random.randrange(20)])

    items = body(await world.user().request("GET", "/v1/items?state=all"))["items"]
    by = (await world.badge())["by"]
    wanted = categories.split(",")
    assert {name: by[name] for name in by if name in wanted} == client.badge["by"]
    if level == "items":
        shown = {item["id"]: item for item in items if item["category"] in wanted}
        assert shown == client.items
