"""Explanations of badges, without any text of the items."""

from __future__ import annotations

import json

import msgspec
import pytest

from roundel_service.domain.change_log import ChangeLog
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import (
    DeleteGauge,
    Expire,
    Refresh,
    Retract,
    SetMuted,
    Snooze,
    Subscribe,
    UserOps,
)
from roundel_service.domain.record import Record
from roundel_service.domain.subscriptions import Muted
from roundel_service.engines.memory import MemoryEngine
from roundel_service.http.explanation import MAX_OPERATIONS, explain
from support.mailboxes import apply_all, gauge, note, ops, put


def explanation(record: Record, topics: dict[str, Record] | None = None) -> dict:
    """Return the explanation of *record* as JSON types."""
    return msgspec.to_builtins(explain(record, topics or {}))


def explained(*story) -> dict:
    """Return the explanation of the mailbox after the operations."""
    applied = apply_all(*story)
    changes = ChangeLog(a.change for a in applied if a.change is not None)
    return explanation(Record(applied[-1].mailbox, changes))


def test_explanation_of_an_empty_mailbox():
    """A user without items has an explanation."""
    assert explanation(Record(Mailbox(epoch="e"))) == {
        "badge": {
            "epoch": "e", "v": 0, "unread": 0, "unseen": 0, "more": False, "by": {}
        },
        "counted": [], "not_counted": [], "gauges": [],
        "waiting": [], "topics": [], "operations": [],
    }  # fmt: skip


def test_counted_items():
    """Each counted item has its key and source, newest first."""
    fields = {"key": "k", "source": "s", "ttl": 9}
    found = explained(5.0, note("a", "d", **fields), note("b"), ops({"seen_upto": 1}))

    assert [
        {
            "id": "b", "seq": 2, "category": "c", "key": None, "source": None,
            "topic": None, "seen": False, "expires_at": None,
        },
        {
            "id": "a", "seq": 1, "category": "d", "key": "k", "source": "s",
            "topic": None, "seen": True, "expires_at": 14.0,
        },
    ] == found["counted"]  # fmt: skip
    assert [] == found["not_counted"]


@pytest.mark.parametrize(
    ("done", "why"),
    [
        pytest.param([{"read": ["a"]}], "read", id="read"),
        pytest.param([{"archive": ["a"]}], "archived", id="archived"),
        pytest.param([{"read": ["a"]}, {"archive": ["a"]}], "archived", id="both"),
    ],
)
def test_items_that_are_not_counted(done, why):
    """Each other item has the reason."""
    found = explained(note("a"), note("b"), ops(*done))

    assert [("a", why)] == [
        (item["id"], item["reason"]) for item in found["not_counted"]
    ]
    assert ["b"] == [item["id"] for item in found["counted"]]
    assert found["badge"]["unread"] == len(found["counted"])


def test_gauges():
    """Each gauge has its source version, a gauge of 0 too."""
    found = explained(gauge(7, 3), gauge(0, 1, "h"), gauge(2, 2), gauge(1, 1, "i"),
                     DeleteGauge("i"))  # fmt: skip

    assert [
        {"category": "g", "count": 7, "source_version": 3},
        {"category": "h", "count": 0, "source_version": 1},
    ] == found["gauges"]
    assert 7 == found["badge"]["unread"]


def test_operations():
    """Each operation has its version, time, author and the number after it."""
    found = explained(
        1.0, note("a", key="k", ttl=7), 2.0, note("b", key="k", source="s"),
        3.0, ops({"read": ["b"]}), 4.0, ops({"read": ["b"]}, op_id="again"),
        5.0, gauge(2, 1), 6.0, Retract(source="s"), note("c", ttl=1), 7.0, Expire(),
    )  # fmt: skip

    rows = [
        [o["v"], o["at"], o["by"], o["operation"], o["unread"]]
        for o in found["operations"]
    ]
    assert rows == [
        [7, 7.0, "time", "expire", 2],
        [6, 6.0, "producer", "notify", 3],
        [5, 6.0, "producer", "retract", 2],
        [4, 5.0, "producer", "gauge", 2],
        [3, 3.0, "user", "ops", 0],
        [2, 2.0, "producer", "notify", 1],
        [1, 1.0, "producer", "notify", 1],
    ]
    assert [o["steps"] for o in found["operations"]] == [
        [{"remove": ["c"], "reason": "expired"}],
        [{"add": "c"}],
        [{"remove": ["b"], "reason": "retracted"}],
        [],
        [{"set": ["b"], "read": True, "seen": True}],
        [{"remove": ["a"], "reason": "replaced"}, {"add": "b"}],
        [{"add": "a"}],
    ]


@pytest.mark.parametrize("done", [1, MAX_OPERATIONS, MAX_OPERATIONS + 9])
def test_latest_operations(done):
    """At most `MAX_OPERATIONS` are listed, newest first."""
    found = explained(*(note(str(number)) for number in range(done)))
    versions = [operation["v"] for operation in found["operations"]]

    assert list(range(done, max(0, done - MAX_OPERATIONS), -1)) == versions


SECRET = {
    "title": "secret title", "body": "secret body", "url": "/secret",
    "icon": "/secret.png", "data": {"secret": ["secret"]},
}  # fmt: skip


async def test_explanation_has_no_text():
    """No text of a counted, read or removed item is in the explanation."""
    engine = MemoryEngine()
    for name in ("a", "b", "c", "d"):
        secret = note(name, source=name, op_id=f"secret {name}", **SECRET)
        await engine.apply([("u", secret)])
    await engine.apply([("u", ops({"archive": ["b"]}, op_id="secret"))])
    await engine.apply([("u", Retract(source="c"))])
    reasons = explanation(await engine.read("u"))
    found = json.dumps(reasons)

    assert "secret" not in found
    assert ["d", "a"] == [item["id"] for item in reasons["counted"]]


def test_explanation_is_true_at_its_badge():
    """The counted items and the gauges add up to the badge."""
    found = explained(
        note("a"), note("b"), note("c", "g"), gauge(2, 1), ops({"read": ["a"]})
    )
    gauges = sum(gauge["count"] for gauge in found["gauges"])

    assert found["badge"]["unread"] == len(found["counted"]) + gauges
    assert found["badge"]["v"] == found["operations"][0]["v"]


async def explain_with_topics(engine: MemoryEngine, user: str) -> dict:
    """Return the explanation of a stored mailbox and its topics."""
    record = await engine.peek(user)
    names = record.topics(Refresh())
    return explanation(record, {name: await engine.peek(name) for name in names})


async def test_muted_items_and_gauges():
    """What is muted is not counted; an item that is read too has that reason."""
    engine = MemoryEngine()
    muted = Muted(categories=frozenset({"c", "g"}), topics=frozenset({"all"}))
    await put(engine, "#all", note("news", "d"))
    for operation in (note("a"), note("b"), note("d", "d"), gauge(3, 1),
                      ops({"read": ["b"]}), SetMuted(muted)):  # fmt: skip
        await put(engine, "u", operation)
    found = await explain_with_topics(engine, "u")

    assert [("b", "read"), ("a", "muted"), ("news", "muted")] == [
        (item["id"], item["reason"]) for item in found["not_counted"]
    ]
    assert ["d"] == [item["id"] for item in found["counted"]]
    assert ["muted"] == [gauge["reason"] for gauge in found["gauges"]]
    assert 1 == found["badge"]["unread"]


async def test_waiting_items():
    """Each item that waits has its time and the reason."""
    engine = MemoryEngine(clock=lambda: 1.0)
    await put(engine, "#all", note("news", "d", key="k", ttl=50.0))
    await put(engine, "u", note("later", source="s", at=9.0))
    snooze = Snooze(frozenset({"news"}), until=7.0)
    await put(engine, "u", UserOps(ops=(snooze,), op_id="op"))
    found = await explain_with_topics(engine, "u")

    assert [
        {
            "id": "later", "category": "c", "key": None, "source": "s", "topic": None,
            "until": 9.0, "expires_at": None, "reason": "scheduled",
        },
        {
            "id": "news", "category": "d", "key": "k", "source": None, "topic": "all",
            "until": 7.0, "expires_at": 51.0, "reason": "snoozed",
        },
    ] == found["waiting"]  # fmt: skip
    assert [] == found["counted"]


async def test_topics():
    """Each topic has its position, and whether there is more to pull."""
    engine = MemoryEngine()
    await put(engine, "u", Subscribe(topic="team"))
    before = await explain_with_topics(engine, "u")
    await put(engine, "#team", note("a"))
    await engine.read("u")
    await put(engine, "#all", note("b"))
    found = await explain_with_topics(engine, "u")
    epochs = [(await engine.peek(name)).mailbox.epoch for name in ("#all", "#team")]

    assert ["team"] == [topic["topic"] for topic in before["topics"]]
    assert [
        {
            "topic": "all", "since": "start", "by": "default",
            "epoch": epochs[0], "v": 0, "behind": True,
        },
        {
            "topic": "team", "since": "now", "by": "producer",
            "epoch": epochs[1], "v": 1, "behind": False,
        },
    ] == found["topics"]  # fmt: skip
    assert [("topic", "pull", [{"add": "a"}])] == [
        (each["by"], each["operation"], each["steps"]) for each in found["operations"]
    ]
    assert ["team"] == [item["topic"] for item in found["counted"]]
