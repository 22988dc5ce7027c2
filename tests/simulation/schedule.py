"""What is played, and what comes of it."""

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
    """What happens: a *seed*, what goes wrong, and how many *steps* there are.

    *reopens* says that a restart which keeps the data opens the engine anew.
    """

    seed: int
    faults: frozenset[Fault] = frozenset()
    steps: int = 40
    reopens: bool = False


@final
@attrs.frozen(kw_only=True)
class Outcome:
    """What came of a schedule: who is *wrong* once it is quiet, and what was *unsafe*.

    *wrong* has one entry for each way of keeping a badge.
    """

    wrong: Mapping[str, bool]
    unsafe: tuple[str, ...]


@final
@attrs.frozen(kw_only=True)
class Parts:
    """What of the client's side is put together differently, to be found out."""

    page: Callable[[View], Page] = Page
    dress: Callable[[Talker], Talker] = lambda stream: stream
