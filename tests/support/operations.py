"""Random operations on a mailbox, for tests of what must hold after any of them."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st
from msgspec import json

from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import (
    CorrectRevocation,
    DeleteGauge,
    DeleteUser,
    Disconnect,
    Refresh,
    Remove,
    Retract,
    SetGauge,
    SetMuted,
    Snooze,
    StartNewEpoch,
    Unsnooze,
    Update,
    UserOps,
)
from roundel_service.domain.record import Record, RecordLimits
from roundel_service.domain.refusals import OperationRefused
from roundel_service.domain.subscriptions import Muted

from .mailboxes import note, ops

LIMITS = RecordLimits(mailbox=MailboxLimits(items=4, categories=3), change_log_size=9)
EMPTY = Record(Mailbox(epoch="e"))


@attrs.frozen
class OnPositions:
    """An operation of a user on the items at *positions*, with waiting items last."""

    positions: frozenset[int]
    verb: str
    until: float = 0.0

    def of(self, record: Record) -> UserOps:
        """Return the operation on the items of *record*."""
        names = [*record.mailbox.items, *record.mailbox.waiting]
        ids = frozenset(name for n, name in enumerate(names) if n in self.positions)
        match self.verb:
            case "remove":
                op: Remove | Snooze | Unsnooze = Remove(ids)
            case "snooze":
                op = Snooze(ids, self.until)
            case _:
                op = Unsnooze(ids)
        return UserOps(ops=(op,), op_id="s")


def reduced(
    record: Record, *operations, now: float = 0.0, limits: RecordLimits = LIMITS
) -> Record:
    """Return *record* after *operations*, except refused ones."""
    for operation in operations:
        if isinstance(operation, OnPositions):
            operation = operation.of(record)
        try:
            record = record.apply(operation, now=now, limits=limits)[0]
        except OperationRefused:
            continue
    return record


def _texts():
    return st.none() | st.text(max_size=3)


NOTES = st.builds(
    note,
    st.uuids().map(str),
    st.sampled_from("abcd"),
    key=st.none() | st.sampled_from("kl"),
    source=st.none() | st.sampled_from("st"),
    body=_texts(),
    url=_texts(),
    icon=_texts(),
    ttl=st.none() | st.integers(1, 30),
    data=st.none() | st.recursive(st.booleans() | st.text(max_size=3), st.lists),
    op_id=st.none() | st.sampled_from("xyz"),
    quiet=st.booleans(),
    at=st.none() | st.integers(1, 90),
    size=st.integers(0, 99),
)

_UPTO = ["seen_upto", "read_upto", "archive_upto"]
MARKS = st.builds(
    lambda verb, v, op_id: ops({verb: v}, op_id=op_id),
    st.sampled_from(_UPTO),
    st.integers(0, 20),
    st.sampled_from("xyzuvw"),
)

_IDS = st.frozensets(st.sampled_from(range(6)), max_size=3)


SLEEPS = st.one_of(
    st.builds(OnPositions, _IDS, st.sampled_from(["remove", "unsnooze"])),
    st.builds(OnPositions, _IDS, st.just("snooze"), st.integers(1, 200)),
)

OTHERS = st.one_of(
    st.builds(Retract, source=st.sampled_from("st")),
    st.builds(Retract, category=st.sampled_from("ab"), key=st.sampled_from("kl")),
    st.builds(
        lambda source, body: Update(
            which=Retract(source=source), content=json.encode({"body": body})
        ),
        st.sampled_from("st"),
        _texts(),
    ),
    st.builds(
        SetGauge,
        category=st.sampled_from("ag"),
        count=st.integers(0, 3),
        source_version=st.integers(0, 9),
    ),
    st.builds(DeleteGauge, st.just("g")),
    st.builds(
        Disconnect, revoke=st.booleans(), issued_before=st.none() | st.floats(0, 1e10)
    ),
    st.just(CorrectRevocation()),
    st.just(Refresh()),
    st.builds(
        SetMuted,
        st.builds(Muted, categories=st.frozensets(st.sampled_from("abc"), max_size=2)),
    ),
)

_EPOCHS = st.uuids().map(lambda uuid: uuid.hex)
NEW_EPOCHS = st.builds(DeleteUser, _EPOCHS) | st.builds(StartNewEpoch, _EPOCHS)

OPERATIONS = st.one_of(NOTES, NOTES, MARKS, SLEEPS, OTHERS)
"""Operations that keep the epoch."""

ANY_OPERATION = st.one_of(NOTES, NOTES, MARKS, SLEEPS, OTHERS, NEW_EPOCHS)
