"""What an engine promises, one by one, and how each is put to the test."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import TypeAlias, final

import attrs
import trio

from .environment import EngineTraits, Environment, MakeEngine

BOUND = 12
"""After how many times the patience a test of one promise hangs."""

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
    needs: EngineTraits = attrs.field(factory=EngineTraits)

    @property
    def name(self) -> str:
        """What the promise is called."""
        return self.function.__name__

    def __str__(self) -> str:
        """Return the promise itself."""
        return " ".join((self.function.__doc__ or "").split())

    def concerns(self, kind: EngineTraits) -> bool:
        """Tell whether an engine of that *kind* promises it."""
        return (kind.is_durable or not self.needs.is_durable) and (
            kind.is_shared or not self.needs.is_shared
        )

    async def check(
        self,
        make_engine: MakeEngine,
        *,
        is_durable: bool = False,
        is_shared: bool = False,
        seed: int = 0,
        patience: float = 10.0,
    ) -> None:
        """Put the promise to the test; raises `ContractViolation`.

        The arguments are those of `check_engine()`.
        """
        place = Environment(
            make_engine=make_engine,
            kind=EngineTraits(is_durable=is_durable, is_shared=is_shared),
            random=Random(f"{self.name} {seed}"),  # noqa: S311, it has to come again
            patience=patience,
            name=secrets.token_hex(8),
        )
        try:
            with trio.fail_after(BOUND * patience):
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
