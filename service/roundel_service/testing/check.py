"""What an engine promises, one by one, and how each is put to the test."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import TypeAlias, final

import attrs
import trio

from .environment import EngineTraits, Environment, MakeEngine

TIMEOUT_FACTOR = 12
"""After how many times the wait_timeout a test of one promise hangs."""

CheckFunction: TypeAlias = Callable[[Environment], Awaitable[None]]
"""Puts one promise to the test, at an empty place; its docstring is the promise."""


@final
class ContractViolation(AssertionError):  # noqa: N818, it names what was found
    """An engine does not do what it promises; the cause says what happened."""


@final
@attrs.frozen
class Check:
    """A *story* that ends well at every engine of which *needs* is promised."""

    function: CheckFunction
    requires: EngineTraits = attrs.field(factory=EngineTraits)

    @property
    def name(self) -> str:
        """What the promise is called."""
        return self.function.__name__

    def __str__(self) -> str:
        """Return the promise itself."""
        return " ".join((self.function.__doc__ or "").split())

    def applies_to(self, kind: EngineTraits) -> bool:
        """Tell whether an engine of that *kind* promises it."""
        return (kind.is_durable or not self.requires.is_durable) and (
            kind.is_shared or not self.requires.is_shared
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
        """Put the promise to the test; raises `ContractViolation`.

        The arguments are those of `check_engine()`.
        """
        place = Environment(
            make_engine=make_engine,
            traits=EngineTraits(is_durable=is_durable, is_shared=is_shared),
            random=Random(f"{self.name} {seed}"),  # noqa: S311, it has to come again
            wait_timeout=wait_timeout,
            name=secrets.token_hex(8),
        )
        try:
            with trio.fail_after(TIMEOUT_FACTOR * wait_timeout):
                await self.function(place)
        except Exception as error:
            leaves = list(_leaves(error))
            told = "\n".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves)
            message = f"{self.name} (seed {seed}): {self}\n{told}"
            raise ContractViolation(message) from (error if leaves[1:] else leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    # A nursery puts what went wrong in it into a group, also if it is one thing.
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
