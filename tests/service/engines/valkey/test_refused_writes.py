"""A store that answers but refuses writes: reads are served, writes fail at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeAlias

import pytest
import trio

from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import Notify, Retract
from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.engines.valkey.keys import Keys
from support import valkey_server
from support.mailboxes import Clock
from support.valkey_nodes import notification
from support.valkey_server import Server

START = 1_763_690_000.0
KEYS = Keys("roundel")
SHARD = KEYS.shard("alice")

Refusal: TypeAlias = Callable[[Server, ExitStack], None]


def is_full(store: Server, undo: ExitStack) -> None:
    """The memory is full, and no key may be evicted."""
    store.execute("CONFIG", "SET", "maxmemory", "1")
    undo.callback(store.execute, "CONFIG", "SET", "maxmemory", "0")


def lacks_replicas(store: Server, undo: ExitStack) -> None:
    """Too few replicas are connected."""
    store.execute("CONFIG", "SET", "min-replicas-to-write", "1")
    undo.callback(store.execute, "CONFIG", "SET", "min-replicas-to-write", "0")


def cannot_save(store: Server, undo: ExitStack) -> None:
    """The last snapshot could not be written."""
    store.execute("CONFIG", "SET", "save", "3600 1")
    undo.callback(store.execute, "CONFIG", "SET", "save", "")
    shutil.rmtree(store.directory)
    store.execute("BGSAVE")
    valkey_server.wait_until(
        lambda: store.info("persistence", "rdb_last_bgsave_status") == "err"
    )


REFUSALS = {"OOM": is_full, "NOREPLICAS": lacks_replicas, "MISCONF": cannot_save}


@pytest.fixture(params=REFUSALS)
def code(request) -> str:
    return request.param


@pytest.fixture(params=valkey_server.mainly("redis"))
def store(request):
    with valkey_server.server(request.param) as server:
        yield server


@pytest.fixture
def refuse(code, store):
    """Return a function after which the store refuses writes, and one that ends it."""
    with ExitStack() as undo:
        yield lambda: REFUSALS[code](store, undo), undo.close


async def start(nursery: trio.Nursery, store: Server, clock: Clock) -> ValkeyEngine:
    engine = ValkeyEngine(store.url, clock=clock)
    with trio.fail_after(2.0):
        await nursery.start(engine.run)
    return engine


def note(name: str, ttl: float | None = None) -> Notify:
    return Notify(
        id=name, category="c", content=encode_content("t"), source="s", ttl=ttl
    )


async def read(engine: ValkeyEngine, user: str) -> tuple[str, int, list[str]]:
    with trio.fail_after(0.8):
        mailbox = (await engine.read(user)).mailbox
    return mailbox.epoch, mailbox.v, list(mailbox.items)


@pytest.mark.parametrize("is_lost", [False, True])
async def test_reads_are_served(is_lost, code, refuse, store, nursery):
    """Running and new nodes read all mailboxes, and agree about the versions.

    That holds also if the store lost its timeline, and each mailbox needs a new epoch
    that cannot be stored.
    """
    begin, end = refuse
    clock = Clock(START)
    running = await start(nursery, store, clock)
    await running.apply([("alice", note("1")), ("alice", note("2", ttl=60.0))])
    known = await read(running, "alice")
    if is_lost:
        store.execute("DEL", KEYS.data_id(SHARD))
    begin()
    new = await start(nursery, store, clock)
    nodes = [running, new, running, new]
    states = [await read(node, "alice") for node in nodes]

    assert 1 == len({*map(str, states)})
    assert ["1", "2"] == states[0][2]
    assert is_lost == (states[0][0] != known[0])

    clock.now += 61.0
    later = [await read(node, "alice") for node in nodes]
    unwritten = [await read(node, "carol") for node in nodes]

    assert 1 == len({*map(str, later)})
    assert ["1"] == later[0][2]
    assert (known[0], known[1]) != later[0][:2]
    assert 1 == len({*map(str, unwritten)})
    assert (0, []) == unwritten[0][1:]
    assert ["alice"] == await new.users(None, 9)
    assert ["alice"] == await new.holders(Retract(source="s"))
    assert [0, 0] == await new.report_presence({"alice": 1, "carol": 1}, ttl=9.0)

    end()
    (applied,) = await new.apply([("alice", note("3"))])
    (first,) = await new.apply([("carol", note("1"))])

    assert ["1", "3"] == list(applied.mailbox.items)
    # What was not stored ends with the refusal. A full store accepts a new epoch and a
    # removal, which take no memory.
    unstored = {unwritten[0][0]}
    if code != "OOM":
        unstored |= {later[0][0], states[0][0] if is_lost else ""}
    assert unstored.isdisjoint({applied.badge.epoch, first.badge.epoch})


async def test_writes_fail_at_once(code, refuse, store, nursery):
    """A refused write says so at once, has no effect, and delays no read."""
    begin, end = refuse
    engine = await start(nursery, store, Clock(START))
    await engine.apply([("alice", notification("1"))])
    begin()
    with trio.fail_after(1.5):
        for number in range(9):
            (result,) = await engine.apply([("alice", notification(f"no {number}"))])

            assert isinstance(result, EngineUnavailable)
            assert code in str(result)
        with pytest.raises(EngineUnavailable, match=code):
            await engine.check()
        with pytest.raises(EngineUnavailable, match=code):
            await engine.claim("k", "v", ttl=9.0)
        assert await engine.claimed("k") is None
        (bob,) = await engine.apply([("bob", note("1"))])
        assert isinstance(bob, EngineUnavailable)
        assert ["1"] == (await read(engine, "alice"))[2]
    end()
    await engine.check()
    (result,) = await engine.apply([("alice", notification("2"))])

    assert ["1", "2"] == list(result.mailbox.items)


async def test_refusal_of_one_of_several_writes(store, nursery):
    """A full store refuses a new item, and accepts a removal in the same call."""
    engine = await start(nursery, store, Clock(START))
    bob = next(f"bob-{n}" for n in range(9_999) if KEYS.shard(f"bob-{n}") == SHARD)
    await engine.apply([("alice", note("1")), (bob, note("1"))])
    with ExitStack() as undo:
        is_full(store, undo)
        work = [("alice", note("2")), (bob, Retract(source="s"))]
        with trio.fail_after(1.5):
            refused, removed = await engine.apply(work)

        assert isinstance(refused, EngineUnavailable)
        assert 0 == removed.badge.unread
        assert ["1"] == (await read(engine, "alice"))[2]
        assert [] == (await read(engine, bob))[2]


async def test_new_store(refuse, store, nursery):
    """A node starts at a store that never accepted a write, and reads nothing."""
    begin, end = refuse
    begin()
    engine = await start(nursery, store, Clock(START))

    assert (0, []) == (await read(engine, "alice"))[1:]

    end()
    (result,) = await engine.apply([("alice", notification("1"))])

    assert 1 == result.badge.unread


@pytest.mark.slow
async def test_watched_users_get_what_can_be_read(refuse, store, nursery):
    """Open streams get the state of a store that lost its timeline, once."""
    begin, _ = refuse
    engine = await start(nursery, store, Clock(START))
    await engine.apply([("alice", note("1"))])
    told = []
    engine.listen(lambda user, record: told.append(record.mailbox), {"alice"})
    before = await read(engine, "alice")
    store.execute("DEL", KEYS.data_id(SHARD))
    begin()
    with trio.fail_after(4.0):
        while not told or told[-1].epoch == before[0]:  # noqa: ASYNC110
            await trio.sleep(0.02)

    assert ["1"] == list(told[-1].items)
    assert told[-1].epoch == (await read(engine, "alice"))[0]
