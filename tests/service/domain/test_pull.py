"""Topics: a follower's mailbox pulls what is new in them."""

from __future__ import annotations

import pytest

from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import (
    ClaimTopics,
    DeleteUser,
    Remove,
    Retract,
    SetMuted,
    Snooze,
    Subscribe,
    Unsubscribe,
    Update,
    UserOps,
)
from roundel_service.domain.record import Record, RecordLimits
from roundel_service.domain.refusals import TooManySubscriptions
from roundel_service.domain.subscriptions import Muted
from support.mailboxes import note, ops
from support.topics import Mailboxes

EVERYTHING = Retract(everything=True)


def edit(name: str) -> Update:
    return Update(
        which=Retract(id=name), content=b'{"title":"%b"}' % name.upper().encode()
    )


def remove(*ids: str) -> UserOps:
    return UserOps(ops=(Remove(frozenset(ids)),), op_id=f"remove {ids}")


def test_everybody_pulls_from_all():
    """A broadcast writes the topic alone; each user pulls it at the next look."""
    boxes = Mailboxes()
    boxes.do("#all", note("a"))
    boxes.do("#all", note("b"))

    assert {"#all"} == boxes.records.keys()
    mailbox = boxes.look("u").mailbox
    assert [1, 2] == [item.seq for item in mailbox.items.values()]
    assert {"all"} == {item.topic for item in mailbox.items.values()}
    assert ["pull", "pull"] == [c.operation for c in boxes.look("u").changes]
    assert 2 == mailbox.badge.unread


def test_second_look_changes_nothing():
    """A look without news returns the same record."""
    boxes = Mailboxes()
    boxes.do("#all", note("a"))

    assert boxes.look("u") is boxes.look("u")
    assert not boxes.look("u").is_behind({"#all": boxes.look("#all")})


def test_unwritten_mailbox_stays_unwritten():
    """Without news a look stores nothing."""
    boxes = Mailboxes()
    boxes.do("#all", note("a", ttl=1.0))
    boxes.now = 2.0
    boxes.look("u")

    assert {"#all"} == boxes.records.keys()


def test_copies_follow_their_originals():
    """Retractions and edits in the topic take effect in the follower's mailbox."""
    boxes = Mailboxes()
    for name in "abc":
        boxes.do("#all", note(name, source=name))
    boxes.look("u")
    boxes.do("u", UserOps(ops=(Snooze(frozenset("c"), 99.0),), op_id="1"))
    boxes.do("#all", Retract(source="a"))
    boxes.now = 1.0
    for name in "bc":
        boxes.do("#all", edit(name))

    assert ["B"] == boxes.titles("u")
    boxes.do("#all", EVERYTHING)
    boxes.now = 99.0
    assert [] == boxes.titles("u")


def test_edit_keeps_place_and_flags():
    """An edited copy keeps its `seq` and its flags."""
    boxes = Mailboxes()
    boxes.do("u", note("own"))
    boxes.do("#all", note("a"))
    boxes.look("u")
    boxes.do("u", ops({"read": ["a"]}, op_id="1"))
    boxes.now = 1.0
    boxes.do("#all", Update(which=Retract(id="a"), content=b'{"title":"A"}'))
    item = boxes.look("u").mailbox.items["a"]

    assert b'{"title":"A"' == item.content[:12]
    assert (2, True, "all") == (item.seq, item.read, item.topic)


def test_two_edits_of_one_moment_are_pulled():
    """A copy that was pulled between two edits at one time has the later text."""
    boxes = Mailboxes()
    boxes.do("#all", note("a"))
    boxes.do("#all", edit("a"))
    boxes.look("u")
    boxes.do("#all", Update(which=Retract(id="a"), content=b'{"title":"later"}'))

    assert ["later"] == boxes.titles("u")


def test_removed_copy_does_not_return():
    """A copy that the user removed stays away, also if the topic changes."""
    boxes = Mailboxes()
    boxes.do("#all", note("a"))
    boxes.look("u")
    boxes.do("u", remove("a"))
    boxes.do("#all", note("b"))

    assert ["b"] == boxes.titles("u")


def test_keys_of_topics_and_users_are_apart():
    """A broadcast and a personal item of the same key do not replace each other."""
    boxes = Mailboxes()
    boxes.do("u", note("own", key="k"))
    boxes.do("#all", note("first", key="k"))
    boxes.look("u")
    boxes.do("#all", note("second", key="k"))

    assert ["own", "second"] == boxes.titles("u")
    boxes.do("u", note("new", key="k"))
    assert ["second", "new"] == boxes.titles("u")
    reasons = [s.reason for c in boxes.look("u").changes for s in c.steps[:-1]]
    assert ["replaced", "replaced"] == reasons


@pytest.mark.parametrize(
    "new",
    [
        pytest.param(note("new", replaces="b"), id="now"),
        pytest.param(note("new", replaces="b", at=5.0), id="scheduled"),
        pytest.param(note("new", key="own", quiet=True, replaces="b"), id="quiet"),
    ],
)
@pytest.mark.parametrize("is_snoozed", [False, True])
def test_personal_item_replaces_no_copy_by_its_id(new, is_snoozed):
    """A personal item that names a broadcast's id leaves the copy where it is."""
    boxes = Mailboxes()
    boxes.do("u", note("own", key="own"))
    boxes.do("#all", note("b"))
    if is_snoozed:
        boxes.do("u", UserOps(ops=(Snooze(frozenset("b"), until=50.0),), op_id="s"))
    boxes.do("u", new)
    boxes.now = 10.0

    box = boxes.look("u").mailbox
    assert is_snoozed == ("b" in box.waiting)
    assert is_snoozed != ("b" in box.items)


def test_retraction_from_a_user_leaves_copies():
    """A copy goes with its original only."""
    boxes = Mailboxes()
    boxes.do("#all", note("a", source="s"))
    boxes.look("u")
    boxes.do("u", Retract(source="s"))

    assert ["a"] == boxes.titles("u")


def test_overflow_of_a_topic_is_told():
    """Unread items that left a full topic before they were pulled set `more`."""
    boxes = Mailboxes(limits=RecordLimits(topic=MailboxLimits(items=2)))
    boxes.do("#all", note("0"))
    boxes.look("u")
    for name in "123":
        boxes.do("#all", note(name))

    badge = boxes.look("u").badge
    assert (["2", "3"], 2, True) == (boxes.titles("u"), badge.unread, badge.more)


def test_missed_without_anything_to_see_is_written_once():
    """A position is stored if items were missed before it, even without a version."""
    boxes = Mailboxes(limits=RecordLimits(topic=MailboxLimits(items=1)))
    boxes.do("#all", note("0"))
    boxes.do("#all", note("1"))
    boxes.do("#all", EVERYTHING)
    before = boxes.look("u")
    boxes.do("u", note("own"))

    assert before.mailbox.subscriptions
    assert not boxes.look("u").badge.more


@pytest.mark.parametrize(
    ("since", "expected"),
    [("now", ["c"]), ("start", ["a", "b", "c"]), (1.0, ["b", "c"])],
)
def test_since(since, expected):
    """A new subscription pulls from now on, from the start, or from a time."""
    boxes = Mailboxes()
    boxes.do("#t", note("a"))
    boxes.now = 1.0
    boxes.do("#t", note("b"))
    boxes.do("u", Subscribe(topic="t", since=since))
    boxes.do("#t", note("c"))

    assert expected == boxes.titles("u")


def test_new_account_is_spared_old_announcements():
    """Subscribed to `all` from now on, a new user sees what comes."""
    boxes = Mailboxes()
    boxes.do("#all", note("old"))
    boxes.do("u", Subscribe(topic="all", since="now"))
    boxes.do("#all", note("new"))

    assert ["new"] == boxes.titles("u")


def test_second_subscription_goes_on():
    """A user who follows a topic already goes on at the same position."""
    boxes = Mailboxes()
    boxes.do("u", Subscribe(topic="t", since="now"))
    boxes.do("#t", note("a"))
    boxes.do("u", Subscribe(topic="t", since="now"))

    assert ["a"] == boxes.titles("u")


def test_left_topic_takes_its_items():
    """Who leaves a topic loses what was pulled from it, also what is snoozed."""
    boxes = Mailboxes()
    boxes.do("u", Subscribe(topic="t"))
    for name in "ab":
        boxes.do("#t", note(name))
    boxes.look("u")
    boxes.do("u", UserOps(ops=(Snooze(frozenset("a"), 5.0),), op_id="1"))
    left = boxes.do("u", Unsubscribe("t"))
    boxes.do("#t", note("c"))
    boxes.now = 5.0

    assert "left" == left.change.steps[0].reason
    assert [] == boxes.titles("u")


def test_all_cannot_be_left():
    """The subscription to `all` stays."""
    boxes = Mailboxes()
    boxes.do("#all", note("a"))
    boxes.do("u", Unsubscribe("all"))

    assert ["a"] == boxes.titles("u")


def test_limit_of_subscriptions():
    """A topic too many is refused."""
    limits = RecordLimits(mailbox=MailboxLimits(topics=1))
    boxes = Mailboxes(limits=limits)
    boxes.do("u", Subscribe(topic="t"))
    with pytest.raises(TooManySubscriptions):
        boxes.do("u", Subscribe(topic="s"))


def test_all_does_not_count_to_the_limit():
    """A broadcast takes no topic from a user, who follows `all` in any case."""
    limits = RecordLimits(mailbox=MailboxLimits(topics=1))
    boxes = Mailboxes(limits=limits)
    boxes.do("#all", note("a"))
    boxes.look("u")
    boxes.do("u", Subscribe(topic="t"))
    boxes.do("new", Subscribe(topic="t"))
    boxes.do("new", Subscribe(topic="all"))
    for user in ("u", "new"):
        with pytest.raises(TooManySubscriptions):
            boxes.do(user, Subscribe(topic="s"))


def test_signing_up_is_not_limited():
    """A user with all topics of the limit can still begin `all` from now."""
    limits = RecordLimits(mailbox=MailboxLimits(topics=1))
    boxes = Mailboxes(limits=limits)
    boxes.do("u", Subscribe(topic="t"))
    boxes.do("u", Subscribe(topic="all", since="now"))

    assert "now" == boxes.look("u").mailbox.subscriptions["all"].since


def test_claim_sets_the_topics_of_the_token():
    """What a newer token does not name is left; what a producer added stays."""
    boxes = Mailboxes()
    boxes.do("u", Subscribe(topic="kept"))
    boxes.do("u", ClaimTopics(topics={"a": 0.0, "kept": 0.0}, issued_at=10.0))
    boxes.do("u", ClaimTopics(topics={"b": 0.0}, issued_at=20.0))
    boxes.do("u", ClaimTopics(topics={"a": 0.0}, issued_at=15.0))
    held = boxes.look("u").mailbox.subscriptions

    assert {"kept": "producer", "b": "token"} == {n: s.by for n, s in held.items()}
    assert 20.0 == boxes.look("u").mailbox.claimed_at


def test_claim_of_all_leaves_out_the_past():
    """`all` with a time leaves out what was created before."""
    boxes = Mailboxes()
    boxes.do("#all", note("old"))
    boxes.now = 5.0
    boxes.do("#all", note("new"))
    boxes.do("u", ClaimTopics(topics={"all": 5.0}, issued_at=1.0))

    assert ["new"] == boxes.titles("u")


def test_deleted_user_is_not_shown_old_announcements():
    """A deleted user follows `all` from now on."""
    boxes = Mailboxes()
    boxes.do("#all", note("old"))
    boxes.look("u")
    boxes.do("u", DeleteUser("f"))

    assert [] == boxes.titles("u")
    boxes.do("#all", note("new"))
    assert ["new"] == boxes.titles("u")


def test_failover_of_a_topic():
    """Broadcasts that a failover lost go, those after it come, none comes twice."""
    boxes = Mailboxes()
    boxes.do("#all", note("kept"))
    durable = boxes.look("#all")
    boxes.do("#all", note("lost"))
    assert ["kept", "lost"] == boxes.titles("u")
    boxes.do("u", remove("kept"))
    boxes.fail_over("#all", durable, "f")

    assert [] == boxes.titles("u")
    boxes.do("#all", note("new"))
    assert ["new"] == boxes.titles("u")
    boxes.fail_over("#all", boxes.look("#all"), "g")
    assert ["new"] == boxes.titles("u")


def test_topic_that_is_lost_whole():
    """If a failover lost all of a topic, its copies go, and what is new comes."""
    boxes = Mailboxes()
    boxes.do("#all", note("lost"))
    boxes.look("u")
    boxes.records["#all"] = Record(Mailbox(epoch="f"))

    assert [] == boxes.titles("u")
    boxes.do("#all", note("new"))
    assert ["new"] == boxes.titles("u")


def test_item_that_appears_again_can_be_removed():
    """After a failover an item appears again; a user who removes it then is rid of it.

    The user holds the copy of the first appearance, so nothing is pulled before.
    """
    boxes = Mailboxes()
    boxes.do("#all", note("a", at=1.0))
    waiting = boxes.look("#all")
    boxes.now = 1.0
    boxes.do("u", note("own"))
    assert ["a", "own"] == boxes.titles("u")
    boxes.fail_over("#all", waiting, "f")
    boxes.do("u", remove("a"))

    assert ["own"] == boxes.titles("u")


def test_old_read_of_a_topic_is_left_alone():
    """A topic that was read before a failover brings nothing back."""
    boxes = Mailboxes()
    boxes.do("#all", note("a"))
    old = boxes.look("#all")
    boxes.fail_over("#all", old, "f")
    boxes.do("#all", Retract(id="a"))
    boxes.do("#all", note("b"))
    current = boxes.look("u")
    scope = {"now": 0.0, "limits": boxes.limits}

    assert current is current.refresh(topics={"#all": old}, **scope)


def test_muted_items_stay_in_the_list():
    """What is muted counts nowhere, gauges included, until it is unmuted."""
    boxes = Mailboxes()
    boxes.do("u", Subscribe(topic="t"))
    boxes.do("u", note("a", category="news"))
    boxes.do("#t", note("b"))
    boxes.do("u", note("c"))
    boxes.look("u")
    muted = Muted(categories=frozenset({"news"}), topics=frozenset({"t"}))
    change = boxes.do("u", SetMuted(muted)).change

    assert ((), 1) == (change.steps, change.badge.unread)
    assert 3 == len(boxes.titles("u"))
    assert None is boxes.do("u", SetMuted(muted)).change
    assert 3 == boxes.do("u", SetMuted(Muted())).badge.unread
