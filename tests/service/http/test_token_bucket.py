"""Token buckets: transcripts with times, and a bucket that really holds tokens."""

from __future__ import annotations

import time

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundel_service.http.token_bucket import TokenBuckets


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([(0, 1, 0), (0, 3, 0), (0, 1, 0.5)], id="a burst, and no more"),
        pytest.param([(0, 4, 0), (0.5, 1, 0), (0.5, 1, 0.5)], id="they come back"),
        pytest.param([(0, 4, 0), (99, 4, 0), (99, 1, 0.5)], id="no more than a burst"),
        pytest.param([(0, 4, 0), (0, 1, 0.5), (0.5, 1, 0)], id="refused costs nothing"),
        pytest.param([(0, 4, 0), (0, 3, 1.5), (1, 3, 0.5), (1.5, 3, 0)], id="the wait"),
        pytest.param([(0, 9, 0), (0, 9, 2), (1.5, 9, 0.5), (2, 9, 0)], id="too many"),
        pytest.param([(0, 0, 0), (0, 4, 0), (0, 0, 0)], id="nothing is always there"),
    ],
)
def test_take(calls):
    """A bucket of 4 tokens, 2 a second: as (time, tokens taken, seconds to wait)."""
    buckets = TokenBuckets(2.0, 4.0)
    waits = [buckets.take("k", tokens, now=float(now)) for now, tokens, _ in calls]

    assert [wait for _, _, wait in calls] == waits


def test_borrow():
    """What is borrowed is taken all the same, and is waited for by everybody after."""
    buckets = TokenBuckets(2.0, 4.0)
    waits = [buckets.take("k", 3, now=0.0, borrow=True) for _ in range(3)]

    assert [0.0, 1.0, 2.5] == waits
    assert 3.0 == buckets.take("k", 1, now=0.0)
    assert 0.0 == buckets.take("k", 1, now=3.0)


def test_each_key_has_its_own_bucket():
    """Nobody is refused for what another has taken."""
    buckets = TokenBuckets(2.0, 4.0)
    buckets.take("a", 4, now=0.0)

    assert 0.0 == buckets.take("b", 4, now=0.0)
    assert 0.5 == buckets.take("a", 1, now=0.0)


@pytest.mark.parametrize("now", [0.0, 10_000.1, 999_999.9])
@pytest.mark.parametrize("rate", [0.3, 50.0, 20_000.0])
def test_burst_is_whole_at_any_time(rate, now):
    """All of a burst can be had one by one, however coarse the clock's numbers are."""
    buckets = TokenBuckets(rate, 40.0)

    assert {0.0} == {buckets.take("k", 1, now=now) for _ in range(40)}
    wait = buckets.take("k", 1, now=now)

    assert pytest.approx(1 / rate, abs=1e-5) == wait
    assert 0.0 == buckets.take("k", 1, now=now + wait)


def test_least_recently_used_goes_first():
    """Keys beyond the capacity are forgotten, and are then as good as full."""
    buckets = TokenBuckets(1.0, 1.0, capacity=2)
    for key in "abac":
        buckets.take(key, 1, now=0.0)

    assert 1.0 == buckets.take("a", 1, now=0.0)
    assert 0.0 == buckets.take("b", 1, now=0.0)


def test_full_buckets_cost_nothing():
    """A key that nobody uses any more is let go, as soon as another one comes."""
    buckets = TokenBuckets(1.0, 9.0)
    for key in "abc":
        buckets.take(key, 1, now=0.0)
    buckets.take("d", 1, now=1.0)

    assert 1 == len(buckets)


def seconds_for(buckets: TokenBuckets, keys: range) -> float:
    began = time.process_time()
    for key in keys:
        buckets.take(str(key), 1, now=0.0)
    return time.process_time() - began


@pytest.mark.slow
def test_many_keys_are_as_fast_as_few():
    """Once a hundred thousand callers are known, the next is served as fast."""
    buckets = TokenBuckets(1.0, 9.0)
    few = seconds_for(buckets, range(10_000))
    seconds_for(buckets, range(10_000, 150_000))
    many = seconds_for(buckets, range(150_000, 160_000))

    assert many < 8 * few


@attrs.define
class Bucket:
    """A bucket that holds tokens: less than none are there if some were lent."""

    rate: float
    burst: float
    tokens: float
    at: float = 0.0

    def take(self, tokens: float, now: float, borrow: bool) -> float:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        wanted = min(tokens, self.burst)
        missing = max(0.0, wanted - self.tokens)
        if borrow or not missing:
            self.tokens -= wanted
        return missing / self.rate


@pytest.mark.slow
@given(
    rate=st.sampled_from([0.5, 1.0, 4.0]),
    burst=st.integers(1, 8),
    calls=st.lists(
        st.tuples(
            st.integers(0, 8), st.integers(0, 10), st.sampled_from("ab"), st.booleans()
        )
    ),
)
def test_buckets_are_buckets(rate, burst, calls):
    """Whatever is taken when, it is as if there were buckets with tokens in them."""
    buckets, now = TokenBuckets(rate, float(burst)), 0.0
    models = {key: Bucket(rate, burst, burst) for key in "ab"}
    for quarters, tokens, key, borrow in calls:
        now += quarters / 4
        wait = buckets.take(key, tokens, now=now, borrow=borrow)

        assert models[key].take(tokens, now, borrow) == wait
