"""The channel of a user: which records it takes from the engine."""

from __future__ import annotations

from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import CorrectRevocation, Disconnect, Operation
from roundel_service.domain.record import Record, RecordLimits
from roundel_service.streams.channel import UserChannel
from support.mailboxes import note

LIMITS = RecordLimits()


class Subscriber:
    """Notes why it was ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    def end(self, reason: str) -> None:
        self.ends.append(reason)


def after(record: Record, operation: Operation, now: float) -> Record:
    return record.apply(operation, now=now, limits=LIMITS)[0]


def make_channel(record: Record) -> tuple[UserChannel, Subscriber]:
    channel = UserChannel("alice", record, change_log_size=9)
    subscriber = Subscriber()
    channel.subscribers.add(subscriber)
    return channel, subscriber


BEFORE = after(Record(Mailbox(epoch="e")), note("a"), 5.0)
REVOKED = after(BEFORE, Disconnect(revoke=True), 900.0)


def test_revocation_ends_the_streams_once():
    """A revocation changes no version, and is taken nevertheless."""
    channel, subscriber = make_channel(BEFORE)
    channel.update(REVOKED)
    channel.update(REVOKED)

    assert (REVOKED, ["revoked"]) == (channel.record, subscriber.ends)


def test_delayed_read_takes_no_revocation_back():
    """A record from before the revocation, read slowly, is ignored."""
    channel, subscriber = make_channel(REVOKED)
    channel.update(BEFORE)

    assert (REVOKED, []) == (channel.record, subscriber.ends)
    assert channel.record.mailbox.revocation.applies_to(800.0, now=901.0)


def test_corrected_revocation_ends_no_stream():
    """The correction of a wrong clock is taken, and is no new revocation."""
    channel, subscriber = make_channel(REVOKED)
    channel.update(after(REVOKED, CorrectRevocation(), 100.0))

    assert (100.0, []) == (
        channel.record.mailbox.revocation.made_at,
        subscriber.ends,
    )
