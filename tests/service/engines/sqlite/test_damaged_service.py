"""The service on a SQLite file with damaged rows: only their user is affected."""

from __future__ import annotations

import pytest
import structlog
from trio.testing import wait_all_tasks_blocked

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service.engines.sqlite.engine import SqliteEngine
from support.mailboxes import note
from support.service import (
    RunningService,
    body,
    data,
    first_events,
    metric_value,
    post,
    remaining_events,
    settings,
    wall_clock,
)
from support.sqlite_files import execute, running

pytestmark = pytest.mark.slow

DEEP = "[" * 965 + "]" * 965
SCRIPTS = {
    "garbled mailbox": "UPDATE mailbox SET body = 'x' WHERE id = 2",
    "deep item": f"UPDATE mailbox SET body = replace(body, '7', '{DEEP}') WHERE id = 2",
    "garbled entry": "INSERT INTO entry VALUES (NULL, 2, cast(x'ff' AS TEXT))",
    "cut": "UPDATE mailbox SET body = substr(body, 1, 60) WHERE id = 2",
    "separators": "UPDATE mailbox SET body = char(28, 29, 30) || body WHERE id = 2",
}
USERS = ("alice", "bob", "carol")
ALL = {"to": {"users": USERS}, "title": "x"}
OPS = {"op_id": "o", "ops": [{"read": []}]}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_damaged_mailbox(path, nursery, script):
    """Its user gets 503, every other user is served, and the process does not end."""
    async with running(path, clock=wall_clock) as engine:
        await engine.apply([(user, note("1", op_id="o", data=7)) for user in USERS])
    execute(path, script)
    engine = SqliteEngine(path, clock=wall_clock, durability="off")
    built = service.build(settings(), clock=wall_clock, engine=engine)
    with structlog.testing.capture_logs() as logged:
        await nursery.start(built.run)
        world = RunningService(built, AsgiClient(built.app))
        while metric_value(world, "roundel_badge_audit_checked_total") < 2:
            await wait_all_tasks_blocked(0.01)
        async with world.user("alice").stream("/v1/stream") as stream:
            await first_events(stream)
            calls = [
                await world.user("bob").request("GET", "/v1/badge"),
                await world.user("bob").request("GET", "/v1/items"),
                await post(world.user("bob"), "/v1/ops", OPS),
                await world.producer.request("GET", "/v1/users/bob/badge"),
            ]
            explained = await world.producer.request("GET", "/v1/users/bob/explain")
            async with world.user("bob").stream("/v1/stream") as rejected:
                (bye,) = await remaining_events(rejected)
            alice, bob, carol = body(await post(world.producer, "/v1/notify", ALL))[
                "results"
            ]
            event = await stream.next_event()
            ready = await AsgiClient(built.operator_app).request("GET", "/readyz")
            body(await world.producer.request("DELETE", "/v1/users/bob"))
            healed = await world.notify("bob")

    assert {503} == {answer.status for answer in calls}
    assert "is damaged" in body(explained, 503)["detail"]
    assert "shed" == data(bye)["reason"]
    assert (2, 503, 2) == (
        alice["badge"]["unread"],
        bob["problem"]["status"],
        carol["badge"]["unread"],
    )
    assert 2 == data(event)["unread"]
    assert 200 == ready.status
    assert 1 == healed["badge"]["unread"]
    damage = [line for line in logged if line["event"] == "mailbox damaged"]
    assert ["bob"] == [line["user"] for line in damage]
