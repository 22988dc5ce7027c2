"""The token bucket: transcripts with times, and a model that counts tokens."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundel_adapters.token_bucket import TokenBucket


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([(0, 1, 0), (0, 3, 0), (0, 1, 0.5)], id="burst"),
        pytest.param([(0, 4, 0), (0.5, 1, 0), (0.5, 1, 0.5)], id="refill"),
        pytest.param([(0, 4, 0), (99, 4, 0), (99, 1, 0.5)], id="refill to the burst"),
        pytest.param([(0, 4, 0), (0, 1, 0.5), (0.5, 1, 0)], id="refused takes none"),
        pytest.param([(0, 4, 0), (0, 3, 1.5), (1, 3, 0.5), (1.5, 3, 0)], id="wait"),
        pytest.param([(0, 9, 0), (0, 9, 2), (1.5, 9, 0.5), (2, 9, 0)], id="too many"),
        pytest.param([(0, 0, 0), (0, 4, 0), (0, 0, 0)], id="zero tokens"),
    ],
)
def test_take(calls):
    """A bucket of 4 tokens, 2 a second: as (time, tokens, seconds to wait)."""
    bucket = TokenBucket(2.0, 4.0)
    waits = [bucket.take(tokens, now=float(now)) for now, tokens, _ in calls]

    assert [wait for _, _, wait in calls] == waits


def test_reserve():
    """Reserved tokens are taken in any case, and later calls wait for them."""
    bucket = TokenBucket(2.0, 4.0)
    waits = [bucket.take(3, now=0.0, reserve=True) for _ in range(3)]

    assert [0.0, 1.0, 2.5] == waits
    assert 3.0 == bucket.take(now=0.0)
    assert 0.0 == bucket.take(now=3.0)


@pytest.mark.parametrize("now", [0.0, 10_000.1, 999_999.9])
@pytest.mark.parametrize("rate", [0.3, 50.0, 20_000.0])
def test_burst_is_exact_at_any_time(rate, now):
    """Rounding of the clock's floats does not refuse the last token of a burst."""
    bucket = TokenBucket(rate, 40.0)

    assert {0.0} == {bucket.take(now=now) for _ in range(40)}
    wait = bucket.take(now=now)

    assert pytest.approx(1 / rate, abs=1e-5) == wait
    assert 0.0 == bucket.take(now=now + wait)


@attrs.define
class CountingBucket:
    """A model that counts tokens; the count is negative after a reservation."""

    rate: float
    burst: float
    tokens: float
    at: float = 0.0

    def take(self, tokens: float, now: float, reserve: bool) -> float:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        wanted = min(tokens, self.burst)
        missing = max(0.0, wanted - self.tokens)
        if reserve or not missing:
            self.tokens -= wanted
        return missing / self.rate


@given(
    rate=st.sampled_from([0.5, 1.0, 4.0]),
    burst=st.integers(1, 8),
    calls=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 10), st.booleans())),
)
def test_bucket_agrees_with_a_count_of_tokens(rate, burst, calls):
    """The time at which the bucket is full carries the same state as a count."""
    bucket, now = TokenBucket(rate, float(burst)), 0.0
    model = CountingBucket(rate, burst, burst)
    for quarters, tokens, reserve in calls:
        now += quarters / 4
        wait = bucket.take(tokens, now=now, reserve=reserve)

        assert model.take(tokens, now, reserve) == wait
