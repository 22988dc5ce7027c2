"""Token buckets by key: each key has its own, and their number is bounded."""

from __future__ import annotations

import time

import pytest

from roundel_service.http.token_bucket import TokenBuckets


def test_each_key_has_its_own_bucket():
    """A caller is not limited by the requests of another caller."""
    buckets = TokenBuckets(2.0, 4.0)
    buckets.take("a", 4, now=0.0)

    assert 0.0 == buckets.take("b", 4, now=0.0)
    assert 0.5 == buckets.take("a", 1, now=0.0)
    assert 0.5 == buckets.take("a", 1, now=0.0, reserve=True)
    assert 1.0 == buckets.take("a", 1, now=0.0)


def test_least_recently_used_key_is_evicted():
    """Keys beyond the capacity are evicted, and their buckets are full again."""
    buckets = TokenBuckets(1.0, 1.0, capacity=2)
    for key in "abac":
        buckets.take(key, 1, now=0.0)

    assert 1.0 == buckets.take("a", 1, now=0.0)
    assert 0.0 == buckets.take("b", 1, now=0.0)


def test_full_buckets_are_removed():
    """A new key removes the buckets that are full again."""
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
    """The time of `take()` does not grow with 100,000 keys."""
    buckets = TokenBuckets(1.0, 9.0)
    few = seconds_for(buckets, range(10_000))
    seconds_for(buckets, range(10_000, 150_000))
    many = seconds_for(buckets, range(150_000, 160_000))

    assert many < 8 * few
