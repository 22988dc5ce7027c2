"""The environment of a check: a store, its engines, a clock and random choices."""

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
"""First time of the clock, in seconds since 1970."""


@final
@attrs.define
class Clock:
    """A clock that a check sets, in seconds since 1970."""

    now: float = START_TIME

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@final
@attrs.frozen(kw_only=True)
class Setup:
    """The arguments for a new engine.

    *name* identifies the store, in letters and digits: the same name is the same store,
    and a store with a new name is empty. All engines of a store get the same *clock*,
    in seconds since 1970, and the same *limits*.
    """

    name: str
    clock: Callable[[], float]
    limits: RecordLimits


MakeEngine: TypeAlias = Callable[[Setup], Engine]


@final
@attrs.frozen(kw_only=True)
class EngineTraits:
    """Optional guarantees of an engine.

    Acknowledged writes to a *durable* engine survive its end. Several *shared* engines
    can use a store at once.
    """

    is_durable: bool = False
    is_shared: bool = False


@final
@attrs.frozen(kw_only=True)
class Environment:
    """A store with its *clock*, *limits* and reproducible *random* choices.

    *wait_timeout* is the timeout in seconds for an expected event.
    """

    make_engine: MakeEngine
    traits: EngineTraits
    random: Random
    wait_timeout: float
    name: str
    limits: RecordLimits = attrs.field(factory=RecordLimits)
    clock: Clock = attrs.field(factory=Clock)

    def new_store(self, limits: RecordLimits | None = None) -> Environment:
        """Return an environment with another, empty store."""
        name = f"{self.name}x{self.random.getrandbits(40):010x}"
        return attrs.evolve(
            self, name=name, limits=limits or self.limits, clock=Clock(self.clock.now)
        )

    def engine(self) -> Engine:
        """Return a new engine, which is not running."""
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
        """Run *count* engines, or one engine *count* times if it is not shared."""
        async with AsyncExitStack() as stack:
            distinct = count if self.traits.is_shared else 1
            nodes = [
                await stack.enter_async_context(self.node()) for _ in range(distinct)
            ]
            yield [nodes[number % distinct] for number in range(count)]

    async def eventually(
        self, condition: Callable[[], Awaitable[bool]], what: str
    ) -> None:
        """Poll until *condition* is true; fail after `wait_timeout`."""
        with trio.move_on_after(self.wait_timeout):
            while not await condition():  # noqa: ASYNC110, no event to wait for
                await trio.sleep(0.005)
            return
        raise AssertionError(f"not within {self.wait_timeout} s: {what}")

    async def yield_randomly(self) -> None:
        """Run other tasks for a random number of checkpoints."""
        for _ in range(self.random.randrange(2 ** self.random.randrange(9))):
            await trio.lowlevel.checkpoint()


async def run_writers(
    write: Callable[[Engine, str], Awaitable[object]], nodes: list[Engine], count: int
) -> None:
    """Run *count* calls of *write* at once, each with a node and a name of its own."""
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(write, nodes[number % len(nodes)], f"{number}")


async def put(engine: Engine, user: str, operation: Operation) -> Applied:
    """Apply one operation; raise its error if the engine rejects it."""
    (result,) = await engine.apply([(user, operation)])
    return unwrap(result)


async def put_all(engine: Engine, work: Sequence[UserOperation]) -> list[Applied]:
    """Apply operations, and raise the first error."""
    results = await engine.apply(work)
    check_equal(len(work), len(results), "the number of results")
    return [unwrap(result) for result in results]


def unwrap(result: ApplyResult) -> Applied:
    """Return the result, or raise it if it is an error."""
    if isinstance(result, Exception):
        raise result
    return result
