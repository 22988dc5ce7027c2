"""Items that wait: scheduled by a producer, or snoozed by the user."""

from __future__ import annotations

import pytest

from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.operations import (
    Remove,
    Retract,
    Snooze,
    Unsnooze,
    Update,
    UserOps,
)
from roundel_service.domain.record import RecordLimits
from roundel_service.domain.refusals import TooManyWaiting
from support.mailboxes import note, ops
from support.topics import Mailboxes


def user_ops(*ops: object, op_id: str = "op", digest: str = "") -> UserOps:
    return UserOps(ops=ops, op_id=op_id, digest=digest)


def snooze(*ids: str, until: float = 9.0) -> UserOps:
    return user_ops(Snooze(frozenset(ids), until), op_id=f"snooze {ids} {until}")


def unsnooze(*ids: str) -> UserOps:
    return user_ops(Unsnooze(frozenset(ids)), op_id=f"unsnooze {ids}")


def test_scheduled_item_appears_at_its_time():
    """An item with *at* is in no list and no count before, and is new then."""
    boxes = Mailboxes()
    scheduled = boxes.do("u", note("a", at=5.0, ttl=3.0))

    assert (None, "a", 0) == (scheduled.change, scheduled.item, scheduled.badge.unread)
    assert (0, 5.0) == (boxes.look("u").mailbox.v, scheduled.mailbox.due_at)

    boxes.now = 4.9
    assert [] == boxes.titles("u")

    boxes.now = 5.0
    mailbox = boxes.look("u").mailbox
    item = mailbox.items["a"]
    assert (1, 1, 1) == (mailbox.v, item.seq, mailbox.badge.unread)
    assert (5.0, 8.0) == (item.created_at, item.expires_at)
    assert "appear" == boxes.look("u").changes.newest.operation

    boxes.now = 8.0
    assert [] == boxes.titles("u")


def test_scheduled_items_appear_in_the_order_of_their_times():
    """Each of several items that are due makes a version of its own."""
    boxes = Mailboxes()
    for name, at in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("d", 3.0)):
        boxes.do("u", note(name, at=at))
    boxes.now = 9.0

    assert ["a", "b", "c", "d"] == boxes.titles("u")
    assert [1, 2, 3, 4] == [i.seq for i in boxes.look("u").mailbox.items.values()]


def test_time_in_the_past_is_now():
    """An item whose *at* is over does not wait."""
    boxes = Mailboxes(now=7.0)
    boxes.do("u", note("a", at=5.0))

    assert 7.0 == boxes.look("u").mailbox.items["a"].created_at


def test_schedule_is_replaced_by_its_key():
    """A scheduled item replaces the waiting one of its key, and later the held one."""
    boxes = Mailboxes()
    boxes.do("u", note("held", key="k"))
    boxes.do("u", note("first", key="k", at=5.0))
    boxes.do("u", note("second", key="k", at=6.0))

    assert ["held"] == boxes.titles("u")
    boxes.now = 5.0
    assert ["held"] == boxes.titles("u")
    boxes.now = 6.0
    assert ["second"] == boxes.titles("u")


def test_item_of_the_same_key_replaces_a_scheduled_one():
    """A new item cancels the scheduled one of its key."""
    boxes = Mailboxes()
    boxes.do("u", note("later", key="k", at=5.0))
    boxes.do("u", note("now", key="k"))
    boxes.now = 5.0

    assert ["now"] == boxes.titles("u")


def test_scheduled_item_replaces_by_id_when_it_appears():
    """*replaces* takes effect when the item appears."""
    boxes = Mailboxes()
    boxes.do("u", note("old"))
    boxes.do("u", note("new", at=5.0, replaces="old"))

    assert ["old"] == boxes.titles("u")
    boxes.now = 5.0
    assert ["new"] == boxes.titles("u")


def test_schedule_is_replaced_by_its_id():
    """A scheduled item that *replaces* another one takes its place at once."""
    boxes = Mailboxes(limits=RecordLimits(mailbox=MailboxLimits(waiting=1)))
    boxes.do("u", note("first", at=5.0))
    boxes.do("u", note("second", at=6.0, replaces="first"))

    assert ["second"] == list(boxes.look("u").mailbox.waiting)


@pytest.mark.parametrize(
    "retract", [Retract(id="a"), Retract(source="s"), Retract(category="c", key="k")]
)
def test_retraction_cancels_what_waits(retract):
    """A scheduled item is taken back without a version, and the result names it."""
    boxes = Mailboxes()
    boxes.do("u", note("a", key="k", source="s", at=5.0))
    taken = boxes.do("u", retract)
    boxes.now = 9.0

    assert (None, ("a",)) == (taken.change, taken.waiting)
    assert [] == boxes.titles("u")


def test_update_changes_what_waits():
    """The new text appears, and the time to live counts from the appearance."""
    boxes = Mailboxes()
    boxes.do("u", note("a", at=5.0))
    update = Update(
        which=Retract(id="a"), content=b'{"title":"edited"}', expires=True, ttl=2.0
    )
    assert ("a",) == boxes.do("u", update).waiting
    boxes.now = 5.0

    assert ["edited"] == boxes.titles("u")
    assert 7.0 == boxes.look("u").mailbox.items["a"].expires_at


def test_snoozed_item_returns_as_new():
    """A snoozed item is gone for now, and returns unread with a new `seq`."""
    boxes = Mailboxes()
    boxes.do("u", note("a"))
    boxes.do("u", note("b"))
    boxes.do("u", ops({"read": ["a"]}, op_id="r"))
    snoozed = boxes.do("u", snooze("a"))

    assert "snoozed" == snoozed.change.steps[0].reason
    assert (["b"], 9.0) == (boxes.titles("u"), snoozed.mailbox.due_at)
    boxes.now = 9.0
    mailbox = boxes.look("u").mailbox
    item = mailbox.items["a"]
    assert (["b", "a"], mailbox.v) == (boxes.titles("u"), item.seq)
    assert (False, False) == (item.read, item.seen)
    assert 0.0 == item.created_at


def test_unsnoozed_items_appear_at_once():
    """Each unsnoozed item gets a version of its own, with the id of the operation."""
    boxes = Mailboxes()
    for name in "abc":
        boxes.do("u", note(name))
    boxes.do("u", snooze("a", "b"))
    before = boxes.look("u").mailbox.v
    applied = boxes.do("u", unsnooze("a", "b", "c", "d"))

    assert ["c", "a", "b"] == boxes.titles("u")
    assert before + 2 == applied.badge.v == applied.mailbox.v
    changes = boxes.look("u").changes.since(before)
    assert ["user"] * 2 == [change.by for change in changes]
    assert 1 == len({change.op_id for change in changes})
    assert before + 2 == boxes.do("u", unsnooze("a", "b", "c", "d")).badge.v


def test_user_can_neither_see_nor_touch_what_is_scheduled():
    """Operations of the user have no effect on an item that a producer scheduled."""
    boxes = Mailboxes()
    boxes.do("u", note("a", at=5.0))
    ids = frozenset("a")
    boxes.do("u", user_ops(Remove(ids), Snooze(ids, 99.0), Unsnooze(ids)))
    boxes.now = 5.0

    assert ["a"] == boxes.titles("u")


def test_removed_while_snoozed():
    """A user can remove a snoozed item."""
    boxes = Mailboxes()
    boxes.do("u", note("a"))
    boxes.do("u", snooze("a"))
    boxes.do("u", user_ops(Remove(frozenset("a"))))
    boxes.now = 9.0

    assert [] == boxes.titles("u")


def test_expires_while_it_waits():
    """A snoozed item whose time is over does not return."""
    boxes = Mailboxes()
    boxes.do("u", note("a", ttl=4.0))
    boxes.do("u", snooze("a"))
    boxes.now = 9.0

    assert [] == boxes.titles("u")
    assert {} == boxes.look("u").mailbox.waiting


def test_snoozed_again():
    """A snoozed item that is snoozed again gets the new time."""
    boxes = Mailboxes()
    boxes.do("u", note("a"))
    boxes.do("u", snooze("a", until=5.0))
    boxes.do("u", snooze("a", until=7.0))
    boxes.now = 5.0

    assert [] == boxes.titles("u")
    boxes.now = 7.0
    assert ["a"] == boxes.titles("u")


A, UNTIL_9 = frozenset("a"), Snooze(frozenset("a"), 9.0)


@pytest.mark.parametrize(
    ("is_snoozed", "ops", "listed", "waiting", "versions"),
    [
        pytest.param(False, [UNTIL_9, Unsnooze(A)], ["a"], [], 0, id="undone"),
        pytest.param(True, [UNTIL_9, Unsnooze(A)], ["a"], [], 1, id="then woken"),
        pytest.param(True, [Unsnooze(A), UNTIL_9], [], ["a"], 0, id="then put off"),
        pytest.param(True, [Unsnooze(A), Remove(A)], [], [], 0, id="woken and removed"),
        pytest.param(True, [Remove(A), UNTIL_9], [], [], 0, id="removed and put off"),
    ],
)
def test_last_operation_on_an_item_decides(is_snoozed, ops, listed, waiting, versions):
    """Of several snoozes and unsnoozes of an item in one call the last one counts."""
    boxes = Mailboxes()
    boxes.do("u", note("a"))
    if is_snoozed:
        boxes.do("u", snooze("a", until=5.0))
    before = boxes.look("u").mailbox.v
    boxes.do("u", user_ops(*ops))

    mailbox = boxes.look("u").mailbox
    assert (listed, waiting) == (list(mailbox.items), list(mailbox.waiting))
    assert before + versions == mailbox.v
    assert [9.0 for _ in waiting] == [each.until for each in mailbox.waiting.values()]


def test_new_item_of_its_key_wakes_a_snoozed_one():
    """What is new of the same thread is shown at once."""
    boxes = Mailboxes()
    boxes.do("u", note("a", key="k"))
    boxes.do("u", snooze("a"))
    boxes.do("u", note("b", key="k"))
    boxes.now = 9.0

    assert ["b"] == boxes.titles("u")


@pytest.mark.parametrize("is_early", [False, True], ids=["in time", "by the user"])
def test_snoozed_item_returns_beside_a_scheduled_one_of_its_key(is_early):
    """What is scheduled is newer than what returns: it is not lost, and replaces it."""
    boxes = Mailboxes()
    boxes.do("u", note("old", key="k"))
    boxes.do("u", snooze("old", until=3.0))
    boxes.do("u", note("new", key="k", at=5.0))
    boxes.now = 2.0 if is_early else 3.0
    boxes.do("u", unsnooze("old"))

    assert ["old"] == boxes.titles("u")
    boxes.now = 5.0
    assert ["new"] == boxes.titles("u")


@pytest.mark.parametrize(
    "limits",
    [MailboxLimits(waiting=2), MailboxLimits(bytes=20)],
    ids=["items", "bytes"],
)
def test_limit_of_what_waits(limits):
    """An item too many is refused, and a refused operation changes nothing."""
    boxes = Mailboxes(limits=RecordLimits(mailbox=limits))
    boxes.do("u", note("a", at=5.0, size=10))
    boxes.do("u", note("b", at=5.0, size=10))
    boxes.do("u", note("c", size=10))
    before = boxes.look("u")
    with pytest.raises(TooManyWaiting):
        boxes.do("u", note("d", at=5.0, size=10))
    with pytest.raises(TooManyWaiting):
        boxes.do("u", snooze("c"))

    assert before is boxes.look("u")
