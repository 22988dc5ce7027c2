"""Checks of topics with concurrent calls, several nodes, and a crash."""

from __future__ import annotations

from collections import Counter

import attrs
import trio

from ..domain.changes import Added
from ..domain.record import Record
from ..engines.base import Engine, EngineUnavailable
from .compare import check_change_log, check_equal, check_record, check_true
from .environment import Environment, put
from .generator import TOPICS, OperationGenerator
from .model import LARGE_LIMITS, SMALL_LIMITS, Model, check_work, note, start_model
from .notifications import RecordingListener
from .topics import ALL, check_positions
from .waiting import later

FOLLOWERS = ("alice", "bob", "carol")


async def random_topics(env: Environment) -> None:
    """Random operations on topics and followers give the records of the reducer."""
    env = env.new_store(SMALL_LIMITS)
    async with env.node() as engine:
        model, generator = await _start(env, engine)
        for number in range(60):
            await _random_step(env, engine, model, generator, f"batch {number}")


async def _start(env: Environment, engine: Engine) -> tuple[Model, OperationGenerator]:
    mailboxes = [f"#{topic}" for topic in TOPICS]
    model = await start_model(env.limits, engine, *FOLLOWERS, *mailboxes)
    random, clock = env.random, env.clock
    return model, OperationGenerator(random, FOLLOWERS, clock, with_topics=True)


async def _random_step(
    env: Environment,
    engine: Engine,
    model: Model,
    generator: OperationGenerator,
    what: str,
) -> None:
    """Publish, let some followers pull, and let all pull before they do something.

    An operation may leave out topics, so it finds none that has news.
    """
    topics = [f"#{topic}" for topic in TOPICS]
    await check_work(env, engine, model, generator.batch(topics), what)
    for user in env.random.sample(FOLLOWERS, env.random.randrange(3)):
        record = model.refresh(user, env.clock.now)
        check_record(record, await engine.read(user), f"{what}: {user}")
    if env.random.random() < 0.5:
        for user in FOLLOWERS:
            model.refresh(user, env.clock.now)
            await engine.read(user)
        await check_work(env, engine, model, generator.batch(), what)
    for name, record in model.records.items():
        check_record(record, await engine.peek(name), f"{what}: stored {name}")
    env.clock.now += env.random.choice((0.0, 0.0, 0.125, 0.5, -0.125))


async def pulls_once(env: Environment) -> None:
    """Concurrent reads pull each item once, and lose no write to the mailbox."""
    env = env.new_store(LARGE_LIMITS)
    published = [f"{number}" for number in range(24)]

    async def read(node: Engine) -> None:
        await env.yield_randomly()
        for user in FOLLOWERS:
            check_change_log(await node.read(user), "meanwhile")

    async def write(node: Engine, name: str, item: str) -> None:
        await env.yield_randomly()
        await put(node, name, note(item))

    async with env.nodes(3) as nodes:
        for one, other in zip(published[::2], published[1::2], strict=True):
            await put(nodes[0], ALL, note(one))
            async with trio.open_nursery() as nursery:
                for node in nodes:
                    nursery.start_soon(read, node)
                nursery.start_soon(write, nodes[1], "alice", f"own {one}")
                nursery.start_soon(write, nodes[2], ALL, other)
        for user in FOLLOWERS:
            records = [await node.read(user) for node in nodes]
            check_equal(records[:1] * 3, records, "the records at the nodes")
            check_once(set(published), records[0], f"the items of {user}")
        items = (await nodes[0].read("alice")).mailbox.items
        lost = {f"own {one}" for one in published[::2]} - items.keys()
        check_equal(set(), lost, "items that were written meanwhile")


def check_once(published: set[str], record: Record, what: str) -> None:
    """Check that each of the items *published* appeared exactly once."""
    check_change_log(record, what)
    copies = {name for name, i in record.mailbox.items.items() if i.topic is not None}
    check_equal(published, copies, what)
    seqs = [item.seq for item in record.mailbox.items.values()]
    check_equal(sorted(set(seqs)), seqs, f"{what}: the versions")
    added = [
        step.id
        for change in record.changes
        for step in change.steps
        if isinstance(step, Added)
    ]
    twice = [id_ for id_, times in Counter(added).items() if times > 1]
    check_equal([], twice, f"{what}: that appeared twice")


async def topic_notifications(env: Environment) -> None:
    """When a follower's listener is called, every node can read the topic."""
    early: list[str] = []

    async with env.nodes() as nodes, trio.open_nursery() as nursery:

        async def compare(node: Engine, notified: Record) -> None:
            try:
                await check_positions(node, notified)
            except AssertionError as error:
                early.append(str(error))

        def on_change(user: str, record: Record) -> None:
            if user in FOLLOWERS:
                for node in nodes:
                    nursery.start_soon(compare, node, record)

        nodes[0].listen(on_change, set(FOLLOWERS))
        for number in range(5):
            await put(nodes[-1], ALL, note(f"{number}"))
            await put(nodes[-1], ALL, later(f"later {number}", env.clock.now + 1.0))
            env.clock.now += 1.0
            async with trio.open_nursery() as readers:
                for user in FOLLOWERS:
                    readers.start_soon(nodes[0].read, user)
    check_equal([], early, "calls before the topic could be read")


async def restart_with_topics(env: Environment) -> None:
    """The next engine has the same topics, followers, and positions."""
    env = env.new_store(SMALL_LIMITS)
    async with env.node() as engine:
        model, generator = await _start(env, engine)
        for number in range(30):
            await _random_step(env, engine, model, generator, f"batch {number}")
        # The last write: a lost pull would be made again.
        await check_work(env, engine, model, [(ALL, note("last"))], "the last write")
    async with env.node() as engine:
        for name, record in model.records.items():
            check_record(record, await engine.peek(name), f"stored {name}")
        for user in FOLLOWERS:
            record = model.refresh(user, env.clock.now)
            check_record(record, await engine.read(user), f"the next read of {user}")


@attrs.define
class _Crash:
    """Concurrent publications and reads until the engine ends."""

    env: Environment
    tried: list[str] = attrs.field(factory=list)
    acknowledged: set[str] = attrs.field(factory=set)
    has_published: trio.Event = attrs.field(factory=trio.Event)

    async def publish(self, engine: Engine) -> None:
        """Publish items, and record the acknowledged ones, until the engine ends."""
        for _ in range(12):
            name = f"{len(self.tried)}"
            self.tried.append(name)
            try:
                await put(engine, ALL, note(name, op_id=name))
            except EngineUnavailable:
                return
            self.acknowledged.add(name)
            self.has_published.set()
            await self.env.yield_randomly()

    async def read(self, engine: Engine, user: str) -> None:
        """Let *user* pull until the engine ends."""
        for _ in range(12):
            try:
                await engine.read(user)
            except EngineUnavailable:
                return
            await self.env.yield_randomly()

    async def run(self) -> list[tuple[str, Record]]:
        """Run an engine until a random moment; return its notifications."""
        engine = self.env.engine()
        self.has_published = trio.Event()
        listener = RecordingListener(engine, *FOLLOWERS)
        async with trio.open_nursery() as callers, trio.open_nursery() as running:
            await running.start(engine.run)
            callers.start_soon(self.publish, engine)
            callers.start_soon(self.publish, engine)
            for user in FOLLOWERS:
                callers.start_soon(self.read, engine, user)
            await self.has_published.wait()
            await self.env.yield_randomly()
            running.cancel_scope.cancel()
            callers.cancel_scope.deadline = trio.current_time() + self.env.wait_timeout
        check_true(not callers.cancel_scope.cancelled_caught, "all calls return")
        return listener.notifications


async def crash_with_topics(env: Environment) -> None:
    """After a crash no position is ahead of its topic, and each item comes once."""
    crash = _Crash(env.new_store(LARGE_LIMITS))
    for _ in range(6):
        notifications = await crash.run()
        async with crash.env.node() as engine:
            topic = (await engine.peek(ALL)).mailbox
            lost = crash.acknowledged - topic.items.keys()
            check_equal(set(), lost, "acknowledged publications that are lost")
            for user in FOLLOWERS:
                await check_positions(engine, await engine.peek(user))
            for user, notified in notifications:
                lost = notified.mailbox.items.keys() - topic.items.keys()
                check_equal(set(), lost, f"items of {user} that are lost")
            for user in FOLLOWERS:
                check_once({*topic.items}, await engine.read(user), f"items of {user}")
