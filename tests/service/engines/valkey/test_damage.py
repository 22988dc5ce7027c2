"""Damage in the store: one key or one field that no node wrote.

Each case damages what the store has of one user. Bob is in the same shard, so both
share all keys except their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import msgspec
import pytest
import trio
from structlog.testing import capture_logs

from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import (
    DeleteUser,
    Disconnect,
    Mark,
    Notify,
    UserOps,
)
from roundel_service.engines.base import EngineUnavailable, MailboxDamaged
from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.engines.valkey.keys import Keys
from roundel_service.telemetry.redaction import redact
from support.damaged_codec import DAMAGED, STORED
from support.valkey_nodes import notification, run_node, wait_until_consistent
from support.valkey_server import Server

Damage: TypeAlias = Callable[[Server], Any]

KEYS = Keys("roundel")
USER = "user-1"
MAILBOX = KEYS.user(USER)
SHARD = KEYS.shard(USER)
BOB = next(f"bob-{n}" for n in range(9_999) if KEYS.shard(f"bob-{n}") == SHARD)


@asynccontextmanager
async def run_engine(url: str) -> AsyncIterator[ValkeyEngine]:
    """Run an engine without clients."""
    engine = ValkeyEngine(url)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        yield engine
        nursery.cancel_scope.cancel()


def note(name: str) -> Notify:
    return Notify(
        id=name,
        category="c",
        content=encode_content("t"),
        source="s",
        key="k",
        op_id=name,
    )


def drop(field: str) -> Damage:
    """Return the damage that deletes a field of the mailbox."""
    return lambda store: store.execute("HDEL", MAILBOX, field)


def put(field: str, value: str | bytes) -> Damage:
    """Return the damage that sets a field."""
    return lambda store: store.execute("HSET", MAILBOX, field, value)


def copy(field: str, other: str) -> Damage:
    """Return the damage that sets a field to the value of another."""

    def damage(store: Server) -> None:
        put(other, store.execute("HGET", MAILBOX, field))(store)

    return damage


def replace(kind: str) -> Damage:
    """Return the damage that makes the mailbox a key of another type."""
    create = {
        "string": ("SET", MAILBOX, "x"),
        "list": ("RPUSH", MAILBOX, "x"),
        "set": ("SADD", MAILBOX, "x"),
        "zset": ("ZADD", MAILBOX, "1", "x"),
        "stream": ("XADD", MAILBOX, "*", "h", "x"),
    }

    def damage(store: Server) -> None:
        store.execute("DEL", MAILBOX)
        store.execute(*create[kind])

    return damage


MAILBOXES: dict[str, Damage] = {
    **{f"{field} missing": drop(field) for field in ("w", "x", "b", "e:1")},
    **{
        f"{field} is {value!r:.9}": put(field, value)
        for field in ("w", "x")
        for value in ("", "\x00", "null", "nan", "inf", "é", "[" * 5_000)
    },
    "entry twice": copy("e:1", "e:3"),
    "entry in place of another": copy("e:1", "e:2"),
    "entry without a number": copy("e:2", "e:x"),
    "entry of a long number": copy("e:2", "e:" + 5_000 * "9"),
    "entry of a large number": copy("e:2", "e:" + 15 * "9"),
    "field of an earlier layout": put("h", "[]"),
    "unknown field": put("foo", "bar"),
    "unknown kind": put("z:1", "bar"),
    "nameless field": put("", "bar"),
    **{f"a {kind}": replace(kind) for kind in ("string", "list", "set", "stream")},
}


@pytest.mark.parametrize(("part", "damage"), DAMAGED)
async def test_damaged_row(part, damage, store):
    """Only the user of a damaged row gets an error; `DeleteUser` replaces it."""
    snapshot, entries = STORED.damaged(part, damage)

    def damage_row(store: Server) -> None:
        put("b", snapshot)(store)
        for number, entry in enumerate(entries, 1):
            put(f"e:{number}", entry)(store)

    await check_damage(damage_row, store)


@pytest.mark.parametrize("name", MAILBOXES)
async def test_damaged_mailbox(name, store):
    """Only the user of a damaged mailbox gets an error; `DeleteUser` replaces it."""
    await check_damage(MAILBOXES[name], store)


async def test_operation_that_cannot_be_stored(store):
    """An operation that cannot be encoded fails for its user alone."""
    unfit = msgspec.structs.replace(note("1"), key="\ud800")
    async with run_engine(store.url) as engine:
        for work in ([unfit], [DeleteUser("new"), unfit]):
            pairs = [(USER, operation) for operation in work]
            *mine, bob = await engine.apply([*pairs, (BOB, note("1"))])

            assert all(isinstance(result, EngineUnavailable) for result in mine)
            assert 1 == bob.badge.unread
        (result,) = await engine.apply([(USER, note("2"))])

        assert ["2"] == list(result.mailbox.items)


async def test_deletion_ends_no_stream(store):
    """Deleting a damaged mailbox keeps the time at which its streams were ended."""
    async with run_engine(store.url) as engine:
        work = [(USER, note("1")), (USER, Disconnect())]
        disconnected_at = (await engine.apply(work))[1].mailbox.disconnected_at
    put("foo", "bar")(store)
    async with run_engine(store.url) as engine:
        (deleted,) = await engine.apply([(USER, DeleteUser("new"))])

    assert disconnected_at == deleted.mailbox.disconnected_at > 0


@pytest.mark.parametrize("is_new_timeline", [False, True])
@pytest.mark.parametrize("field", ["foo", "b", "w"])
async def test_revocation_of_a_damaged_mailbox(field, is_new_timeline, store):
    """A revocation needs no content, and holds after the mailbox was repaired."""
    async with run_engine(store.url) as engine:
        (added,) = await engine.apply([(USER, note("1"))])
    before = store.execute("HGET", MAILBOX, field) or ""
    put(field, f"x{before}" if field == "w" else f"{before}x")(store)
    if is_new_timeline:
        store.execute("SET", KEYS.data_id(SHARD), "another")
    async with run_engine(store.url) as engine:
        revoke, work = (USER, Disconnect(revoke=True)), (USER, note("2"))
        failed, revoked, again = await engine.apply([work, revoke, revoke])
    if field == "foo":
        store.execute("HDEL", MAILBOX, field)
    elif field != "w":
        put(field, before)(store)
    async with run_engine(store.url) as engine:
        record = await engine.read(USER)

    assert isinstance(failed, MailboxDamaged)
    assert not isinstance(revoked, Exception)
    assert again.mailbox.revocation == record.mailbox.revocation
    assert 0 < record.mailbox.revocation.made_at
    assert ["1"] == list(record.mailbox.items)
    is_same = added.badge.epoch == record.mailbox.epoch
    assert is_same is not is_new_timeline


async def check_damage(damage: Damage, store: Server) -> None:
    mark = UserOps(ops=(Mark(flags={"read": True}, ids=frozenset("1")),), op_id="o")
    async with run_engine(store.url) as engine:
        for operation in (note("1"), notification("2"), mark):
            await engine.apply([(USER, operation)])
        damage(store)
    async with run_engine(store.url) as engine:
        work = [(USER, notification("3")), (BOB, notification("1"))]
        with trio.fail_after(2.0):
            damaged, bob = await engine.apply(work)
            with pytest.raises(MailboxDamaged):
                await engine.read(USER)

        assert isinstance(damaged, MailboxDamaged)
        assert 1 == bob.badge.unread
        assert {USER, BOB} == {*await engine.users(None, 9)}

        deleted, added = await engine.apply(
            [(USER, DeleteUser("new")), (USER, notification("4"))]
        )
        record = await engine.read(USER)

        assert ("new", 0) == (deleted.badge.epoch, deleted.badge.v)
        assert (1, ["4"]) == (added.badge.unread, list(record.mailbox.items))


LOG, INDEX = KEYS.log(SHARD), KEYS.users(SHARD)
TAG = KEYS.tag(SHARD, "s s")


def run(*words: str) -> Damage:
    """Return the damage that executes a command."""
    return lambda store: store.execute(*words)


def entry(*words: str) -> Damage:
    """Return the damage that adds an entry to the log, after the user's last write."""

    def damage(store: Server) -> None:
        last = store.execute("HGET", MAILBOX, "w")[:12]
        store.execute("XADD", LOG, "0-*", *(last if w == "LAST" else w for w in words))

    return damage


def another_type(key: str, *, with_list: bool = False) -> Damage:
    """Return the damage that replaces a key by a string, or by a list."""

    def damage(store: Server) -> None:
        store.execute("DEL", key)
        store.execute(*(("RPUSH", key, "x") if with_list else ("SET", key, "x")))

    return damage


SHARED: dict[str, Damage] = {
    "log: entry of another time": run("XADD", LOG, "*", "foo", "bar"),
    "log: last possible id": run("XADD", LOG, f"0-{2**64 - 1}", "foo", "bar"),
    "log: largest id": run("XADD", LOG, f"{2**64 - 1}-{2**64 - 1}", "foo", "bar"),
    "log: entry without user": entry("foo", "bar"),
    "log: entry with a user alone": entry("u", USER),
    "log: entry with a field twice": entry("u", USER, "u", USER),
    "log: garbled write": entry("u", USER, "p", "LAST", "w", "1" * 12, "e", "x"),
    "log: write of numbers": entry("u", USER, "p", "LAST", "w", "1" * 12, "e", "\x03"),
    "log: unknown user": entry("u", "", "p", "", "w", "", "e", ""),
    "log: another type": another_type(LOG),
    "log: deleted": run("DEL", LOG),
    "log: emptied": run("XTRIM", LOG, "MAXLEN", "0"),
    "index: another type": another_type(INDEX),
    "index: deleted": run("DEL", INDEX),
    "index: unknown user": run("ZADD", INDEX, "0", "nobody"),
    "index: other score": run("ZADD", INDEX, "7", "nobody"),
    "index: no user name": run("ZADD", INDEX, "0", ""),
    "tag: another type": another_type(TAG),
    "tag: unknown user": run("SADD", TAG, "nobody"),
    "data id: another type": another_type(KEYS.data_id(SHARD), with_list=True),
    "data id: deleted": run("DEL", KEYS.data_id(SHARD)),
    "data id: garbled": run("SET", KEYS.data_id(SHARD), "\x00"),
    "metadata: deleted": run("DEL", KEYS.metadata),
    "metadata: unknown field": run("HSET", KEYS.metadata, "foo", "bar"),
    "presence: another type": another_type(KEYS.presence(USER)),
    "presence: garbled": run("HSET", KEYS.presence(USER), "node", "x"),
    "presence: no expiry": run("HSET", KEYS.presence(USER), "node", "1"),
    "presence: negative": run("HSET", KEYS.presence(USER), "node", "-1 -1"),
    "presence: endless": run("HSET", KEYS.presence(USER), "node", f"{9 * '9'} 1x"),
}


@pytest.mark.parametrize("name", SHARED)
async def test_damaged_shared_key(name, store):
    """All users of a damaged shard are served, and other nodes get their changes."""
    work = [(USER, note("1")), (BOB, note("1"))]
    async with run_node(store.url) as one, run_node(store.url) as other:
        await one.engine.apply(work)
        SHARED[name](store)
        with trio.fail_after(2.0):
            results = await one.engine.apply([(USER, note("2")), (BOB, note("2"))])
            counts = await one.engine.report_presence({USER: 1, BOB: 1}, ttl=9.0)
            pages = await one.engine.users(None, 99)
            stored = await wait_until_consistent(store.url, [one, other])
            for number in range(3, 6):
                await other.engine.apply([(USER, note(f"{number}"))])
            stored = await wait_until_consistent(store.url, [one, other])

        assert [] == [each for each in results if isinstance(each, Exception)]
        assert [0, 0] == counts
        assert USER in pages or name.startswith("index")
        # Each note replaces the one before.
        assert ["5"] == list(stored[USER].mailbox.items)


@pytest.mark.parametrize("key", ["a claim", "a b"])
async def test_damaged_claim(key, store):
    """A claim of another type is an error of its callers, at once."""
    another_type(KEYS.claim(key), with_list=True)(store)
    async with run_node(store.url) as node:
        with trio.fail_after(0.5):
            with pytest.raises(EngineUnavailable, match="WRONGTYPE"):
                await node.engine.claim(key, "v", ttl=9.0)
            with pytest.raises(EngineUnavailable, match="WRONGTYPE"):
                await node.engine.claimed(key)
            assert "v" == await node.engine.claim("other", "v", ttl=9.0)


async def test_skipped_entries_are_one_log_line(store):
    """A flood of entries that no node wrote is one line, which names the log."""
    flood = f"for i = 1, 99 do redis.call('XADD', '{LOG}', '0-*', 'a', 'b') end"
    async with run_node(store.url) as node:
        await node.engine.apply([(USER, note("1"))])
        with capture_logs() as lines:
            store.execute("EVAL", flood, "0")
            await node.engine.apply([(USER, note("2"))])
            with trio.move_on_after(2.0):
                while not lines:  # noqa: ASYNC110, entries call nothing
                    await trio.sleep(0.01)

    (line,) = (redact(None, "warning", line) for line in lines)
    assert ("log entries skipped", LOG, 99) == (
        line["event"],
        line["name"],
        line["entries"],
    )
