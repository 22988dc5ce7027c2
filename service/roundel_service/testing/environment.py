"""Where promises are put to the test: a store of its own, and the nodes at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import TypeAlias, final

import attrs
import trio

from ..domain.mailbox import Applied
from ..domain.operations import Operation
from ..domain.record import RecordLimits
from ..engines.base import ApplyResult, Engine, UserOperation
from .compare import check_equal

START_TIME = 1_763_690_000.125
"""What the clock says first, in seconds since 1970."""


@final
@attrs.define
class Clock:
    """A clock that is set by hand, in seconds since 1970."""

    now: float = START_TIME

    def __call__(self) -> float:
        """Return what it was set to."""
        return self.now


@final
@attrs.frozen(kw_only=True)
class Setup:
    """What an engine is made from.

    *place* names the store, in letters and digits: the same name is the same store,
    and one that was not named before is empty. All engines at a place are given the
    same *clock*, in seconds since 1970, and the same *rules*.
    """

    name: str
    clock: Callable[[], float]
    limits: RecordLimits


MakeEngine: TypeAlias = Callable[[Setup], Engine]


@final
@attrs.frozen(kw_only=True)
class EngineTraits:
    """What is promised of an engine, beyond what all of them do.

    Of one that *is_durable* the next engine at a place finds all that was
    acknowledged; of one that *is_shared* there may be several at once.
    """

    is_durable: bool = False
    is_shared: bool = False


@final
@attrs.frozen(kw_only=True)
class Environment:
    """A store of its own, with a clock and a *random* that are the same each time.

    *patience* is how many seconds may pass until what has to come about has.
    """

    make_engine: MakeEngine
    traits: EngineTraits
    random: Random
    wait_timeout: float
    name: str
    limits: RecordLimits = attrs.field(factory=RecordLimits)
    clock: Clock = attrs.field(factory=Clock)

    def new_store(self, rules: RecordLimits | None = None) -> Environment:
        """Return a place beside this one, which has nothing to do with it."""
        name = f"{self.name}x{self.random.getrandbits(40):010x}"
        return attrs.evolve(
            self, name=name, limits=rules or self.limits, clock=Clock(self.clock.now)
        )

    def engine(self) -> Engine:
        """Make an engine; it has to be run."""
        setup = Setup(name=self.name, clock=self.clock, limits=self.limits)
        return self.make_engine(setup)

    @asynccontextmanager
    async def node(self) -> AsyncIterator[Engine]:
        """Run an engine for the length of the block."""
        engine = self.engine()
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            yield engine
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def nodes(self, count: int = 2) -> AsyncIterator[list[Engine]]:
        """Run *count* engines, or one under several names where it cannot be shared."""
        async with AsyncExitStack() as stack:
            made = count if self.traits.is_shared else 1
            nodes = [await stack.enter_async_context(self.node()) for _ in range(made)]
            yield [nodes[number % made] for number in range(count)]

    async def eventually(self, is_so: Callable[[], Awaitable[bool]], what: str) -> None:
        """Ask again until it *is_so*, as long as there is patience."""
        with trio.move_on_after(self.wait_timeout):
            while not await is_so():  # noqa: ASYNC110, no event to wait for
                await trio.sleep(0.005)
            return
        raise AssertionError(f"not within {self.wait_timeout} s: {what}")

    async def yield_randomly(self) -> None:
        """Let others have a few turns, or many; how many is chance."""
        for _ in range(self.random.randrange(2 ** self.random.randrange(9))):
            await trio.lowlevel.checkpoint()


async def put(engine: Engine, user: str, operation: Operation) -> Applied:
    """Apply one operation; raises what the engine has it refused by."""
    (result,) = await engine.apply([(user, operation)])
    return unwrap(result)


async def put_all(engine: Engine, work: Sequence[UserOperation]) -> list[Applied]:
    """Apply all of *work*, of which nothing may be refused."""
    results = await engine.apply(work)
    check_equal(len(work), len(results), "a result for each piece of work")
    return [unwrap(result) for result in results]


def unwrap(result: ApplyResult) -> Applied:
    """Return the result of what must not be refused."""
    if isinstance(result, Exception):
        raise result
    return result
