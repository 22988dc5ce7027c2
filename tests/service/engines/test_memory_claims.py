"""What is claimed in the engine in memory: by one, for a time, and within bounds."""

from __future__ import annotations

import time

import pytest
import trio

from roundel_service.engines.memory import MemoryEngine
from support.mailboxes import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(clock) -> MemoryEngine:
    return MemoryEngine(clock=clock)


async def test_one_of_many_gets_the_claim(engine):
    """The first value is what everybody is answered."""
    kept = []

    async def claim(value):
        kept.append(await engine.claim("k", value, ttl=9.0))

    async with trio.open_nursery() as nursery:
        for value in "abc":
            nursery.start_soon(claim, value)

    assert 1 == len(set(kept))
    assert kept[0] == await engine.claimed("k")
    assert await engine.claimed("other") is None


async def test_claim_is_over_after_its_time(engine, clock):
    """What was claimed holds for as long as was asked for, and not a moment longer."""
    await engine.claim("k", "a", ttl=5.0)
    clock.now = 4.9
    held = await engine.claim("k", "b", ttl=5.0), await engine.claimed("k")
    clock.now = 5.0
    over = await engine.claimed("k")
    again = await engine.claim("k", "b", ttl=5.0), await engine.claimed("k")

    assert ("a", "a") == held
    assert over is None
    assert ("b", "b") == again


@pytest.mark.parametrize("ttl", [0.0, -1.0])
async def test_claim_for_no_time(engine, ttl):
    """A claim that is over at once is answered as any other, and not kept."""
    assert "a" == await engine.claim("k", "a", ttl=ttl)
    assert await engine.claimed("k") is None


async def test_claims_are_bounded(clock):
    """Beyond the bound the oldest claim goes early."""
    engine = MemoryEngine(clock=clock, max_claims=3)
    for key in "abcd":
        await engine.claim(key, key, ttl=9.0)

    assert [None, "b", "c", "d"] == [await engine.claimed(key) for key in "abcd"]


async def test_claims_that_are_over_make_room(clock):
    """No claim goes early for one that is over."""
    engine = MemoryEngine(clock=clock, max_claims=3)
    for key, clock.now in [("a", 0.0), ("b", 0.0), ("c", 1.0), ("d", 1.0), ("e", 1.0)]:
        await engine.claim(key, key, ttl=1.0)

    assert [None, None, "c", "d", "e"] == [await engine.claimed(k) for k in "abcde"]


async def test_long_claim_before_short_ones(engine, clock):
    """A claim that is over is over, also where one that holds hides it."""
    await engine.claim("long", "1", ttl=99.0)
    await engine.claim("short", "2", ttl=1.0)
    clock.now = 1.0

    assert "3" == await engine.claim("short", "3", ttl=1.0)
    assert ("1", "3") == (await engine.claimed("long"), await engine.claimed("short"))


async def test_claim_that_is_renewed_is_new(clock):
    """A key that was claimed anew goes behind those that were claimed meanwhile."""
    engine = MemoryEngine(clock=clock, max_claims=3)
    await engine.claim("a", "1", ttl=9.0)
    await engine.claim("b", "1", ttl=1.0)
    await engine.claim("c", "1", ttl=9.0)
    for key, clock.now in [("b", 1.0), ("d", 1.0), ("e", 1.0)]:
        await engine.claim(key, "2", ttl=9.0)

    assert [None, "2", None, "2", "2"] == [await engine.claimed(k) for k in "abcde"]


async def seconds_for(engine: MemoryEngine, keys: range) -> float:
    began = time.process_time()
    for key in keys:
        await engine.claim(str(key), "v", ttl=9.0)
    return time.process_time() - began


@pytest.mark.slow
async def test_many_claims_are_as_fast_as_few(clock):
    """A claim does not take longer once the oldest have to go for it."""
    engine = MemoryEngine(clock=clock, max_claims=100_000)
    few = await seconds_for(engine, range(10_000))
    await seconds_for(engine, range(10_000, 150_000))
    many = await seconds_for(engine, range(150_000, 160_000))

    assert many < 8 * few
