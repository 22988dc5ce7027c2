"""Runs schedules: `simulate(make_engine, schedule)`."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from roundel_service.engines.base import Engine
from roundel_service.engines.memory import MemoryEngine
from roundel_service.testing import MakeEngine, Setup

from .faults import Saboteur
from .schedule import ClientParts, Outcome, Schedule
from .simulation import Simulation


def simulate(
    make_engine: MakeEngine,
    schedule: Schedule,
    parts: ClientParts | None = None,
    saboteur: Saboteur | None = None,
) -> Outcome:
    """Run *schedule*, then stop the faults and compare the final states."""
    order = trio._core._run._r.getstate()
    try:
        return trio.run(play, make_engine, schedule, parts, saboteur, clock=MockClock())
    finally:
        # The seed of a schedule is not that of the tests after it.
        trio._core._run._r.setstate(order)


async def play(
    make_engine: MakeEngine,
    schedule: Schedule,
    parts: ClientParts | None = None,
    saboteur: Saboteur | None = None,
) -> Outcome:
    """Run *schedule* inside trio, on a `MockClock`."""
    # Trio shuffles the tasks that are ready at the same time.
    trio._core._run._r.seed(schedule.seed)
    async with trio.open_nursery() as nursery:
        simulation = Simulation(
            make_engine, schedule, parts or ClientParts(), nursery, saboteur
        )
        await simulation.start()
        for _ in range(schedule.steps):
            await simulation.step()
        outcome = await simulation.settle()
        nursery.cancel_scope.cancel()
    return outcome


def memory(setup: Setup) -> Engine:
    """Return a memory engine."""
    return MemoryEngine(setup.limits, clock=setup.clock, key=bytes.fromhex(setup.name))
