"""Who waits for a home of the store, and when it is whose turn."""

from __future__ import annotations

from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.valkey.pending import PendingOperation
from roundel_service.engines.valkey.queue import MAX_BATCH, MAX_CONCURRENT, PendingQueue


def piece(user: str, since: float = 0.0) -> PendingOperation:
    return PendingOperation(user, None, since)


def lane(*pieces: PendingOperation) -> PendingQueue:
    made = PendingQueue()
    for each in pieces:
        made.add(each)
    return made


def test_all_of_a_user_is_one_turn():
    """Who came first is first, and what came meanwhile goes along."""
    first, second, third = piece("a"), piece("b"), piece("a")
    waiting = lane(first, second, third)

    assert [("a", [first, third]), ("b", [second])] == [*waiting.next_batch(()).items()]
    assert {} == waiting.next_batch(())


def test_user_who_is_busy_stays():
    """Of a user one turn is taken after the other."""
    waiting = lane(piece("a"), piece("b"))

    assert ["b"] == [*waiting.next_batch({"a"})]
    assert ["a"] == [*waiting.next_batch(())]


def test_so_many_are_taken_at_once():
    """No more users than fit into a batch, and no more batches than are useful."""
    waiting = lane(*(piece(f"{number}") for number in range(MAX_BATCH + 1)))

    assert MAX_BATCH == len(waiting.next_batch(()))

    waiting.running = MAX_CONCURRENT
    assert {} == waiting.next_batch(())

    waiting.running -= 1
    assert 1 == len(waiting.next_batch(()))


def test_who_waited_for_too_long_is_refused():
    """With all that waits for the same turn; others wait on."""
    early, late, other = piece("a", 1.0), piece("a", 2.0), piece("b", 2.0)
    waiting = lane(early, late, other)
    waiting.fail_before(1.0, "why")

    told = [isinstance(each.result, EngineUnavailable) for each in (early, late, other)]
    assert [True, True, False] == told
    assert {"b": [other]} == waiting.next_batch(())
