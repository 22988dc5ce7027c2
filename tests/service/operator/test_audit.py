"""The audit: whoever tells a wrong badge is found, and nobody else is disturbed."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from weakref import ref

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from roundel_service.domain.badge import Badge
from roundel_service.domain.items import ExternalCount, Item
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.record import Record
from roundel_service.operator.audit import LAG, MAX_BEHIND, REST, Audit, recount
from roundel_service.telemetry.metrics import Metrics
from support.documents import document

CHECKED = "roundel_badge_audit_checked_total"
MISMATCHES = "roundel_badge_audit_mismatch_total"


def item(category: str = "c", **flags: bool) -> Item:
    told = dict.fromkeys(("body", "url", "icon", "key", "source", "data"))
    told |= {"id": "1", "seq": 1, "category": category, "title": "a secret affair"}
    return Item(**told, created_at=0.0, expires_at=None, size=0, **flags)


def mailbox(v: int = 1, kind: type[Mailbox] = Mailbox) -> Mailbox:
    return kind(epoch="e", v=v, items={"1": item(), "2": item(seen=True)})


def off_by_one(badge: Badge) -> Badge:
    return attrs.evolve(badge, unread=badge.unread + 1)


class Drifted(Mailbox):
    """A mailbox whose own fold is wrong."""

    @property
    def badge(self) -> Badge:
        return off_by_one(super().badge)


@attrs.frozen
class Latest:
    """The part of a change that the audit looks at."""

    v: int
    badge: Badge


@attrs.define
class House:
    """An engine and a hub in memory, as far as the audit can see them."""

    records: dict[str, Record] = attrs.field(factory=dict)
    streams: dict[str, Badge] = attrs.field(factory=dict)
    pages: list[tuple[float, str | None]] = attrs.field(factory=list)
    metrics: Metrics = attrs.field(factory=Metrics)
    began: float = attrs.field(factory=trio.current_time)
    slow: float = 0.0

    async def users(self, after: str | None, limit: int) -> list[str]:
        self.pages.append((round(trio.current_time() - self.began, 3), after))
        return sorted(u for u in self.records if after is None or u > after)[:limit]

    async def read(self, user: str) -> Record:
        await trio.sleep(self.slow)
        return self.records[user]

    def delivered_badge(self, user: str) -> Badge | None:
        return self.streams.get(user)

    def count(self, name: str) -> float:
        lines = self.metrics.text().decode().splitlines()
        return next(float(x.split()[1]) for x in lines if x.startswith(f"{name} "))


@pytest.fixture
async def house() -> House:
    return House()


async def audited(house: House, seconds: float, **pace: float) -> list[dict]:
    """Run the audit for so long and return the lines it logged."""
    with capture_logs() as lines, trio.move_on_after(seconds):
        await Audit(house, house, house.metrics, **pace).run()
    return lines


# What is counted


def counts(unread: int, unseen: int = 0) -> dict[str, int]:
    return {"unread": unread, "unseen": unseen}


def numbers(unread: int, unseen: int = 0, *, more: bool = False, **by: dict) -> dict:
    return {**counts(unread, unseen), "more": more, "by": by}


@pytest.mark.parametrize(
    ("items", "gauges", "more", "expected"),
    [
        ([], {}, False, numbers(0)),
        ([item(), item(seen=True)], {}, False, numbers(2, 1, c=counts(2, 1))),
        ([item(read=True), item(archived=True)], {}, False, numbers(0)),
        ([item("a"), item()], {}, False, numbers(2, 2, a=counts(1, 1), c=counts(1, 1))),
        ([item("a")], {"a": ExternalCount(7, 1)}, False, numbers(8, 1, a=counts(8, 1))),
        (
            [],
            {"a": ExternalCount(7, 1), "b": ExternalCount(0, 1)},
            False,
            numbers(7, a=counts(7)),
        ),
        ([item()], {}, True, numbers(1, 1, more=True, c=counts(1, 1))),
        ([], {"a": ExternalCount(1, 1)}, True, numbers(1, more=True, a=counts(1))),
        ([item(read=True)], {}, True, numbers(0)),
    ],
    ids=[
        *("empty", "unseen", "read or archived", "categories", "gauge and items"),
        *("gauge of 0", "more", "more by a gauge", "no more at 0"),
    ],
)
def test_recount_follows_the_contracts_words(items, gauges, more, expected):
    """Unread counts, gauges add, and nothing unread is never more than nothing."""
    assert expected == recount(items, gauges, more)


_ITEMS = st.lists(
    st.builds(
        item,
        st.sampled_from("abc"),
        seen=st.booleans(),
        read=st.booleans(),
        archived=st.booleans(),
    )
)
_GAUGES = st.dictionaries(
    st.sampled_from("abc"), st.builds(ExternalCount, st.integers(0, 9), st.just(1))
)


@settings(max_examples=50, deadline=None)
@given(_ITEMS, _GAUGES, st.booleans())
def test_both_folds_agree(items, gauges, more):
    """Two ways of counting, written apart, never tell a different number."""
    by_id = {str(number): item for number, item in enumerate(items)}
    badge = Mailbox(epoch="e", items=by_id, gauges=gauges, more=more).badge

    assert {"epoch": "e", "v": 0, **recount(items, gauges, more)} == document(badge)


# What is found


def sound(house: House) -> None:
    badge = mailbox().badge
    house.records["alice"] = Record(mailbox(), (Latest(1, badge),))
    house.streams["alice"] = badge


def drift_mailbox(house: House) -> None:
    house.records["alice"] = Record(mailbox(kind=Drifted))


def drift_change(house: House) -> None:
    house.records["alice"] = Record(
        mailbox(), (Latest(1, off_by_one(mailbox().badge)),)
    )


def drift_hub(house: House) -> None:
    house.streams["alice"] = off_by_one(mailbox().badge)


@pytest.mark.parametrize(
    ("where", "drift"),
    [("mailbox", drift_mailbox), ("change", drift_change), ("hub", drift_hub)],
)
async def test_wrong_badge_is_found_counted_and_logged(
    autojump_clock, house, where, drift
):
    """Whoever of the three tells a wrong number, it comes out, with both numbers."""
    sound(house)
    drift(house)
    (line,) = await audited(house, 0.5)

    assert 1 == house.count(MISMATCHES)
    told = {"epoch": "e", "v": 1, **counts(2, 1), "more": False, "by": [["c", 2, 1]]}
    assert {
        "log_level": "error",
        "event": "badge mismatch",
        "user": "alice",
        "epoch": "e",
        "v": 1,
        "where": where,
        "counted": told,
        "told": {**told, "unread": 3},
    } == line
    assert "affair" not in str(line)


async def test_sound_mailbox_is_counted_and_nothing_is_said(autojump_clock, house):
    """A service that is right has nothing in its log and 0 on the meter."""
    sound(house)

    assert [] == await audited(house, 0.5)
    assert (1, 0) == (house.count(CHECKED), house.count(MISMATCHES))


async def test_change_of_another_version_or_epoch_proves_nothing(autojump_clock, house):
    """Only what claims to be true now has to be."""
    wrong = off_by_one(mailbox().badge)
    house.records["old"] = Record(mailbox(v=2), (Latest(1, wrong),))
    house.records["reborn"] = Record(
        mailbox(), (Latest(1, attrs.evolve(wrong, epoch="before")),)
    )

    assert [] == await audited(house, 0.5)


async def test_hub_may_be_behind_for_a_while_but_not_stay_there(
    autojump_clock, house, nursery
):
    """A badge on its way is no mistake; one that never arrives is."""
    house.records = {"late": Record(mailbox(v=2)), "stuck": Record(mailbox(v=2))}
    house.streams = dict.fromkeys(house.records, mailbox(v=1).badge)
    with capture_logs() as lines:
        nursery.start_soon(Audit(house, house, house.metrics).run)
        await trio.sleep(LAG - 1)

        assert [] == lines

        house.streams["late"] = mailbox(v=2).badge
        await trio.sleep(LAG)

    assert {("stuck", "hub", 1)} == {
        (line["user"], line["where"], line["told"]["v"]) for line in lines
    }


async def test_hub_that_goes_on_is_not_stuck(autojump_clock, house):
    """Behind at every look, but each time at another version: only busy."""
    house.records["alice"] = Record(mailbox(v=1_000))

    async def advance() -> None:
        for v in range(1, 900):
            house.streams["alice"] = mailbox(v=v).badge
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(advance)

        assert [] == await audited(house, 10 * LAG)
        nursery.cancel_scope.cancel()


async def test_memory_for_hubs_that_are_behind_is_bounded(autojump_clock, house):
    """When everything is late, some of it is looked at again, and that is enough."""
    users = [f"u{number:04}" for number in range(MAX_BEHIND + 10)]
    house.records = dict.fromkeys(users, Record(mailbox(v=2)))
    house.streams = dict.fromkeys(users, mailbox(v=1).badge)
    await audited(house, 2.5 * LAG, page=len(users), tick=LAG)

    assert [(0, None), (LAG, users[-1]), (2 * LAG, None)] == house.pages
    assert MAX_BEHIND == house.count(MISMATCHES)


# How it walks


async def test_walk_takes_a_page_a_tick_and_begins_again(autojump_clock, house):
    """Mailboxes are read a hundred a second, whatever their number, for ever."""
    for number in range(150):
        house.records[f"u{number:03}"] = Record(mailbox())
    await audited(house, 3.5)

    assert [(0, None), (1, "u099"), (2, "u149"), (3, None)] == house.pages
    assert 250 == house.count(CHECKED)


async def test_pace_can_be_set(autojump_clock, house):
    """A page and a tick of other sizes are kept to."""
    house.records = dict.fromkeys("abc", Record(mailbox()))
    await audited(house, 21, page=2, tick=10)

    assert [(0, None), (10, "b"), (20, "c")] == house.pages


async def test_walk_lets_others_run_between_two_mailboxes(autojump_clock, house):
    """Nobody waits for a whole page: every mailbox is followed by a turn for others."""
    house.records = {f"u{number}": Record(mailbox()) for number in range(100)}
    seen = [0.0]

    async def watch() -> None:
        while seen[-1] < 100:
            seen.append(house.count(CHECKED))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await audited(house, 0.5)

    # Trio runs who is ready in any order, so two may come between two turns.
    assert max(now - before for before, now in pairwise(seen)) <= 2


@attrs.define
class Loose:
    """An engine that keeps no record, and knows which are kept by somebody else."""

    made: list[ref[Record]] = attrs.field(factory=list)

    async def users(self, after: str | None, limit: int) -> list[str]:
        return [] if after else ["alice", "bob"]

    async def read(self, user: str) -> Record:
        record = Record(mailbox(kind=Drifted))
        self.made.append(ref(record))
        return record


async def test_walk_keeps_no_record_alive(autojump_clock, house, nursery):
    """What was looked at is forgotten: the audit costs no memory by the mailbox."""
    engine = Loose()
    with capture_logs():
        nursery.start_soon(Audit(engine, house, house.metrics).run)
        await trio.sleep(0.5)

    assert [None, None] == [record() for record in engine.made]


async def test_mailbox_that_cannot_be_read_is_passed_by(autojump_clock, house):
    """A failing engine gets a rest, and one bad mailbox does not stop the walk."""
    house.records = {"a": Record(mailbox()), "b": None, "c": Record(mailbox())}
    lines = await audited(house, REST + 1.5)

    assert ["audit paused"] == [line["event"] for line in lines]
    assert [(0, None), (REST + 1, "b")] == house.pages
    assert 2 == house.count(CHECKED)


async def test_walk_goes_on_until_it_is_cancelled(autojump_clock, house):
    """An empty house is walked as well, and costs a question a tick."""
    with trio.move_on_after(inf) as scope:
        scope.deadline = trio.current_time() + 100.5
        await Audit(house, house, house.metrics).run()

    assert 101 == len(house.pages)


async def test_slow_engine_is_left_most_of_its_time(autojump_clock, house):
    """What has to be read from a disk or a store is read now and then."""
    house.records, house.slow = {"a": Record(mailbox())}, 0.5
    await audited(house, 100)

    assert [0, 26.5, 27.5, 54.0] == [at for at, _ in house.pages][:4]
