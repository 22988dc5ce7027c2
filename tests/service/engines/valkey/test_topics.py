"""Topics at one server: several nodes, and the order of reads."""

from __future__ import annotations

from functools import partial

import attrs
import pytest
import trio

from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import (
    DeleteUser,
    Refresh,
    Remove,
    Retract,
    Subscribe,
    UserOps,
)
from roundel_service.domain.record import Record, RecordLimits
from roundel_service.domain.subscriptions import Subscription
from roundel_service.engines.base import EngineUnavailable, MailboxDamaged
from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.engines.valkey.keys import Keys
from roundel_service.engines.valkey.pending import (
    MailboxTransaction,
    PendingOperation,
    StoredRecord,
    next_number,
)
from roundel_service.engines.valkey.reduction import reduce_operations
from roundel_service.engines.valkey.scheduler import MAX_BATCH
from roundel_service.engines.valkey.topics import BatchTopics, TopicReader
from roundel_service.lru_map import LruMap
from support.mailboxes import Clock, note, put

KEYS = Keys("roundel")
START = 1_763_690_000.0
ALL = "#all"


@pytest.fixture
async def nodes(store, nursery):
    """Return two nodes and their clock."""
    clock = Clock(START)
    one, two = (ValkeyEngine(store.url, clock=clock) for _ in "12")
    await nursery.start(one.run)
    await nursery.start(two.run)
    return one, two, clock


def ids(record: Record) -> list[str]:
    return list(record.mailbox.items)


async def test_broadcast_is_read_at_every_node(nodes, store):
    """After a publish was answered, every node reads it, once, as a version each."""
    one, two, _ = nodes
    await two.read("alice")
    for name in "12":
        await put(one, ALL, note(name))
    first = await two.read("alice")
    again = await one.read("alice")
    await put(two, ALL, Retract(id="1"))

    assert ["1", "2"] == ids(first)
    assert [1, 2] == [change.v for change in first.changes]
    assert first == again
    assert ["2"] == ids(await one.read("alice"))
    # The publishes wrote no mailbox of a user who was not read.
    assert 0 == store.execute("EXISTS", KEYS.user("bob"))


async def test_many_readers_wait_for_one_topic(nodes, store):
    """Full batches of users do not keep the topic that they wait for from its turn."""
    one, two, _ = nodes
    await put(one, ALL, note("1"))
    users = [f"user-{number}" for number in range(3 * MAX_BATCH)]
    results = await two.apply([(user, Refresh()) for user in users])

    assert {1} == {result.badge.unread for result in results}


async def test_notification_pulls_what_is_at_hand(nodes):
    """A node that knows of a broadcast pulls it along with a notification."""
    one, two, _ = nodes
    await one.read("alice")
    await put(one, ALL, note("1"))
    applied = await put(one, "alice", note("2"))
    refreshed = await put(two, "alice", Refresh())

    assert ["1", "2"] == list(applied.mailbox.items)
    assert applied.mailbox == refreshed.mailbox


async def test_topic_that_is_due(nodes):
    """An item of a topic expires or appears before a follower pulls."""
    one, two, clock = nodes
    await put(one, ALL, note("soon over", ttl=10.0))
    await put(one, ALL, note("to come", at=START + 20.0, ttl=30.0))

    assert ["soon over"] == ids(await two.read("alice"))

    clock.now += 21.0

    assert ["to come"] == ids(await two.read("alice"))
    assert ["to come"] == ids(await one.read("bob"))
    assert 3 == (await two.peek(ALL)).mailbox.v


@pytest.mark.parametrize("same_node", [True, False])
async def test_lost_topic(same_node, nodes, store):
    """The items of a topic that the store lost go; later ones appear, none twice."""
    one, two, _ = nodes
    reader = one if same_node else two
    await put(one, ALL, note("1"))
    await put(one, ALL, note("2"))
    await reader.read("alice")
    await put(reader, "alice", UserOps(ops=(Remove(frozenset("2")),), op_id="o"))
    store.execute("DEL", KEYS.user(ALL))

    assert [] == ids(await reader.read("alice"))

    await put(one, ALL, note("3"))

    assert ["3"] == ids(await reader.read("alice"))


async def test_peek_changes_nothing(nodes, store):
    """A peek neither pulls, nor expires, nor creates; a damaged mailbox is an error."""
    one, two, clock = nodes
    await put(one, "alice", note("1", ttl=1.0))
    await put(one, ALL, note("2"))
    stored = store.execute("HGETALL", KEYS.user("alice"))
    clock.now += 2.0
    unknown = [await node.peek("bob") for node in (one, two)]

    assert ["1"] == ids(await two.peek("alice"))
    assert ["2"] == ids(await two.peek(ALL))
    assert stored == store.execute("HGETALL", KEYS.user("alice"))
    assert unknown[0] == unknown[1] == Record(unknown[0].mailbox)
    assert (0, []) == (unknown[0].mailbox.v, ids(unknown[0]))
    assert 0 == store.execute("EXISTS", KEYS.user("bob"))

    store.execute("HSET", KEYS.user("alice"), "foo", "bar")
    with pytest.raises(MailboxDamaged):
        await one.peek("alice")


async def test_damaged_topic_ends_no_user(nodes, store):
    """Users are read without a topic that is damaged; to follow it is an error."""
    one, two, _ = nodes
    await put(one, "alice", note("2"))
    await put(one, ALL, note("1"))
    store.execute("HSET", KEYS.user(ALL), "foo", "bar")
    with trio.fail_after(1.0):
        results = [await two.read("alice") for _ in range(9)]
        (failed,) = await two.apply([("alice", Subscribe(topic="all"))])

    assert [["2"]] * 9 == [ids(record) for record in results]
    assert isinstance(failed, EngineUnavailable)


async def test_topic_holds_half_of_a_mailbox(store, nursery):
    """A topic evicts its oldest items, and followers learn that they missed some."""
    engine = ValkeyEngine(store.url, RecordLimits())
    await nursery.start(engine.run)
    await engine.apply([(ALL, note(f"{number}")) for number in range(101)])
    record = await engine.read("alice")

    assert 100 == len(record.mailbox.items)
    assert record.badge.more


async def test_forgotten_user_gets_no_old_broadcast(nodes):
    """After a user was deleted only broadcasts from then on appear."""
    one, two, _ = nodes
    await put(one, ALL, note("1"))
    await two.read("alice")
    await put(two, "alice", DeleteUser("new"))
    await put(one, ALL, note("2"))

    assert ["2"] == ids(await two.read("alice"))


# The order of reads.


def topic_record(*history: tuple[str, int], epoch: str, v: int) -> Record:
    return Record(Mailbox(epoch=epoch, v=v, epoch_history=history))


def follower(*position: tuple[str, int]) -> StoredRecord:
    subscription = Subscription(position=position, since="start", by="default")
    mailbox = Mailbox(epoch="e", v=1, subscriptions={"all": subscription})
    return StoredRecord(record=Record(mailbox), revision=b"1", timeline=b"1")


@attrs.define
class Reads:
    """Reads of the topic by a node: each returns the next of *records*."""

    records: list[Record]
    count: int = 0
    cache: LruMap[str, StoredRecord] = attrs.field(factory=partial(LruMap, 99))

    async def submit(self, work):
        record = self.records[self.count]
        self.count += 1
        stored = StoredRecord(record=record, revision=b"1", timeline=b"1")
        self.cache.put(ALL, stored)
        return [record]

    def batch(self) -> BatchTopics:
        return BatchTopics(TopicReader(self.submit, self.cache, lambda: 0.0))


def refresh(stored: StoredRecord | None) -> MailboxTransaction:
    operations = [PendingOperation("alice", Refresh(), 0.0)]
    return MailboxTransaction(
        user="alice", operations=operations, is_complete=True, cached=stored
    )


async def test_topic_in_another_epoch_is_read_after_the_mailbox():
    """A topic of another epoch that was read before the mailbox is read again."""
    old = topic_record(epoch="a", v=9)
    new = topic_record(("a", 3), epoch="b", v=5)
    reads = Reads([old, new])
    batch, transaction = reads.batch(), refresh(None)
    await batch.load([transaction])
    transaction.set_stored(follower(("a", 3), ("b", 5)))

    assert {} == batch.of(transaction)

    await batch.load([transaction])

    assert (2, {ALL: new}) == (reads.count, batch.of(transaction))


async def test_topic_in_the_same_epoch_is_read_once():
    """A topic of the same epoch may have been read before the mailbox."""
    topic = topic_record(epoch="a", v=9)
    reads = Reads([topic])
    batch, transactions = reads.batch(), [refresh(None), refresh(None)]
    await batch.load(transactions)
    for transaction in transactions:
        transaction.set_stored(follower(("a", 3)))
    await batch.load(transactions)

    assert 1 == reads.count
    assert [{ALL: topic}] * 2 == [batch.of(each) for each in transactions]


@pytest.mark.parametrize(("epoch", "is_used"), [("a", True), ("b", False)])
async def test_topic_at_hand(epoch, is_used):
    """A topic from the cache is used only in the epoch of the position."""
    topic = topic_record(epoch=epoch, v=9)
    reads = Reads([])
    stored = StoredRecord(record=topic, revision=b"1", timeline=b"1")
    reads.cache.put(ALL, stored)
    transaction = MailboxTransaction(
        user="alice",
        operations=[PendingOperation("alice", note("1"), 0.0)],
        is_complete=True,
        cached=None,
    )
    transaction.set_stored(follower(("a", 3)))

    assert is_used is (ALL in reads.batch().of(transaction))


def test_numbers_of_reads_ascend():
    """Each stored record is read after all records before it."""
    first, number, second = follower(("a", 1)), next_number(), follower(("a", 1))

    assert first.read_at < number < second.read_at
    assert first.read_at == first.without_changes().read_at


@pytest.mark.parametrize("operation", [Subscribe(topic="t"), DeleteUser("new")])
def test_operation_without_its_topic(operation):
    """An operation that needs a topic fails without it, and changes nothing."""
    stored = follower(("a", 1))
    record, (result,), _ = reduce_operations(
        "alice",
        stored,
        [PendingOperation("alice", operation, 0.0)],
        {},
        limits=RecordLimits(),
        now=0.0,
    )

    assert isinstance(result, EngineUnavailable)
    assert record is stored.record
