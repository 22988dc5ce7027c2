"""The memory engine beyond the engine contract: epochs, listeners, claims, fairness."""

from __future__ import annotations

import time
import tracemalloc
from functools import partial

import pytest
import trio

from roundel_service.domain.operations import DeleteGauge, Retract
from roundel_service.engines.memory import SCAN_BATCH, YIELD_AFTER, MemoryEngine
from support.mailboxes import Clock, note, ops, put, record_changes


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(clock) -> MemoryEngine:
    return MemoryEngine(clock=clock)


async def fill(engine: MemoryEngine, *users: str, **fields) -> None:
    """Add an item to the mailbox of each user."""
    for user in users:
        await put(engine, user, note("1", **fields))


async def epoch(engine: MemoryEngine) -> str:
    return (await engine.read("alice")).mailbox.epoch


async def test_epochs_are_derived_from_the_key():
    """Engines with one key have the same epochs; the default key is random."""
    keyed = [await epoch(MemoryEngine(key=b"1" * 32)) for _ in range(2)]
    random = [await epoch(MemoryEngine()) for _ in range(2)]

    assert 1 == len(set(keyed))
    assert 3 == len({*keyed, *random})


async def test_unwritten_mailboxes_take_no_memory(engine):
    """Reads of many unknown users store nothing."""
    tracemalloc.start()
    try:
        for number in range(1_000):
            await engine.read(f"user-{number}")
        assert tracemalloc.get_traced_memory()[0] < 10_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        pytest.param(note("2"), [("alice", 2, 2)], id="new item"),
        pytest.param(ops({"read": ["1"]}), [("alice", 2, 0)], id="read item"),
        pytest.param(note("2", op_id="o"), [], id="repeated operation"),
        pytest.param(Retract(source="other"), [], id="no match"),
        pytest.param(DeleteGauge("g"), [], id="no gauge"),
    ],
)
async def test_listener_is_called_once_for_each_change(engine, operation, expected):
    """Each listener is called once for a change, and not without one."""
    await fill(engine, "alice", source="s", op_id="o")
    first, second = record_changes(engine), record_changes(engine)
    await put(engine, "alice", operation)

    assert expected == first == second


async def test_expiry_and_write_are_two_changes(engine, clock):
    """A write to a mailbox with an expired item makes two versions."""
    changes = record_changes(engine)
    await fill(engine, "bob", ttl=5)
    clock.now = 5.0
    await put(engine, "bob", note("2"))

    assert [("bob", 1, 1), ("bob", 3, 1)] == changes


async def test_two_concurrent_listings(engine):
    """Two listings of users do not disturb each other."""
    await fill(engine, *"abcdef")
    slow, fast = None, None
    seen = {"slow": [], "fast": []}
    for _ in range(3):
        slow = (await engine.users(slow, 1))[-1]
        page = await engine.users(fast, 2)
        fast = page[-1]
        seen["slow"].append(slow)
        seen["fast"] += page

    assert {"slow": list("abc"), "fast": list("abcdef")} == seen


async def test_listing_after_an_unknown_user(engine):
    """A listing that starts after an unknown user starts from the beginning."""
    await fill(engine, *"ab")

    assert ["a", "b"] == await engine.users("unknown", 9)


async def checkpoints_during(work) -> int:
    """Return how often another task runs during *work*."""
    count = 0

    async def run():
        nonlocal count
        while True:
            count += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await work()
        nursery.cancel_scope.cancel()
        return count


@pytest.mark.slow
async def test_long_calls_have_checkpoints(engine):
    """Other tasks run during a scan and during a long batch."""
    await fill(engine, *map(str, range(2 * SCAN_BATCH)), ttl=5)
    scan = await checkpoints_during(partial(engine.holders, Retract(source="s")))
    work = [(str(number), note("2")) for number in range(2 * YIELD_AFTER)]
    batch = await checkpoints_during(partial(engine.apply, work))

    assert scan > 0
    assert batch > 0


async def test_scan_during_writes(engine):
    """A write during a scan does not disturb it."""
    await fill(engine, *map(str, range(SCAN_BATCH)), source="s")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill, engine, "late")
        holders = await engine.holders(Retract(source="s"))

    assert SCAN_BATCH == len(holders)


# Claims.


async def test_claims_are_bounded(clock):
    """Beyond the limit the oldest claim is removed early."""
    engine = MemoryEngine(clock=clock, max_claims=3)
    for key in "abcd":
        await engine.claim(key, key, ttl=9.0)

    assert [None, "b", "c", "d"] == [await engine.claimed(key) for key in "abcd"]


async def test_expired_claims_are_removed_first(clock):
    """No claim is removed early while an older one has expired."""
    engine = MemoryEngine(clock=clock, max_claims=3)
    for key, clock.now in [("a", 0.0), ("b", 0.0), ("c", 1.0), ("d", 1.0), ("e", 1.0)]:
        await engine.claim(key, key, ttl=1.0)

    assert [None, None, "c", "d", "e"] == [await engine.claimed(k) for k in "abcde"]


async def test_short_claim_after_a_long_one(engine, clock):
    """A claim expires although an older one is still valid."""
    await engine.claim("long", "1", ttl=99.0)
    await engine.claim("short", "2", ttl=1.0)
    clock.now = 1.0

    assert "3" == await engine.claim("short", "3", ttl=1.0)
    assert ("1", "3") == (await engine.claimed("long"), await engine.claimed("short"))


async def test_repeated_claim_is_the_newest(clock):
    """A key that is claimed again after its expiry is evicted last."""
    engine = MemoryEngine(clock=clock, max_claims=3)
    await engine.claim("a", "1", ttl=9.0)
    await engine.claim("b", "1", ttl=1.0)
    await engine.claim("c", "1", ttl=9.0)
    for key, clock.now in [("b", 1.0), ("d", 1.0), ("e", 1.0)]:
        await engine.claim(key, "2", ttl=9.0)

    assert [None, "2", None, "2", "2"] == [await engine.claimed(k) for k in "abcde"]


async def seconds_for(engine: MemoryEngine, keys: range) -> float:
    started = time.process_time()
    for key in keys:
        await engine.claim(str(key), "v", ttl=9.0)
    return time.process_time() - started


@pytest.mark.slow
async def test_eviction_takes_constant_time(clock):
    """A claim that evicts the oldest one is as fast as one that does not."""
    engine = MemoryEngine(clock=clock, max_claims=100_000)
    few = await seconds_for(engine, range(10_000))
    await seconds_for(engine, range(10_000, 150_000))
    many = await seconds_for(engine, range(150_000, 160_000))

    assert many < 8 * few
