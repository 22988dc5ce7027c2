"""One check of the engine contract, and the error of a check that failed."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import TypeAlias, final

import attrs
import trio

from .environment import EngineTraits, Environment, MakeEngine

TIMEOUT_FACTOR = 12
"""Timeout of a whole check, as a multiple of its `wait_timeout`."""

CheckFunction: TypeAlias = Callable[[Environment], Awaitable[None]]
"""Checks one rule in an empty store; its docstring states the rule."""


@final
class ContractViolation(AssertionError):  # noqa: N818, named after the finding
    """An engine violates its contract; the cause says what happened."""


@final
@attrs.frozen
class Check:
    """A *function* that passes with each engine that has the *required* traits."""

    function: CheckFunction
    requires: EngineTraits = attrs.field(factory=EngineTraits)

    @property
    def name(self) -> str:
        """The name of the check."""
        return self.function.__name__

    def __str__(self) -> str:
        """Return the rule that is checked."""
        return " ".join((self.function.__doc__ or "").split())

    def applies_to(self, traits: EngineTraits) -> bool:
        """Return whether engines with these *traits* must pass."""
        return (traits.is_durable or not self.requires.is_durable) and (
            traits.is_shared or not self.requires.is_shared
        )

    async def run(
        self,
        make_engine: MakeEngine,
        *,
        is_durable: bool = False,
        is_shared: bool = False,
        seed: int = 0,
        wait_timeout: float = 10.0,
    ) -> None:
        """Run the check; raises `ContractViolation`.

        The arguments are those of `check_engine()`.
        """
        env = Environment(
            make_engine=make_engine,
            traits=EngineTraits(is_durable=is_durable, is_shared=is_shared),
            random=Random(f"{self.name} {seed}"),  # noqa: S311, reproducible
            wait_timeout=wait_timeout,
            name=secrets.token_hex(8),
        )
        try:
            with trio.fail_after(TIMEOUT_FACTOR * wait_timeout):
                await self.function(env)
        except Exception as error:
            leaves = list(_leaves(error))
            causes = "\n".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves)
            message = f"{self.name} (seed {seed}): {self}\n{causes}"
            raise ContractViolation(message) from (error if leaves[1:] else leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    # A nursery raises a group even for one error.
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
