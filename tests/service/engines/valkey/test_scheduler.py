"""The queue of operations for one primary."""

from __future__ import annotations

from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.valkey.pending import PendingOperation
from roundel_service.engines.valkey.scheduler import (
    MAX_BATCH,
    MAX_CONCURRENT,
    PendingQueue,
)


def pending(user: str, since: float = 0.0) -> PendingOperation:
    return PendingOperation(user, None, since)


def queue_of(*operations: PendingOperation) -> PendingQueue:
    queue = PendingQueue()
    for operation in operations:
        queue.add(operation)
    return queue


def test_operations_of_a_user_are_grouped():
    """Users are served in order of arrival, each with all waiting operations."""
    first, second, third = pending("a"), pending("b"), pending("a")
    queue = queue_of(first, second, third)

    assert [("a", [first, third]), ("b", [second])] == [*queue.next_batch(()).items()]
    assert {} == queue.next_batch(())


def test_busy_user_waits():
    """A user with a running transaction stays in the queue."""
    queue = queue_of(pending("a"), pending("b"))

    assert ["b"] == [*queue.next_batch({"a"})]
    assert ["a"] == [*queue.next_batch(())]


def test_batches_are_limited():
    """The size of a batch and the number of concurrent batches are limited."""
    queue = queue_of(*(pending(f"{number}") for number in range(MAX_BATCH + 1)))

    assert MAX_BATCH == len(queue.next_batch(()))

    queue.running = MAX_CONCURRENT
    assert {} == queue.next_batch(())

    queue.running -= 1
    assert 1 == len(queue.next_batch(()))


def test_users_that_waited_too_long_fail():
    """All operations of the user fail; other users keep waiting."""
    early, late, other = pending("a", 1.0), pending("a", 2.0), pending("b", 2.0)
    queue = queue_of(early, late, other)
    queue.fail_before(1.0, "timed out")

    assert isinstance(early.result, EngineUnavailable)
    assert isinstance(late.result, EngineUnavailable)
    assert other.result is None
    assert {"b": [other]} == queue.next_batch(())
