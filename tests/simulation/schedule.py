"""The input and the outcome of a simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, final

import attrs

from roundel_service.streams.view_history import View

from .faults import Fault
from .page import Page
from .tab import Talker

VIEWS: Final = (
    View("badge"),
    View("items"),
    View("badge", frozenset({"dm", "mail"})),
    View("items", frozenset({"mention", "news"})),
)


@final
@attrs.frozen(kw_only=True)
class Schedule:
    """A *seed*, the possible faults, and the number of *steps*.

    *reopens* says that a restart which keeps the data opens the engine anew.
    """

    seed: int
    faults: frozenset[Fault] = frozenset()
    steps: int = 40
    reopens: bool = False


@final
@attrs.frozen(kw_only=True)
class Outcome:
    """The *wrong* final states of a schedule, and the number of *unsafe* states.

    *wrong* has one entry for each way of keeping a badge.
    """

    wrong: Mapping[str, bool]
    unsafe: tuple[str, ...]


@final
@attrs.frozen(kw_only=True)
class Parts:
    """Client parts with a fault that the simulation must detect."""

    page: Callable[[View], Page] = Page
    dress: Callable[[Talker], Talker] = lambda stream: stream
