"""Checks of sequential operations on one node."""

from __future__ import annotations

from msgspec.structs import replace

from ..domain.content import encode_content
from ..domain.items import MailboxLimits
from ..domain.operations import (
    CorrectRevocation,
    DeleteGauge,
    DeleteUser,
    Disconnect,
    Mark,
    Notify,
    Operation,
    Refresh,
    Retract,
    SetGauge,
    StartNewEpoch,
    UserOps,
)
from ..domain.record import RecordLimits
from ..domain.refusals import TooManyCategories
from ..engines.base import UserOperation
from .compare import (
    check_change_log,
    check_equal,
    check_record,
    check_true,
)
from .environment import Environment, put, put_all
from .generator import OperationGenerator
from .model import (
    SMALL_LIMITS,
    USER_NAMES,
    check_work,
    note,
    read,
    start_model,
)


async def unwritten_mailbox(env: Environment) -> None:
    """An unwritten mailbox is empty, and has a stable epoch of its own."""
    async with env.node() as engine:
        await engine.check()
        records = [await engine.read(user) for user in USER_NAMES]
        again = [await engine.read(user) for user in USER_NAMES]
        written = [await put(engine, user, note("1")) for user in USER_NAMES]
    for user, record, written_to in zip(USER_NAMES, records, written, strict=True):
        mailbox = record.mailbox
        check_equal((0, {}, {}), (mailbox.v, mailbox.items, mailbox.gauges), user)
        check_equal((0, 0), (len(record.changes), record.badge.unread), user)
        check_equal(mailbox.epoch, written_to.mailbox.epoch, "the epoch after a write")
        check_equal(1, written_to.mailbox.v, "the version of the first write")
    check_equal(records, again, "the mailboxes at the second read")
    epochs = {record.mailbox.epoch for record in records}
    check_equal(len(USER_NAMES), len(epochs), "the number of epochs")


async def unique_epochs(env: Environment) -> None:
    """Two stores share no epoch, and lost data does not come back under an old one."""
    epochs = set()
    for each in (env, env.new_store()):
        async with each.node() as engine:
            await put(engine, "alice", note("1"))
            epochs |= {(await engine.read(user)).mailbox.epoch for user in USER_NAMES}
    check_equal(2 * len(USER_NAMES), len(epochs), "the number of epochs in two stores")
    async with env.node() as engine:
        record = await engine.read("alice")
    check_true(
        record.mailbox.epoch not in epochs or list(record.mailbox.items) == ["1"],
        "an epoch came back without its data",
    )


async def reads_without_effect(env: Environment) -> None:
    """Reads and operations without effect store nothing."""
    async with env.node() as engine:
        retract = Retract(source="s")
        without_effect: list[Operation] = [retract, DeleteGauge("g"), Refresh()]
        for number, operation in enumerate(without_effect):
            await engine.read(f"reader-{number}")
            before = await engine.read(f"user-{number}")
            applied = await put(engine, f"user-{number}", operation)
            check_equal(None, applied.change, "the change")
            check_equal(before, await engine.read(f"user-{number}"), "the record")
        check_equal([], await engine.users(None, 99), "the users")
        check_equal([], await engine.holders(retract), "the holders")


SETUP_OPERATIONS: tuple[Operation, ...] = (
    Notify(
        id="a",
        category="c",
        content=encode_content("a"),
        key="k",
        source="s",
        op_id="o",
    ),
    Notify(
        id="b",
        category="d",
        content=encode_content("b", body="b", url="/b", icon="i"),
        ttl=9.5,
    ),
    SetGauge(category="g", count=3, source_version=5),
    read("a", op_id="1"),
)

OPERATIONS: tuple[Operation, ...] = (
    *SETUP_OPERATIONS,
    note("n"),
    note("n2", op_id="o"),
    read("a", op_id="2"),
    read("b", op_id="2"),
    UserOps(ops=(Mark(flags={"read": False}, upto=2),), op_id="3"),
    UserOps(ops=(Mark(flags={"archived": True}, category="d"),), op_id="4"),
    SetGauge(category="g", count=9, source_version=5),
    SetGauge(category="g", count=3, source_version=6),
    SetGauge(category="g", count=0, source_version=7),
    Notify(
        id="a2", category="c", content=encode_content("another"), key="k", source="t"
    ),
    Disconnect(),
    Disconnect(revoke=True),
    Disconnect(revoke=True, issued_before=1_763_690_000.25),
    CorrectRevocation(),
    Disconnect(),
    Refresh(),
    StartNewEpoch("renewed-1"),
    StartNewEpoch("renewed-2"),
    note("after"),
    Retract(category="c", key="k"),
    Retract(source="nobody"),
    DeleteGauge("g"),
    DeleteGauge("g"),
    DeleteUser("forgotten-1"),
    note("again", op_id="o"),
    *SETUP_OPERATIONS,
    DeleteUser("forgotten-2"),
    DeleteUser("forgotten-3"),
    StartNewEpoch("renewed-3"),
    *SETUP_OPERATIONS,
)


async def operations(env: Environment) -> None:
    """Each kind of operation has the effect and the result of the reducer."""
    async with env.node() as engine:
        model = await start_model(env.limits, engine, "alice")
        for number, operation in enumerate(OPERATIONS):
            await check_work(env, engine, model, [("alice", operation)], f"{number}")


async def random_operations(env: Environment) -> None:
    """Random operations on several users give the records of the reducer."""
    env = env.new_store(SMALL_LIMITS)
    async with env.node() as engine:
        model = await start_model(env.limits, engine, *USER_NAMES[:4])
        generator = OperationGenerator(env.random, USER_NAMES[:4], env.clock)
        for number in range(100):
            work = generator.batch()
            await check_work(env, engine, model, work, f"batch {number}")
            env.clock.now += env.random.choice((0.0, 0.0, 0.125, 0.5, -0.125))
            user = env.random.choice(USER_NAMES[:4])
            record = model.refresh(user, env.clock.now)
            check_record(record, await engine.read(user), f"after batch {number}")


async def values(env: Environment) -> None:
    """All fields of an item are stored exactly."""
    text = "ünï \U0001f514 \x00\n\r\t'\"\\%{}*?[]" * 20
    data: object = {
        "": [0, -1, 2**53, 0.1, 1e300, True, None, {"a": {"b": [[]]}}],
        text: text,
    }
    new = Notify(
        id="",
        category="a.b_c-9",
        content=encode_content(
            text,
            body=text,
            url="https://example.org/?a=1&b=%20#c",
            icon="",
            data=data,
        ),
        key="k" * 128,
        source=text,
        ttl=86_400.1,
        size=12_345,
        op_id="o" * 128,
    )
    async with env.node() as engine:
        model = await start_model(env.limits, engine, "a" * 128)
        for now in (0.1, env.clock.now + 1 / 3, 4_102_444_800.3):
            env.clock.now = now
            item = replace(new, id=f"{now}".zfill(64))
            revoke = Disconnect(revoke=True, issued_before=now + 0.7)
            for operation in (item, revoke, read(item.id, op_id=text)):
                await check_work(env, engine, model, [("a" * 128, operation)], f"{now}")


async def change_log_bound(env: Environment) -> None:
    """The change log keeps the latest changes up to its size."""
    for size in (1, 3, 30):
        other = env.new_store(RecordLimits(change_log_size=size))
        async with other.node() as engine:
            for number in range(size + 5):
                await put(engine, "alice", note(f"{number}"))
                record = await engine.read("alice")
                check_change_log(record, f"after {number + 1} changes")
                check_equal(min(number + 1, size), len(record.changes), "kept changes")
            await put_all(engine, [("alice", note(f"b{n}")) for n in range(size + 2)])
            record = await engine.read("alice")
            check_change_log(record, "after a batch")
            check_equal(size, len(record.changes), "kept changes after a batch")


async def rejections(env: Environment) -> None:
    """A rejected operation returns an error, changes nothing and stops no other one."""
    env = env.new_store(RecordLimits(mailbox=MailboxLimits(categories=2)))
    full = [("alice", note("1", "c")), ("alice", note("2", "d"))]
    rejected: list[Operation] = [
        note("3", "e", op_id="o"),
        SetGauge(category="e", count=1, source_version=1),
    ]
    async with env.node() as engine:
        await put_all(engine, full)
        before = await engine.read("alice")
        for operation in rejected:
            (result,) = await engine.apply([("alice", operation)])
            check_equal(TooManyCategories, type(result), "the result of a rejection")
            check_record(before, await engine.read("alice"), "after a rejection")
        model = await start_model(env.limits, engine, "alice", "bob")
        work: list[UserOperation] = [("bob", note("1"))]
        work += [("alice", op) for op in (*rejected, note("4"), *rejected, note("5"))]
        await check_work(env, engine, model, [*work, ("bob", note("2"))], "a batch")
    none = env.new_store(RecordLimits(mailbox=MailboxLimits(categories=0)))
    async with none.node() as engine:
        await engine.apply([("alice", note("1"))])
        check_equal([], await engine.users(None, 9), "the users after a rejection")


async def batches(env: Environment) -> None:
    """A batch is applied in order for each user, and its results are in order."""
    async with env.node() as engine:
        check_equal([], await engine.apply([]), "the results of an empty batch")
        model = await start_model(env.limits, engine, "alice", "bob")
        work: list[UserOperation] = []
        for number in range(120):
            work.append(("alice", note(f"{number}", op_id=f"{number % 100}")))
            work.append(("bob", note(f"{number}")))
            work.append(("alice", read(f"{number - 1}", op_id=f"{number}")))
        await check_work(env, engine, model, work, "a long batch")
        users = [f"user-{number}" for number in range(1_000)]
        applied = await put_all(engine, [(user, note(user)) for user in users])
        check_equal(users, [one.item for one in applied], "the items in their order")
        for user in env.random.sample(users, 20):
            record = await engine.read(user)
            check_equal([user], list(record.mailbox.items), "the items of one of many")


async def expiry(env: Environment) -> None:
    """Expired items are removed before a read or a write, as one change."""
    short = Notify(id="s", category="c", content=encode_content("s"), ttl=5.0)
    start = env.clock.now
    async with env.node() as engine:
        users = ("reads", "writes", "waits")
        model = await start_model(env.limits, engine, *users)
        for user in users:
            work: list[UserOperation] = [(user, short), (user, note("stays"))]
            await check_work(env, engine, model, work, "before")
        for seconds in (4.875, 5.0, 5.125, 9.0):
            env.clock.now = start + seconds
            record = model.refresh("reads", env.clock.now)
            check_record(record, await engine.read("reads"), f"after {seconds} s")
            new: list[UserOperation] = [("writes", note(f"{seconds}"))]
            await check_work(env, engine, model, new, f"after {seconds} s")
        await check_work(env, engine, model, [("waits", Refresh())], "after all")
        check_change_log(await engine.read("reads"), "after all")
        record = await engine.read("waits")
        check_equal("expire", record.changes[-1].operation, "the last operation")
        check_equal(["stays"], list(record.mailbox.items), "the remaining items")
