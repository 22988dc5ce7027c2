"""The commands that load and write mailboxes, by the scripts of the store."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

from .client import Command
from .keys import Keys
from .pending import MailboxTransaction, PlannedWrite
from .scripts import COMMIT, LOAD

_pack: Final = msgspec.msgpack.Encoder().encode


def load_command(keys: Keys, transaction: MailboxTransaction) -> Command:
    """Return the command that loads the record, unless it is as cached."""
    user = transaction.user
    cached = transaction.cached if transaction.is_cached else None
    new_data_id = secrets.token_urlsafe(9)
    return LOAD.call(
        [keys.data_id(keys.shard(user)), keys.user(user)],
        [new_data_id, cached.revision if cached is not None else b""],
    )


def commit_command(keys: Keys, writes: Sequence[tuple[str, PlannedWrite]]) -> Command:
    """Return the command that applies *writes*, by user, of one shard.

    Each takes effect if its stored record is unchanged.
    """
    shard = keys.shard(writes[0][0])
    names = [keys.data_id(shard), keys.log(shard), keys.users(shard)]
    headers: list[tuple[object, ...]] = []
    contents: list[bytes] = []
    for user, plan in writes:
        names.append(keys.user(user))
        tags = (*plan.added_tags, *plan.removed_tags)
        names += [keys.tag(shard, tag) for tag in tags]
        headers.append(_header(user, plan))
        contents += (plan.before.revision, plan.snapshot, plan.entry)
    # The client library takes long for each argument.
    return COMMIT.call(names, [_pack(headers), b"".join(contents)])


def _header(user: str, plan: PlannedWrite) -> tuple[object, ...]:
    # The store's MessagePack library decodes no binary type, so these are text.
    return (
        user,
        plan.after.revision.decode(),
        plan.before.timeline.decode(),
        len(plan.before.revision),
        len(plan.snapshot),
        len(plan.entry),
        plan.after.entries,
        plan.frees_memory,
        plan.ttl,
        repr(plan.after.indexed_at) if plan.snapshot or plan.index_all else False,
        plan.index_all,
        len(plan.added_tags),
        len(plan.removed_tags),
    )
