"""Who is told of what is done, and when."""

from __future__ import annotations

from typing import final

import trio

from ..domain.operations import (
    DeleteUser,
    Disconnect,
    Notify,
    Operation,
    Retract,
    SetGauge,
    StartNewEpoch,
)
from ..domain.record import Record
from ..engines.base import Engine
from .compare import check_equal, check_true
from .environment import Environment, put
from .model import SMALL_LIMITS, Model, OperationGenerator, note, read


@final
class RecordingListener:
    """Hears of *users*, a collection to which more can come."""

    def __init__(self, engine: Engine, *users: str) -> None:
        self.users = set(users)
        self.notifications: list[tuple[str, Record]] = []
        engine.listen(self._hear, self.users)

    def _hear(self, user: str, record: Record) -> None:
        self.notifications.append((user, record))

    def received(self, user: str, record: Record) -> bool:
        """Tell whether it was told that *user* has this *record*."""
        return (user, record) in self.notifications


async def local_notifications(place: Environment) -> None:
    """All listeners of a node know what is done there before it is answered."""
    story: tuple[Operation, ...] = (
        Notify(id="1", category="c", title="t", source="s", ttl=60.0),
        read("1", op_id="o"),
        SetGauge(category="g", count=3, source_version=1),
        Disconnect(),
        Disconnect(revoke=True),
        Retract(source="s"),
        StartNewEpoch("renewed-1"),
        note("2"),
        DeleteUser("forgotten-1"),
        note("3"),
    )
    async with place.node() as engine:
        ears = [RecordingListener(engine, "alice"), RecordingListener(engine)]
        for number, operation in enumerate(story):
            if number == 2:
                # Who begins to watch looks, as a stream does.
                ears[1].users.add("alice")
                await engine.read("alice")
            await put(engine, "alice", operation)
            told = [list(ear.notifications) for ear in ears if "alice" in ear.users]
            record = await engine.read("alice")
            for heard in told:
                check_true(
                    ("alice", record) in heard, f"told of {operation}, got {heard}"
                )
        await engine.apply([("alice", note(f"b{n}")) for n in range(5)])
        record = await engine.read("alice")
        check_true(
            all(ear.received("alice", record) for ear in ears), "a batch is told"
        )


async def notified_records(place: Environment) -> None:
    """What a listener is told is what is, or was."""
    place = place.new_store(SMALL_LIMITS)
    users = ("alice", "bob")
    async with place.node() as engine:
        ear = RecordingListener(engine, *users)
        model = Model(place.limits)
        for user in users:
            model.begin(user, await engine.read(user))
        deeds = OperationGenerator(place.random, users)
        for _ in range(40):
            work = deeds.batch()
            model.apply(work, place.clock.now)
            await engine.apply(work)
            place.clock.now += place.random.choice((0.0, 0.5))
            for user in users:
                model.expire(user, place.clock.now)
                await engine.read(user)
        for user, record in ear.notifications:
            if user in users:
                check_true(record in model.seen[user], f"told what never was: {record}")
        for user in users:

            async def is_told(user: str = user) -> bool:
                return ear.received(user, await engine.read(user))

            await place.eventually(is_told, "the latest is told")


async def notification_order(place: Environment) -> None:
    """What a listener is told can be read by then, at every node."""
    early: list[str] = []

    async with place.nodes() as nodes, trio.open_nursery() as nursery:

        async def look(node: Engine, told: Record) -> None:
            mailbox = (await node.read("alice")).mailbox
            if mailbox.v < told.mailbox.v:
                early.append(f"told of {told.mailbox.v} while {mailbox.v} is read")

        def hear(user: str, record: Record) -> None:
            if user == "alice":
                for node in nodes:
                    nursery.start_soon(look, node, record)

        async def write(node: Engine, name: str) -> None:
            for number in range(5):
                await put(node, "alice", note(f"{name}.{number}"))
                await place.yield_randomly()

        nodes[0].listen(hear, {"alice"})
        async with trio.open_nursery() as writers:
            for number in range(4):
                writers.start_soon(write, nodes[0], f"{number}")
    check_equal([], early, "what was told before it was so")


async def remote_notifications(place: Environment) -> None:
    """Listeners at other nodes are told in a short time, of the latest at the end."""
    users = ("alice", "bob")
    async with place.nodes(3) as nodes:
        ears = [RecordingListener(node, "alice") for node in nodes]

        async def all_told(user: str) -> None:
            record = await nodes[0].read(user)

            async def are_told() -> bool:
                return all(ear.received(user, record) for ear in ears)

            await place.eventually(are_told, f"all nodes are told of {user}")

        for number in range(4):
            await put(nodes[number % 3], "alice", note(f"{number}"))
            await all_told("alice")
        for ear, node in zip(ears, nodes, strict=True):
            ear.users.add("bob")
            await node.read("bob")
        for operation in (
            note("1"),
            Disconnect(),
            DeleteUser("forgotten-1"),
            note("2"),
        ):
            await put(nodes[2], "bob", operation)
            await all_told("bob")
        for number in range(30):
            for user in users:
                await put(nodes[number % 3], user, note(f"many-{number}"))
        for user in users:
            await all_told(user)
