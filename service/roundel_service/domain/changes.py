"""What a version changed, step by step, and what of it a filter lets through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, final

import attrs

from .badge import Badge
from .items import Item

RemovalReason: TypeAlias = Literal["expired", "evicted", "retracted", "replaced"]

Categories: TypeAlias = frozenset[str]


@final
@attrs.frozen
class Added:
    """An *item* that appeared."""

    item: Item

    def filter(self, categories: Categories) -> Added | None:
        """Return what of it is in *categories*."""
        return self if self.item.category in categories else None


@final
@attrs.frozen
class Flagged:
    """Items, by id with their category, whose *flags* were set or cleared."""

    ids: Mapping[str, str]
    flags: Mapping[str, bool]

    def filter(self, categories: Categories) -> Flagged | None:
        """Return what of it is in *categories*."""
        ids = _filter_ids(self.ids, categories)
        return Flagged(ids, self.flags) if ids else None


@final
@attrs.frozen
class Removed:
    """Items, by id with their category, that went, and *why*."""

    ids: Mapping[str, str]
    reason: RemovalReason

    def filter(self, categories: Categories) -> Removed | None:
        """Return what of it is in *categories*."""
        ids = _filter_ids(self.ids, categories)
        return Removed(ids, self.reason) if ids else None


Step: TypeAlias = Added | Flagged | Removed


def _filter_ids(ids: Mapping[str, str], categories: Categories) -> dict[str, str]:
    return {item: name for item, name in ids.items() if name in categories}


@final
@attrs.frozen(kw_only=True)
class Change:
    """What version *v* changed, in *steps*, and the whole *badge* at it.

    *did* names the operation, *by* who did it and *time* says when, in seconds since
    1970. The change of a gauge has no step: the badge says it all.
    """

    v: int
    steps: tuple[Step, ...]
    badge: Badge
    operation: str
    by: str
    time: float
    op_id: str | None = None

    def filter(self, categories: Categories | None) -> Change:
        """Return the change as a reader of just these *categories* is told it."""
        if categories is None:
            return self
        steps = (step.filter(categories) for step in self.steps)
        return attrs.evolve(
            self,
            steps=tuple(step for step in steps if step is not None),
            badge=self.badge.filter(categories),
        )
