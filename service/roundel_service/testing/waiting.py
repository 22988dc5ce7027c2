"""Checks of items that wait, and of what the badge does not count."""

from __future__ import annotations

from ..domain.content import encode_content
from ..domain.items import MailboxLimits
from ..domain.operations import (
    DeleteUser,
    Notify,
    Operation,
    Remove,
    Retract,
    SetMuted,
    Snooze,
    StartNewEpoch,
    Unsnooze,
    Update,
    UserOps,
)
from ..domain.record import RecordLimits
from ..domain.subscriptions import Muted
from ..engines.base import Engine
from .compare import check_equal
from .environment import Environment
from .model import Model, check_work, note, read, start_model


def later(name: str, at: float, *, ttl: float | None = None) -> Notify:
    """Return a notification that waits until the time *at*."""
    return Notify(
        id=name, category="c", content=encode_content(name), source=name, at=at, ttl=ttl
    )


def snooze(*names: str, until: float) -> UserOps:
    """Return the operation that lets these items wait *until* a time."""
    op_id = f"snooze {names} until {until}"
    return UserOps(ops=(Snooze(frozenset(names), until),), op_id=op_id)


async def waiting_items(env: Environment) -> None:
    """An item that waits appears as new at its time, before a read or a write."""
    start = env.clock.now
    limits = RecordLimits(mailbox=MailboxLimits(waiting=6))
    env = env.new_store(limits)
    work: tuple[Operation, ...] = (
        *(note("a"), note("b"), read("a", op_id="1")),
        *(later("2", start + 2.0), later("1", start + 1.0, ttl=0.5)),
        *(later("gone", start + 2.0), later("new", start + 3.0)),
        snooze("a", "b", until=start + 2.0),
        later("too many", start + 1.0),
        Retract(source="gone"),
        Update(which=Retract(source="new"), content=b'{"title":"changed"}'),
        UserOps(ops=(Unsnooze(frozenset("b")),), op_id="2"),
        UserOps(ops=(Remove(frozenset(("b", "new"))),), op_id="3"),
    )
    async with env.node() as engine:
        users = ("reads", "writes")
        model = await start_model(env.limits, engine, *users)
        for number, operation in enumerate(work):
            await _check_both(env, engine, model, operation, f"operation {number}")
        for seconds in (0.875, 1.0, 1.25, 1.5, 2.0, 9.0):
            env.clock.now = start + seconds
            after = f"after {seconds} s"
            record = await engine.read("reads")
            check_equal(model.refresh("reads", env.clock.now), record, after)
            new = note(f"{seconds}")
            await check_work(env, engine, model, [("writes", new)], after)
        check_equal(["2", "a", "new"], list(record.mailbox.items), "the items")
        check_equal({}, record.mailbox.waiting, "the items that wait")
        check_equal(3, record.badge.unread, "the unread items")


async def _check_both(
    env: Environment, engine: Engine, model: Model, operation: Operation, what: str
) -> None:
    for user in model.records:
        await check_work(env, engine, model, [(user, operation)], what)


async def muted_names(env: Environment) -> None:
    """Muted categories do not count until they are unmuted, and stay in the list."""
    muted = Muted(categories=frozenset(("d", "g")), topics=frozenset("t"))
    work: tuple[Operation, ...] = (
        *(note("1", "c"), note("2", "d"), SetMuted(muted), SetMuted(muted)),
        *(note("3", "d"), note("4", "c"), StartNewEpoch("renewed-1")),
        *(SetMuted(Muted()), SetMuted(muted), DeleteUser("forgotten-1")),
        note("5", "d"),
    )
    async with env.node() as engine:
        model = await start_model(env.limits, engine, "alice")
        for number, operation in enumerate(work):
            what = f"operation {number}"
            await check_work(env, engine, model, [("alice", operation)], what)
            record = await engine.peek("alice")
            check_equal(model.records["alice"], record, f"{what}: the stored record")
