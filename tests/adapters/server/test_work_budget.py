"""The budget of work that many tasks share in one turn of the event loop."""

from __future__ import annotations

import math

import pytest
import trio

from roundel_adapters.server.work_budget import WorkBudget


async def count_turns(turns):
    while True:
        await trio.lowlevel.checkpoint()
        turns.append(0)


async def worker(budget, turns, pieces, units=1):
    continues = False
    while pieces:
        async with budget.turn(continues=continues):
            continues = True
            while pieces and not budget.is_used_up:
                budget.charge(units)
                turns[-1] += units
                pieces -= 1


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


@pytest.mark.parametrize("others", [1, 20])
async def test_busy_tasks_starve_no_other(nursery, others):
    """A task that begins comes before the tasks that always have work."""
    budget, turns = WorkBudget(10), [0]
    nursery.start_soon(count_turns, turns)
    for _ in range(others):
        nursery.start_soon(worker, budget, turns, math.inf)
    for _ in range(2 * others):
        await trio.lowlevel.checkpoint()
    for _ in range(10):
        await trio.lowlevel.checkpoint()
        began = len(turns)
        async with budget.turn():
            budget.charge(1)

        assert len(turns) - began <= 4
    nursery.cancel_scope.cancel()


async def test_tasks_that_begin_starve_no_other(nursery):
    """A task that continues gets each fourth turn, beside tasks that always begin."""
    budget, turns = WorkBudget(1), [0]
    nursery.start_soon(count_turns, turns)
    for _ in range(20):
        nursery.start_soon(begin_again, budget)
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    began = len(turns)
    await worker(budget, turns, 10)

    assert len(turns) - began <= 10 * 6
    nursery.cancel_scope.cancel()


async def begin_again(budget):
    while True:
        async with budget.turn():
            budget.charge(1)


async def test_cancelled_task_blocks_no_other(nursery):
    """A task that is cancelled while it waits for its turn passes it on."""
    budget, turns = WorkBudget(1), [0]
    await worker(budget, turns, 1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await worker(budget, turns, 2)
    with trio.fail_after(1):
        await worker(budget, turns, 5)

    assert scope.cancelled_caught


async def test_cancelled_task_in_the_queue_blocks_no_other(nursery):
    """The turn goes to the next task of the queue."""
    budget, turns = WorkBudget(1), [0]
    async with budget.turn():
        with trio.move_on_after(0):
            await worker(budget, turns, 1)
        nursery.start_soon(worker, budget, turns, 1)
        await trio.testing.wait_all_tasks_blocked()
    with trio.fail_after(1):
        await worker(budget, turns, 1)

    assert turns == [2]
