"""Why a badge is what it is, told without a word of what the items say."""

from __future__ import annotations

import json

import attrs
import msgspec
import pytest

from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import DeleteGauge, Expire, Retract
from roundel_service.domain.record import Record
from roundel_service.engines.memory import MemoryEngine
from roundel_service.http.explanation import MAX_OPERATIONS, explain
from support.mailboxes import apply_all, gauge, note, ops


def explanation(record: Record) -> dict:
    """Return the explanation of *record* as JSON types."""
    return msgspec.to_builtins(explain(record))


def explained(*story) -> dict:
    """Return the explanation of the mailbox that the story ends with."""
    applied = apply_all(*story)
    changes = tuple(a.change for a in applied if a.change is not None)
    return explanation(Record(applied[-1].mailbox, changes))


def test_explanation_of_nothing():
    """A user who has nothing is explained too."""
    assert explanation(Record(Mailbox(epoch="e"))) == {
        "badge": {
            "epoch": "e", "v": 0, "unread": 0, "unseen": 0, "more": False, "by": {}
        },
        "counted": [], "not_counted": [], "gauges": [], "operations": [],
    }  # fmt: skip


def test_items_that_count():
    """Each item that counts is told with what it is about, newest first."""
    fields = {"key": "k", "source": "s", "ttl": 9}
    told = explained(5.0, note("a", "d", **fields), note("b"), ops({"seen_upto": 1}))

    assert [
        {
            "id": "b", "seq": 2, "category": "c", "key": None, "source": None,
            "seen": False, "expires_at": None,
        },
        {
            "id": "a", "seq": 1, "category": "d", "key": "k", "source": "s",
            "seen": True, "expires_at": 14.0,
        },
    ] == told["counted"]  # fmt: skip
    assert [] == told["not_counted"]


@pytest.mark.parametrize(
    ("done", "why"),
    [
        pytest.param([{"read": ["a"]}], "read", id="read"),
        pytest.param([{"archive": ["a"]}], "archived", id="archived"),
        pytest.param([{"read": ["a"]}, {"archive": ["a"]}], "archived", id="both"),
    ],
)
def test_items_that_do_not_count(done, why):
    """Each item that does not count is told with the reason."""
    told = explained(note("a"), note("b"), ops(*done))

    assert [("a", why)] == [
        (item["id"], item["reason"]) for item in told["not_counted"]
    ]
    assert ["b"] == [item["id"] for item in told["counted"]]
    assert told["badge"]["unread"] == len(told["counted"])


def test_gauges():
    """Each gauge is told with the version that its owner gave, also one of 0."""
    told = explained(gauge(7, 3), gauge(0, 1, "h"), gauge(2, 2), gauge(1, 1, "i"),
                     DeleteGauge("i"))  # fmt: skip

    assert [
        {"category": "g", "count": 7, "source_version": 3},
        {"category": "h", "count": 0, "source_version": 1},
    ] == told["gauges"]
    assert 7 == told["badge"]["unread"]


def test_operations():
    """What was done last is told with its version, who did it, when, and the result."""
    told = explained(
        1.0, note("a", key="k", ttl=7), 2.0, note("b", key="k", source="s"),
        3.0, ops({"read": ["b"]}), 4.0, ops({"read": ["b"]}, op_id="again"),
        5.0, gauge(2, 1), 6.0, Retract(source="s"), note("c", ttl=1), 7.0, Expire(),
    )  # fmt: skip

    rows = [
        [o["v"], o["at"], o["by"], o["operation"], o["unread"]]
        for o in told["operations"]
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
    assert [o["steps"] for o in told["operations"]] == [
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
    """Not more than the latest operations are told, newest first."""
    told = explained(*(note(str(number)) for number in range(done)))
    versions = [operation["v"] for operation in told["operations"]]

    assert list(range(done, max(0, done - MAX_OPERATIONS), -1)) == versions


SECRET = {
    "title": "secret title", "body": "secret body", "url": "/secret",
    "icon": "/secret.png", "data": {"secret": ["secret"]},
}  # fmt: skip


async def test_no_text_of_an_item_is_told():
    """Whoever may ask why learns nothing of what was said: read, gone or counted."""
    engine = MemoryEngine()
    for name in ("a", "b", "c", "d"):
        said = {**SECRET, "op_id": f"secret {name}"}
        await engine.apply([("u", attrs.evolve(note(name, source=name), **said))])
    await engine.apply([("u", ops({"archive": ["b"]}, op_id="secret"))])
    await engine.apply([("u", Retract(source="c"))])
    reasons = explanation(await engine.read("u"))
    told = json.dumps(reasons)

    assert "secret" not in told
    assert ["d", "a"] == [item["id"] for item in reasons["counted"]]


def test_explanation_is_true_at_its_badge():
    """What counts, item by item, and the gauges add up to the badge."""
    told = explained(
        note("a"), note("b"), note("c", "g"), gauge(2, 1), ops({"read": ["a"]})
    )
    gauges = sum(gauge["count"] for gauge in told["gauges"])

    assert told["badge"]["unread"] == len(told["counted"]) + gauges
    assert told["badge"]["v"] == told["operations"][0]["v"]
