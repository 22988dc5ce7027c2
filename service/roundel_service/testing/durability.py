"""Checks of the end of an engine, and of the data that survives it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import attrs
import trio

from ..domain.operations import Refresh, Retract
from ..domain.record import Record
from ..engines.base import Engine, EngineUnavailable, UserOperation
from .claims import LONG
from .compare import check_change_log, check_equal, check_record, check_true
from .concurrency import check_atomic
from .environment import Environment, put, put_all
from .generator import OperationGenerator
from .model import LARGE_LIMITS, SMALL_LIMITS, USER_NAMES, note
from .notifications import RecordingListener


async def stopped_engine(env: Environment) -> None:
    """Calls of a stopped engine return or raise `EngineUnavailable` in time."""
    async with env.node() as engine:
        await put(engine, "alice", note("1"))
    calls: list[Callable[[], Awaitable[object]]] = [
        engine.check,
        partial(engine.read, "alice"),
        partial(engine.apply, [("alice", note("2")), ("bob", Refresh())]),
        partial(engine.holders, Retract(source="s")),
        partial(engine.users, None, 9),
        partial(engine.claim, "k", "v", ttl=LONG),
        partial(engine.claimed, "k"),
        engine.secret,
    ]
    for call in calls:
        with trio.move_on_after(env.wait_timeout) as waited:
            try:
                await call()
            except EngineUnavailable:
                continue
        check_true(not waited.cancelled_caught, f"{call} did not return after the end")


async def restart(env: Environment) -> None:
    """The next engine has the same records, users, claims and secret."""
    env = env.new_store(SMALL_LIMITS)
    users = USER_NAMES[:4]
    async with env.node() as engine:
        generator = OperationGenerator(env.random, users, env.clock)
        for _ in range(40):
            await engine.apply(generator.batch())
            env.clock.now += env.random.choice((0.0, 0.125, 0.5))
        before = {user: await engine.read(user) for user in users}
        # The last write: a lost expiry of a read would be made again.
        first = await put(engine, "once", note("1", op_id="o"))
        await engine.claim("k", "a", ttl=LONG)
        listed = await engine.users(None, 99)
        secret = await engine.secret()
    for number in range(2):
        async with env.node() as engine:
            for user, record in before.items():
                check_record(record, await engine.read(user), user)
            check_equal(listed, await engine.users(None, 99), "the users in order")
            check_true(secret == await engine.secret(), "the secret is the same")
            again = await put(engine, "once", note("2", op_id="o"))
            result = (again.item, again.badge)
            check_equal(("1", first.badge), result, "a repeated operation")
            check_equal("a", await engine.claim("k", f"{number}", ttl=LONG), "a claim")


@attrs.define
class _Crash:
    """Concurrent writes until the engine ends; *tried* and *acknowledged* are ids."""

    env: Environment
    tried: dict[str, str] = attrs.field(factory=dict)
    acknowledged: set[str] = attrs.field(factory=set)
    notified: list[tuple[str, Record]] = attrs.field(factory=list)
    has_written: trio.Event = attrs.field(factory=trio.Event)
    is_over: bool = False

    def try_one(self) -> str:
        """Choose the user of a new item, and return the item's id."""
        name = f"{len(self.tried)}"
        self.tried[name] = self.env.random.choice("ab")
        return name

    def work(self, names: Iterable[str]) -> list[UserOperation]:
        """Return the operations that add these items."""
        return [(self.tried[name], note(name, op_id=name)) for name in names]

    async def write(self, engine: Engine) -> None:
        """Add items, and record the acknowledged ones, until the engine ends."""
        for _ in range(12):
            if self.is_over:
                return
            names = [self.try_one() for _ in range(self.env.random.choice((1, 1, 6)))]
            try:
                results = await engine.apply(self.work(names))
            except EngineUnavailable:
                return
            for result, name in zip(results, names, strict=True):
                if isinstance(result, EngineUnavailable):
                    return
                self.acknowledged.add(name)
            self.has_written.set()
            await trio.lowlevel.checkpoint()

    async def run(self, *, with_callers: bool) -> None:
        """Run concurrent writers, and end the engine at a random moment."""
        self.has_written, self.is_over = trio.Event(), False
        engine = self.env.engine()
        listener = RecordingListener(engine, "a", "b")
        async with trio.open_nursery() as callers, trio.open_nursery() as running:
            await running.start(engine.run)
            for _ in range(3):
                callers.start_soon(self.write, engine)
            await self.has_written.wait()
            await self.env.yield_randomly()
            if with_callers:
                callers.cancel_scope.cancel()
            self.is_over = True
            running.cancel_scope.cancel()
            callers.cancel_scope.deadline = trio.current_time() + self.env.wait_timeout
        all_returned = not callers.cancel_scope.cancelled_caught
        check_true(all_returned or with_callers, "all calls return")
        self.notified = listener.notifications


async def crash(env: Environment) -> None:
    """Acknowledged writes survive a crash; others are applied fully or not at all.

    Repeated with the same operation id, each write is applied once.
    """
    crash = _Crash(env.new_store(LARGE_LIMITS))
    for number in range(8):
        await crash.run(with_callers=number % 2 == 0)
        async with crash.env.node() as engine:
            records = {user: await engine.read(user) for user in "ab"}
            for user, record in records.items():
                check_change_log(record, "after a crash")
                check_atomic(record)
                items = set(record.mailbox.items)
                mine = {n for n in crash.acknowledged if crash.tried[n] == user}
                check_equal(set(), mine - items, "acknowledged items that are lost")
                for notified_user, notified in crash.notified:
                    if notified_user == user:
                        lost = set(notified.mailbox.items) - items
                        check_equal(set(), lost, "notified items that are lost")
    async with crash.env.node() as engine:
        await put_all(engine, crash.work(crash.tried))
        for user in "ab":
            mailbox = (await engine.read(user)).mailbox
            mine = {n for n, whose in crash.tried.items() if whose == user}
            check_equal(mine, set(mailbox.items), "the items after repetition")
            check_equal(len(mine), mailbox.v, "the version after repetition")
