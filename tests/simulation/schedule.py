"""The input and the outcome of a simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, final

import attrs

from roundel_service.streams.view_history import View

from .faults import Fault
from .page import Page
from .tab import ServerStream

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

    If *reopens*, a restart that keeps the data also opens a new engine.
    """

    seed: int
    faults: frozenset[Fault] = frozenset()
    steps: int = 40
    reopens: bool = False


@final
@attrs.frozen(kw_only=True)
class Outcome:
    """The *wrong* final states of a schedule, and the number of *unsafe* states.

    *wrong* has one entry for each badge protocol.
    """

    wrong: Mapping[str, bool]
    unsafe: tuple[str, ...]


@final
@attrs.frozen(kw_only=True)
class ClientParts:
    """Client parts with a fault that the simulation must detect."""

    page: Callable[[View], Page] = Page
    wrap_stream: Callable[[ServerStream], ServerStream] = lambda stream: stream
