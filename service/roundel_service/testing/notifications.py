"""Checks of the calls of listeners."""

from __future__ import annotations

from typing import final

import trio

from ..domain.content import encode_content
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
from .environment import Environment, put, run_writers
from .generator import OperationGenerator
from .model import SMALL_LIMITS, note, read, start_model


@final
class RecordingListener:
    """Records the calls for *users*, a collection that can grow."""

    def __init__(self, engine: Engine, *users: str) -> None:
        self.users: set[str] = set(users)
        self.notifications: list[tuple[str, Record]] = []
        engine.listen(self._record, self.users)

    def _record(self, user: str, record: Record) -> None:
        self.notifications.append((user, record))

    def received(self, user: str, record: Record) -> bool:
        """Return whether the listener was called with *user* and *record*."""
        return (user, record) in self.notifications


async def local_notifications(env: Environment) -> None:
    """All listeners of a node are called before `apply()` returns."""
    operations: tuple[Operation, ...] = (
        Notify(id="1", category="c", content=encode_content("t"), source="s", ttl=60.0),
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
    async with env.node() as engine:
        listeners = [RecordingListener(engine, "alice"), RecordingListener(engine)]
        for number, operation in enumerate(operations):
            if number == 2:
                # A stream reads the record after it has started to listen.
                listeners[1].users.add("alice")
                await engine.read("alice")
            await put(engine, "alice", operation)
            calls = [list(each.notifications) for each in listeners if each.users]
            record = await engine.read("alice")
            for recorded in calls:
                was_called = ("alice", record) in recorded
                check_true(was_called, f"a call for {operation}, got {recorded}")
        await engine.apply([("alice", note(f"b{n}")) for n in range(5)])
        record = await engine.read("alice")
        for listener in listeners:
            check_true(listener.received("alice", record), "a call for a batch")


async def notified_records(env: Environment) -> None:
    """A listener is only called with records that exist or existed."""
    env = env.new_store(SMALL_LIMITS)
    users = ("alice", "bob")
    async with env.node() as engine:
        listener = RecordingListener(engine, *users)
        model = await start_model(env.limits, engine, *users)
        generator = OperationGenerator(env.random, users, env.clock)
        for _ in range(40):
            work = generator.batch()
            model.apply(work, env.clock.now)
            await engine.apply(work)
            env.clock.now += env.random.choice((0.0, 0.5))
            for user in users:
                model.refresh(user, env.clock.now)
                await engine.read(user)
        for user, record in listener.notifications:
            if user in users:
                check_true(record in model.seen[user], f"called with unknown {record}")
        for user in users:

            async def was_called(user: str = user) -> bool:
                return listener.received(user, await engine.read(user))

            await env.eventually(was_called, "a call with the latest record")


async def notification_order(env: Environment) -> None:
    """When a listener is called, every node can read that record."""
    early: list[str] = []

    async with env.nodes() as nodes, trio.open_nursery() as nursery:

        async def compare(node: Engine, notified: Record) -> None:
            mailbox = (await node.read("alice")).mailbox
            if mailbox.v < notified.mailbox.v:
                early.append(f"called with {notified.mailbox.v}, read {mailbox.v}")

        def on_change(user: str, record: Record) -> None:
            if user == "alice":
                for node in nodes:
                    nursery.start_soon(compare, node, record)

        async def write(node: Engine, name: str) -> None:
            for number in range(5):
                await put(node, "alice", note(f"{name}.{number}"))
                await env.yield_randomly()

        nodes[0].listen(on_change, {"alice"})
        await run_writers(write, nodes[:1], 4)
    check_equal([], early, "calls before the record could be read")


async def remote_notifications(env: Environment) -> None:
    """Listeners of other nodes are called soon, and at last with the latest record."""
    users = ("alice", "bob")
    async with env.nodes(3) as nodes:
        listeners = [RecordingListener(node, "alice") for node in nodes]

        async def wait_for_all(user: str) -> None:
            record = await nodes[0].read(user)

            async def were_called() -> bool:
                return all(listener.received(user, record) for listener in listeners)

            await env.eventually(were_called, f"a call on each node for {user}")

        for number in range(4):
            await put(nodes[number % 3], "alice", note(f"{number}"))
            await wait_for_all("alice")
        for listener, node in zip(listeners, nodes, strict=True):
            listener.users.add("bob")
            await node.read("bob")
        forget = DeleteUser("forgotten-1")
        for operation in (note("1"), Disconnect(), forget, note("2")):
            await put(nodes[2], "bob", operation)
            await wait_for_all("bob")
        for number in range(30):
            for user in users:
                await put(nodes[number % 3], user, note(f"many-{number}"))
        for user in users:
            await wait_for_all(user)
