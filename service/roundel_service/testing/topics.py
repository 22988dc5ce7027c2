"""Checks of topics: a mailbox pulls what is new in the topics that it follows."""

from __future__ import annotations

from collections.abc import Iterable

from ..domain.content import decode_content
from ..domain.items import MailboxLimits
from ..domain.operations import (
    ClaimTopics,
    DeleteUser,
    Operation,
    Refresh,
    Remove,
    Retract,
    SetMuted,
    StartNewEpoch,
    Subscribe,
    Unsubscribe,
    Update,
    UserOps,
)
from ..domain.record import Record, RecordLimits
from ..domain.subscriptions import Muted
from ..engines.base import Engine, UserOperation
from .compare import check_change_log, check_equal, check_true
from .environment import Environment, put, put_all
from .model import USER_NAMES, check_work, note, read, start_model
from .waiting import later, snooze

ALL = "#all"
"""The mailbox of the topic that every user follows."""


async def pulls(env: Environment) -> None:
    """What is published at one node is in each follower's next read at every node.

    Each item appears once, in the order of the topic, at a version of its own.
    """
    names: list[str] = []
    async with env.nodes(3) as nodes:
        await put(nodes[0], "bob", note("own"))
        for number in range(4):
            names.append(f"{number}")
            await put(nodes[number % 3], ALL, note(names[-1]))
            for node in nodes:
                record = await node.read("alice")
                check_pulled(names, record, f"after {number + 1} publications")
                check_equal(record, await node.peek("alice"), "the stored record")
        for node in nodes:
            check_pulled(["own", *names], await node.read("bob"), "many at once")
        done = await put(nodes[1], "carol", Refresh())
        check_equal(names, list(done.mailbox.items), "the items after a Refresh")
        remove = UserOps(ops=(Remove(frozenset(names[:2])),), op_id="1")
        await put(nodes[2], "alice", remove)
        await put(nodes[1], ALL, note("last"))
        titles = await _titles(nodes[0], "alice")
        check_equal(["2", "3", "last"], titles, "the items after some were removed")


def check_pulled(names: list[str], record: Record, what: str) -> None:
    """Check that the items *names* are the first ones that the mailbox ever had."""
    mailbox = record.mailbox
    check_equal(names, list(mailbox.items), f"{what}: the items")
    seqs = [item.seq for item in mailbox.items.values()]
    check_equal(list(range(1, len(names) + 1)), seqs, f"{what}: the versions")
    check_change_log(record, what)


async def _titles(engine: Engine, user: str) -> list[str]:
    items = (await engine.read(user)).mailbox.items.values()
    return [decode_content(item.content).title for item in items]


async def pulls_back(env: Environment) -> None:
    """What is retracted or edited in a topic is so for each follower.

    That includes followers that were away, and items that they snoozed.
    """
    until = env.clock.now + 100.0
    async with env.nodes() as nodes:
        for name in "abc":
            await put(nodes[0], ALL, note_from(name))
        for user in ("present", "sleeper"):
            await nodes[-1].read(user)
        await put(nodes[-1], "sleeper", snooze("a", "b", until=until))
        for name in "ab":
            check_true(
                ALL in await nodes[-1].holders(Retract(source=name)),
                "the topic is a holder of its items",
            )
        await put(nodes[0], ALL, Retract(source="a"))
        for name in "bc":
            change = Update(which=Retract(id=name), content=b'{"title":"edited"}')
            await put(nodes[0], ALL, change)
        await _compare_titles(nodes, ["edited"] * 2, ("present", "away"))
        await _compare_titles(nodes, ["edited"], ("sleeper",))
        env.clock.now = until
        await _compare_titles(nodes, ["edited"] * 2, ("sleeper",))
        await put(nodes[-1], ALL, Retract(everything=True))
        await _compare_titles(nodes, [], ("present", "away", "sleeper", "new"))
        record = await nodes[0].read("present")
        check_change_log(record, "after all")
        check_equal(0, record.badge.unread, "the unread items")


def note_from(name: str) -> Operation:
    """Return a notification whose *source* is its name."""
    return later(name, 0.0)


async def _compare_titles(
    nodes: Iterable[Engine], expected: list[str], users: Iterable[str]
) -> None:
    for node in nodes:
        for user in users:
            check_equal(expected, await _titles(node, user), f"the titles of {user}")


async def publish_and_peek(env: Environment) -> None:
    """A publication writes no user, and `peek()` writes nothing."""
    async with env.nodes() as nodes:
        await put(nodes[0], "bob", later("1", env.clock.now + 1.0, ttl=9.0))
        before = await nodes[0].read("bob")
        await nodes[0].read("alice")
        await put(nodes[0], ALL, later("2", env.clock.now + 1.0))
        await put(nodes[0], ALL, note("3"))
        env.clock.now += 1.0
        for node in nodes:
            for _ in range(2):
                check_equal(before, await node.peek("bob"), "a follower's record")
                check_equal(0, (await node.peek("alice")).mailbox.v, "no record")
                topic = (await node.peek(ALL)).mailbox
                check_equal(["3"], list(topic.items), "the stored topic")
            listed = await node.users(None, 9)
            check_true("alice" not in listed, "no user is written")
        for user in ("alice", "bob"):
            for node in nodes:
                record = await node.read(user)
                check_equal(record, await node.peek(user), "the record after a read")
        await put(nodes[0], ALL, Retract(everything=True))
        await nodes[0].read("carol")
        listed = await nodes[0].users(None, 9)
        check_true("carol" not in listed, "a read without news writes nothing")


async def overflow_of_topics(env: Environment) -> None:
    """A topic has its own limits; `more` says that a follower missed an item."""
    env = env.new_store(RecordLimits(topic=MailboxLimits(items=2)))
    users = ("present", "away", "late")
    async with env.nodes() as nodes:
        await put(nodes[0], ALL, note("0"))
        check_equal(False, (await nodes[0].read("present")).badge.more, "more, before")
        for number in range(1, 4):
            await put(nodes[0], ALL, note(f"{number}"))
        await put(nodes[0], "late", Subscribe(topic="all", since="now"))
        for node in nodes:
            records = [await node.read(user) for user in users]
            items = [list(record.mailbox.items) for record in records]
            check_equal([["2", "3"], ["2", "3"], []], items, "the items")
            more = [record.badge.more for record in records]
            check_equal([True, True, False], more, "more")
        await put(nodes[0], "present", read("2", "3", op_id="1"))
        check_equal(False, (await nodes[-1].read("present")).badge.more, "more, read")
        for number in range(4, 6):
            await put(nodes[0], ALL, note(f"{number}"))
        badge = (await nodes[-1].read("present")).badge
        check_equal(False, badge.more, "more, after the read items were evicted")


async def subscriptions(env: Environment) -> None:
    """A subscription pulls from now on, a time or the start, until it ends."""
    env = env.new_store(RecordLimits(mailbox=MailboxLimits(topics=2)))
    start = env.clock.now
    users = ("now", "start", "time", "token")
    work: list[UserOperation] = [("#t", note("old")), ("#all", note("all"))]
    work += [("#t", note_from("a"))]
    later_work: list[UserOperation] = [
        *(("#t", note("new")), ("now", Subscribe(topic="t"))),
        *(("start", Subscribe(topic="t", since="start")), ("#t", note("newer"))),
        ("time", Subscribe(topic="t", since=start + 1.0)),
        ("token", ClaimTopics(topics={"t": 0.0, "u": 0.0}, issued_at=start)),
        *(("now", Subscribe(topic="t", since="start")), ("#u", note("u"))),
        *(("now", Subscribe(topic="u")), ("now", Subscribe(topic="v"))),
        ("token", ClaimTopics(topics={"u": 0.0}, issued_at=start - 9.0)),
        ("token", ClaimTopics(topics={"u": 0.0}, issued_at=start + 9.0)),
        *(("start", Unsubscribe("t")), ("start", Unsubscribe("all"))),
        ("time", SetMuted(Muted(topics=frozenset("t")))),
        *(("#t", note("newest")), ("time", DeleteUser("forgotten-1"))),
        *(("#t", note("last")), ("#all", note("last of all"))),
    ]
    expected = {
        "now": ["all", "newer", "newest", "last", "last of all"],
        "start": ["all", "last of all"],
        "time": ["last of all"],
        "token": ["all", "u", "last of all"],
    }
    async with env.node() as engine:
        model = await start_model(env.limits, engine, *users, ALL, "#t", "#u", "#v")
        await check_work(env, engine, model, work, "before")
        env.clock.now += 2.0
        for number, each in enumerate(later_work):
            await check_work(env, engine, model, [each], f"operation {number}")
            for user in users:
                record = model.refresh(user, env.clock.now)
                check_equal(record, await engine.read(user), f"{user}, {number}")
        for user in users:
            titles = sorted(await _titles(engine, user))
            check_equal(sorted(expected[user]), titles, f"the items of {user}")


async def due_topics(env: Environment) -> None:
    """Due items of a topic appear or expire, and are stored, before any pull."""
    start = env.clock.now
    async with env.nodes() as nodes:
        await put(nodes[0], ALL, later("a", start + 1.0, ttl=2.0))
        await put(nodes[0], ALL, later("b", start + 2.0))
        for seconds, expected in ((0.5, []), (1.0, ["a"]), (2.0, ["a", "b"])):
            env.clock.now = start + seconds
            for node in reversed(nodes):
                record = await node.read("alice")
                items = list(record.mailbox.items)
                check_equal(expected, items, f"the items after {seconds} s")
                await check_positions(node, record)
        env.clock.now = start + 3.0
        for node in nodes:
            for user in ("alice", "new"):
                record = await node.read(user)
                items = list(record.mailbox.items)
                check_equal(["b"], items, f"the items of {user} at last")
                await check_positions(node, record)
            check_equal(["b"], list((await node.peek(ALL)).mailbox.items), "the topic")


async def check_positions(engine: Engine, record: Record) -> None:
    """Check that no position is ahead of the stored topic."""
    for topic, subscription in record.mailbox.subscriptions.items():
        stored = (await engine.peek(f"#{topic}")).mailbox
        epoch, v = subscription.position[-1]
        is_known = epoch == stored.epoch and v <= stored.v
        ends = dict(stored.epoch_history)
        is_known |= epoch in ends and v <= ends[epoch]
        check_true(is_known, f"pulled from #{topic} upto {v}, stored is {stored.v}")


async def topic_epochs(env: Environment) -> None:
    """After a new epoch of a topic, its followers continue where they were."""
    users = ("present", "away")
    async with env.node() as engine:
        model = await start_model(env.limits, engine, *users, ALL)
        for number in range(6):
            names = [f"{number}a", f"{number}b"]
            work: list[UserOperation] = [(ALL, note(name)) for name in names]
            await check_work(env, engine, model, work, "a publication")
            record = model.refresh("present", env.clock.now)
            check_equal(record, await engine.read("present"), "the record before")
            remove = UserOps(ops=(Remove(frozenset(names[:1])),), op_id=names[0])
            work = [("present", remove), (ALL, StartNewEpoch(f"epoch-{number}"))]
            await check_work(env, engine, model, work, "a new epoch")
        for user, expected in zip(users, ("b", "ab"), strict=True):
            record = model.refresh(user, env.clock.now)
            check_equal(record, await engine.read(user), "the record at last")
            names = [f"{number}{one}" for number in range(6) for one in expected]
            check_equal(names, list(record.mailbox.items), f"the items of {user}")


async def names_of_topics(env: Environment) -> None:
    """A topic and a user of the same name have two mailboxes, also if names are odd."""
    topics = ("a", "A", "t.t_t~@:+-", "9" * 64)
    users = [name for name in USER_NAMES if name in ("alice", "a", "_", "9" * 128)]
    async with env.nodes() as nodes:
        for topic in topics:
            await put(nodes[0], f"#{topic}", note(topic))
        for user in users:
            work = [(user, Subscribe(topic=t, since="start")) for t in topics]
            await put_all(nodes[0], work)
        for user in users:
            items = (await nodes[-1].read(user)).mailbox.items.values()
            found = [(item.id, item.topic) for item in items]
            check_equal([(t, t) for t in topics], found, f"the items of {user}")
