"""The budget of work that many tasks share in one turn of the event loop."""

from __future__ import annotations

import trio

from roundel_adapters.server.work_budget import WorkBudget


async def count_turns(turns):
    while True:
        await trio.lowlevel.checkpoint()
        turns.append(0)


async def worker(budget, turns, pieces, units=1):
    for _ in range(pieces):
        await budget.turn()
        budget.charge(units)
        turns[-1] += units


async def run_workers(nursery, count, *, units=1):
    """Run *count* workers of 50 pieces; return the work of each turn."""
    budget, turns = WorkBudget(10), [0]
    nursery.start_soon(count_turns, turns)
    async with trio.open_nursery() as workers:
        for _ in range(count):
            workers.start_soon(worker, budget, turns, 50, units)
    nursery.cancel_scope.cancel()
    return turns


async def test_all_tasks_share_the_budget(nursery):
    """100 tasks do no more work in a turn than the budget, and each one finishes."""
    turns = await run_workers(nursery, 100)

    assert sum(turns) == 100 * 50
    assert max(turns) <= 20


async def test_large_piece_uses_up_the_budget(nursery):
    """A piece above the budget runs alone."""
    turns = await run_workers(nursery, 3, units=25)

    assert sum(turns) == 3 * 50 * 25
    assert max(turns) <= 50


async def test_work_within_the_budget_has_no_checkpoint():
    """A task that works little does not wait."""
    budget, turns = WorkBudget(10), [0]
    with trio.testing.assert_no_checkpoints():
        await worker(budget, turns, 10)

    assert budget.is_used_up


async def test_cancelled_task_renews_the_budget(nursery):
    """A task that is cancelled at its checkpoint blocks no other."""
    budget, turns = WorkBudget(1), [0]
    with trio.CancelScope() as scope:
        scope.cancel()
        await worker(budget, turns, 2)
    with trio.fail_after(1):
        await worker(budget, turns, 5)

    assert scope.cancelled_caught
