"""The difference between two versions of a mailbox, and its filter by category.

The steps of a change are stored as they are: a list with the kind and the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias, final

from msgspec import Meta, Struct
from msgspec.structs import replace

from .badge import Badge

RemovalReason: TypeAlias = Literal[
    "expired", "evicted", "retracted", "replaced", "removed", "snoozed", "left"
]

FlagName: TypeAlias = Annotated[str, Meta(pattern=r"^(seen|read|archived)\Z")]

Categories: TypeAlias = frozenset[str]


@final
class Added(
    Struct,
    frozen=True,
    gc=False,
    array_like=True,
    forbid_unknown_fields=True,
    tag="add",
):
    """An item appeared, with *seq*; its text is in the mailbox alone.

    So no change has the text of an item that is gone.
    """

    id: str
    category: str
    seq: int


@final
class Flagged(
    Struct,
    frozen=True,
    gc=False,
    array_like=True,
    forbid_unknown_fields=True,
    tag="set",
):
    """Flags of items were set or cleared; *ids* maps item ids to categories."""

    ids: Mapping[str, str]
    flags: Mapping[FlagName, bool]


@final
class Updated(
    Struct,
    frozen=True,
    gc=False,
    array_like=True,
    forbid_unknown_fields=True,
    tag="update",
):
    """The content of items was changed; *ids* maps item ids to categories."""

    ids: Mapping[str, str]


@final
class Removed(
    Struct,
    frozen=True,
    gc=False,
    array_like=True,
    forbid_unknown_fields=True,
    tag="remove",
):
    """Items were removed for one *reason*; *ids* maps item ids to categories."""

    ids: Mapping[str, str]
    reason: RemovalReason


Step: TypeAlias = Added | Updated | Flagged | Removed


def filter_step(step: Step, categories: Categories) -> Step | None:
    """Return the part of *step* in *categories*, or `None`."""
    if isinstance(step, Added):
        return step if step.category in categories else None
    ids = {id_: name for id_, name in step.ids.items() if name in categories}
    return replace(step, ids=ids) if ids else None


@final
class Change(Struct, frozen=True, gc=False, kw_only=True):
    """The *steps* that lead to version *v*, and the *badge* at that version.

    *operation* is its name and *by* the kind of caller; *time* is in seconds since
    1970. The change of a gauge or of what is muted has no steps: only the badge
    differs.
    """

    v: int
    steps: tuple[Step, ...]
    badge: Badge
    operation: str
    by: str
    time: float
    op_id: str | None = None

    def filter(self, categories: Categories | None) -> Change:
        """Return the change as a subscriber to *categories* receives it."""
        if categories is None:
            return self
        steps = (filter_step(step, categories) for step in self.steps)
        return replace(
            self,
            steps=tuple(step for step in steps if step is not None),
            badge=self.badge.filter(categories),
        )
