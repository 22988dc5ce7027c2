"""The body of `POST /v1/ops`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, final

from msgspec import UNSET, Meta, Struct, UnsetType

from ...domain.operations import Mark, Remove, Snooze, Unsnooze, UserOps
from .fields import (
    MAX_AHEAD,
    MAX_OPS,
    Category,
    FutureTime,
    ItemIds,
    UpTo,
    content_hash,
)


@final
class Op(Struct, forbid_unknown_fields=True):
    """One operation of a user on their mailbox: exactly one verb and its conditions.

    *until* is in seconds since 1970.
    """

    read: ItemIds | UnsetType = UNSET
    unread: ItemIds | UnsetType = UNSET
    archive: ItemIds | UnsetType = UNSET
    unarchive: ItemIds | UnsetType = UNSET
    remove: ItemIds | UnsetType = UNSET
    snooze: ItemIds | UnsetType = UNSET
    unsnooze: ItemIds | UnsetType = UNSET
    until: FutureTime | UnsetType = UNSET
    read_upto: UpTo | UnsetType = UNSET
    seen_upto: UpTo | UnsetType = UNSET
    archive_upto: UpTo | UnsetType = UNSET
    read_all: Literal[True] | UnsetType = UNSET
    archive_all: Literal[True] | UnsetType = UNSET
    as_of: UpTo | UnsetType = UNSET
    category: Category | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Raise `ValueError` unless there is one verb with valid conditions."""
        verbs = [name for name in VERBS if getattr(self, name) is not UNSET]
        if len(verbs) != 1:
            raise ValueError(f"expected exactly one of {', '.join(VERBS)}")
        if (self.as_of is not UNSET) != (verbs[0] in VERBS_WITH_AS_OF):
            raise ValueError(f"expected as_of with {_or(VERBS_WITH_AS_OF)} only")
        if (self.until is not UNSET) != (verbs[0] == "snooze"):
            raise ValueError("expected until with snooze only")
        if self.category is not UNSET and verbs[0] not in VERBS_WITH_CATEGORY:
            raise ValueError(f"expected category only with {_or(VERBS_WITH_CATEGORY)}")

    def is_in_time(self, now: float) -> bool:
        """Return whether *until* is after *now*, by at most `MAX_AHEAD`."""
        return self.until is UNSET or now < self.until <= now + MAX_AHEAD

    def operation(self) -> Mark | Remove | Snooze | Unsnooze:
        """Return the part of the operation on the mailbox."""
        if self.remove is not UNSET:
            return Remove(frozenset(self.remove))
        if self.snooze is not UNSET and self.until is not UNSET:
            return Snooze(frozenset(self.snooze), self.until)
        if self.unsnooze is not UNSET:
            return Unsnooze(frozenset(self.unsnooze))
        verb = next(name for name in FLAGS_BY_VERB if getattr(self, name) is not UNSET)
        value = getattr(self, verb)
        by_id = isinstance(value, list)
        return Mark(
            flags=FLAGS_BY_VERB[verb],
            ids=frozenset(value) if by_id else None,
            upto=None if by_id else value if self.as_of is UNSET else self.as_of,
            category=None if self.category is UNSET else self.category,
        )


# Read implies seen: a client has shown the item.
_READ = {"read": True, "seen": True}
FLAGS_BY_VERB: Mapping[str, Mapping[str, bool]] = {
    "read": _READ,
    "unread": {"read": False},
    "archive": {"archived": True},
    "unarchive": {"archived": False},
    "read_upto": _READ,
    "seen_upto": {"seen": True},
    "archive_upto": {"archived": True},
    "read_all": _READ,
    "archive_all": {"archived": True},
}
VERBS = (*FLAGS_BY_VERB, "remove", "snooze", "unsnooze")
VERBS_WITH_AS_OF = ("read_all", "archive_all")
VERBS_WITH_CATEGORY = ("read_upto", "archive_upto", *VERBS_WITH_AS_OF)


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


@final
class OpsRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/ops`."""

    ops: Annotated[list[Op], Meta(min_length=1, max_length=MAX_OPS)]
    op_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None

    def operation(self, op_id: str) -> UserOps:
        """Return the operation on the mailbox; *op_id* is used if none was given."""
        return UserOps(
            ops=tuple(op.operation() for op in self.ops),
            op_id=self.op_id or op_id,
            digest=content_hash(self.ops),
        )
