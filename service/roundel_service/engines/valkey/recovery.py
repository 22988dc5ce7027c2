"""Finds out whether a write without a reply was applied.

A write is conditional on the previous revision and its timeline, so it is applied at
most once, however often it is sent. After the mailbox was loaded again, its revision
decides:

- The revision of this write: the write was applied.
- Any other revision except the previous one: other writes followed. The log shows
  which write came after the previous revision. If the log was trimmed too far, the
  state stays unknown.
- No revision, or the previous one in a new timeline: the write was not applied, and
  its condition cannot become true again.
- The previous revision in the same timeline: the write was not applied yet, but a
  delayed command may still arrive. So the same write is sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, cast

from ..base import EngineUnavailable
from .keys import Keys
from .pending import PlannedWrite, StoredRecord
from .scripts import FIND_WRITE
from .store import Store, failure_of

WriteState: TypeAlias = Literal["applied", "not applied", "resend", "unknown"]


async def find_writes(
    store: Store, keys: Keys, writes: Sequence[tuple[str, PlannedWrite, StoredRecord]]
) -> list[WriteState | EngineUnavailable]:
    """Return the state of each write, given its user and the record loaded since."""
    states = [_state(plan, stored) for _, plan, stored in writes]
    commands = [
        FIND_WRITE.call(
            [keys.log(keys.shard(user))], [user, plan.before.write_id, plan.id]
        )
        for (user, plan, _), state in zip(writes, states, strict=True)
        if state is None
    ]
    replies = iter(await store.run(commands))
    return [_from_reply(next(replies)) if state is None else state for state in states]


def _state(plan: PlannedWrite, stored: StoredRecord) -> WriteState | None:
    """Return the state of a write, or `None` if only the log contains it."""
    before = plan.before
    if stored.write_id == plan.id:
        return "applied"
    if stored.revision not in (before.revision, b""):
        return None
    is_unchanged = stored.revision == before.revision
    if is_unchanged and stored.timeline == before.timeline:
        return "resend"
    return "not applied"


def _from_reply(reply: object) -> WriteState | EngineUnavailable:
    if reply in (b"applied", b"not applied", b"unknown"):
        return cast(WriteState, reply.decode())
    return failure_of(reply)
