"""A store that lost or rewound one key: no version of an epoch exists twice."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs

from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import Disconnect, Notify, Refresh, Retract
from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.engines.valkey.keys import Keys
from support.valkey_nodes import USERS, notification, run_node, wait_until_consistent

USER = USERS[0]
MAILBOX = Keys("roundel").user(USER)
NO = "noeviction"


@pytest.mark.parametrize("read_first", [True, False])
@pytest.mark.parametrize("same_node", [True, False])
async def test_lost_mailbox(same_node, read_first, store):
    """A mailbox that the store lost continues in an epoch that was never used."""
    seen: set[tuple[str, int]] = set()
    async with run_node(store.url) as one, run_node(store.url) as two:
        writer = one if same_node else two
        for number in range(4):
            if read_first:
                empty = (await one.engine.read(USER)).badge
                assert (0, 0) == (empty.v, empty.unread)
            for name in "abc":
                name = f"{number}{name}"
                (applied,) = await writer.engine.apply([(USER, notification(name))])
                at = (applied.badge.epoch, applied.badge.v)
                assert at not in seen
                seen.add(at)
            stored = await wait_until_consistent(store.url, [one, two])
            assert 3 == stored[USER].badge.unread
            store.execute("DEL", MAILBOX)


async def test_first_write_keeps_the_epoch_that_was_read(store):
    """A first notification is a version of the epoch that an open stream has."""
    async with run_node(store.url) as one, run_node(store.url) as two:
        epoch = one.clients.records[USER].mailbox.epoch
        await two.engine.apply([(USER, notification("1"))])
        stored = await wait_until_consistent(store.url, [one, two])

    assert (epoch, 1) == (stored[USER].mailbox.epoch, stored[USER].mailbox.v)
    assert set() == one.clients.resets | two.clients.resets


async def test_readers_are_not_listed(store):
    """A mailbox that was only read is not in the list of users."""
    async with run_node(store.url) as node:
        await node.engine.apply([(USER, Refresh()), ("carol", Disconnect())])

        assert [] == await node.engine.users(None, 99)

        await node.engine.apply([(USER, notification("1"))])

        assert [USER] == await node.engine.users(None, 99)


@pytest.mark.parametrize("read_first", [True, False])
async def test_rewound_mailbox(read_first, store):
    """A node that knows a later version starts a new epoch for an older copy."""
    async with run_node(store.url) as one, run_node(store.url) as two:
        await one.engine.apply([(USER, notification("1"))])
        copy = store.dump(MAILBOX)
        (newest,) = await one.engine.apply([(USER, notification("2"))])
        await wait_until_consistent(store.url, [one, two])
        store.execute("DEL", MAILBOX)
        store.execute("RESTORE", MAILBOX, "0", copy)
        with trio.fail_after(2.0):
            if read_first:
                await two.engine.read(USER)
            await one.engine.apply([(USER, notification("3"))])
            stored = await wait_until_consistent(store.url, [one, two])

    assert ["1", "3"] == list(stored[USER].mailbox.items)
    assert newest.badge.epoch != stored[USER].mailbox.epoch


@pytest.mark.parametrize("reads", [False, True])
async def test_rewound_mailbox_of_a_user_without_streams(reads, store, nursery):
    """A node remembers the version also where it keeps no changes.

    A retraction, and a read, load the record with its changes.
    """
    engine = ValkeyEngine(store.url)
    await nursery.start(engine.run)
    note = Notify(id="1", category="c", content=encode_content("t"), source="s")
    await engine.apply([(USER, note)])
    copy = store.dump(MAILBOX)
    (newest,) = await engine.apply([(USER, notification("2"))])
    store.execute("DEL", MAILBOX)
    store.execute("RESTORE", MAILBOX, "0", copy)
    if reads:
        await engine.read(USER)
    (retracted,) = await engine.apply([(USER, Retract(source="s"))])

    assert [] == list(retracted.mailbox.items)
    assert newest.badge.epoch != retracted.badge.epoch


async def holders_without_tag(node, store) -> list[str]:
    """Return the holders that a node finds after a tag was lost."""
    keys = Keys("roundel")
    note = Notify(id="1", category="c", content=encode_content("t"), source="s")
    await node.engine.apply([(USER, note), (USERS[1], notification("1"))])
    store.execute("DEL", keys.tag(keys.shard(USER), "s s"))
    return await node.engine.holders(Retract(source="s"))


@pytest.mark.parametrize("policy", ["volatile-lru", "allkeys-lfu", "volatile-ttl"])
async def test_store_that_evicts(policy, store):
    """A node warns of a store that evicts; a retraction visits all mailboxes."""
    store.execute("CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", policy)
    try:
        with capture_logs() as logs:
            async with run_node(store.url) as node:
                found = await holders_without_tag(node, store)
    finally:
        store.execute("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", NO)

    assert {USER, USERS[1]} == {*found}
    assert [policy] == [line["policy"] for line in logs if "policy" in line]


@pytest.mark.parametrize(
    ("limit", "policy"), [("0", "allkeys-lru"), ("1gb", "noeviction")]
)
async def test_store_that_does_not_evict(limit, policy, store):
    """Without a limit, or without eviction, there is no warning."""
    store.execute("CONFIG", "SET", "maxmemory", limit, "maxmemory-policy", policy)
    try:
        with capture_logs() as logs:
            async with run_node(store.url) as node:
                assert [] == await holders_without_tag(node, store)
    finally:
        store.execute("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", NO)

    assert [] == [line for line in logs if "policy" in line]


async def test_tag_of_another_type(store):
    """A retraction by a damaged tag visits all mailboxes."""
    keys = Keys("roundel")
    async with run_node(store.url) as node:
        await holders_without_tag(node, store)
        store.execute("SET", keys.tag(keys.shard(USER), "s s"), "x")

        assert USER in await node.engine.holders(Retract(source="s"))


async def test_store_that_has_evicted(store):
    """Tags may be missing for as long as a server has evicted keys since its start."""
    async with run_node(store.url) as node:
        used = int(store.info("memory", "used_memory"))
        limit = f"{used + 2_000_000}"
        try:
            store.execute("CONFIG", "SET", "maxmemory", limit)
            store.execute("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
            for number in range(40):
                store.execute("SET", f"other {number}", "x" * 100_000)
        finally:
            store.execute("CONFIG", "SET", "maxmemory-policy", NO, "maxmemory", "0")
        store.execute("FLUSHALL")
        found = await holders_without_tag(node, store)
        store.execute("CONFIG", "RESETSTAT")

    assert USER in found


async def test_presence_report_finds_a_lost_mailbox(store):
    """An open stream hears of a lost mailbox at the next report, without a change."""
    async with run_node(store.url) as first:
        # A node that sees the beginning of a log reads all mailboxes again.
        await first.engine.apply([(USER, notification("1"))])
    async with run_node(store.url) as node:
        await node.engine.report_presence({USER: 1}, ttl=9.0)
        told = node.clients.records[USER].badge
        store.execute("DEL", MAILBOX)
        await node.engine.report_presence({USER: 1}, ttl=9.0)
        with trio.move_on_after(2.0):
            # A read by another node would tell it too.
            while node.clients.records[USER].badge.unread:  # noqa: ASYNC110
                await trio.sleep(0.01)

        assert (1, 0) == (told.unread, node.clients.records[USER].badge.unread)
