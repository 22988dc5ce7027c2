"""The audit finds each wrong badge, at a pace that does not slow requests."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from weakref import ref

import attrs
import pytest
import trio
from msgspec.structs import replace
from structlog.testing import capture_logs

from roundel_service.domain.badge import Badge
from roundel_service.domain.change_log import ChangeLog
from roundel_service.domain.changes import Change
from roundel_service.domain.item_list import ItemList
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import Snooze, Subscribe, UserOps
from roundel_service.domain.record import Record
from roundel_service.domain.subscriptions import Muted
from roundel_service.engines.base import MailboxDamaged
from roundel_service.engines.memory import MemoryEngine
from roundel_service.operator.audit import MAX_BEHIND, MAX_LAG, MAX_PAUSE, Audit
from roundel_service.telemetry.metrics import Metrics
from support.mailboxes import Clock, item, note, put

CHECKED = "roundel_badge_audit_checked_total"
MISMATCHES = "roundel_badge_audit_mismatch_total"


def mailbox(v: int = 1, kind: type[Mailbox] = Mailbox) -> Mailbox:
    return kind(
        epoch="e", v=v, items=ItemList([item(), replace(item(seen=True), id="2")])
    )


def off_by_one(badge: Badge) -> Badge:
    return replace(badge, unread=badge.unread + 1)


class WrongMailbox(Mailbox):
    """A mailbox whose own count is wrong."""

    @property
    def badge(self) -> Badge:
        return off_by_one(super().badge)


def latest_change(v: int, badge: Badge) -> Change:
    return Change(v=v, steps=(), badge=badge, operation="notify", by="", time=0.0)


@attrs.define
class Service:
    """An engine and a hub in memory, reduced to what the audit calls."""

    records: dict[str, Record] = attrs.field(factory=dict)
    streams: dict[str, Badge] = attrs.field(factory=dict)
    pages: list[tuple[float, str | None]] = attrs.field(factory=list)
    metrics: Metrics = attrs.field(factory=Metrics)
    started_at: float = attrs.field(factory=trio.current_time)
    read_delay: float = 0.0

    async def users(self, after: str | None, limit: int) -> list[str]:
        self.pages.append((round(trio.current_time() - self.started_at, 3), after))
        return sorted(u for u in self.records if after is None or u > after)[:limit]

    async def peek(self, user: str) -> Record:
        await trio.sleep(self.read_delay)
        return self.records[user]

    def delivered_badge(self, user: str) -> Badge | None:
        return self.streams.get(user)

    def count(self, name: str) -> float:
        lines = self.metrics.text().decode().splitlines()
        return next(float(x.split()[1]) for x in lines if x.startswith(f"{name} "))


@pytest.fixture
async def service() -> Service:
    return Service()


async def audited(service: Service, seconds: float, **pace: float) -> list[dict]:
    """Run the audit for *seconds* and return the lines that it logged."""
    with capture_logs() as lines, trio.move_on_after(seconds):
        await Audit(service, service.delivered_badge, service.metrics, **pace).run()
    return lines


# Findings


def set_correct(service: Service) -> None:
    badge = mailbox().badge
    service.records["alice"] = Record(mailbox(), ChangeLog([latest_change(1, badge)]))
    service.streams["alice"] = badge


def drift_mailbox(service: Service) -> None:
    service.records["alice"] = Record(mailbox(kind=WrongMailbox))


def drift_change(service: Service) -> None:
    service.records["alice"] = Record(
        mailbox(), ChangeLog([latest_change(1, off_by_one(mailbox().badge))])
    )


def drift_hub(service: Service) -> None:
    service.streams["alice"] = off_by_one(mailbox().badge)


@pytest.mark.parametrize(
    ("where", "drift"),
    [("mailbox", drift_mailbox), ("change", drift_change), ("hub", drift_hub)],
)
async def test_wrong_badge_is_found_counted_and_logged(
    autojump_clock, service, where, drift
):
    """A wrong badge in mailbox, latest change or hub is counted and logged."""
    set_correct(service)
    drift(service)
    (line,) = await audited(service, 0.5)

    assert 1 == service.count(MISMATCHES)
    expected = {"unread": 2, "unseen": 1, "more": False, "by": [["c", 2, 1]]}
    assert {
        "log_level": "error",
        "event": "badge mismatch",
        "user": "alice",
        "epoch": "e",
        "v": 1,
        "where": where,
        "expected": expected,
        "actual": {"epoch": "e", "v": 1, **expected, "unread": 3},
    } == line
    assert "affair" not in str(line)


async def test_muted_items_are_not_missing_in_a_badge(autojump_clock, service):
    """The audit's own count leaves out what is muted, too."""
    muted = Muted(categories=frozenset({"c"}))
    service.records["alice"] = Record(replace(mailbox(), muted=muted))

    assert [] == await audited(service, 0.5)
    assert 0 == service.records["alice"].badge.unread


async def test_correct_badge_is_not_logged(autojump_clock, service):
    """The audit of a correct badge logs nothing and counts no mismatch."""
    set_correct(service)

    assert [] == await audited(service, 0.5)
    assert (1, 0) == (service.count(CHECKED), service.count(MISMATCHES))


async def test_change_of_another_version_or_epoch_is_ignored(autojump_clock, service):
    """The badge of an older version or epoch need not equal the current one."""
    wrong = off_by_one(mailbox().badge)
    service.records["old"] = Record(mailbox(v=2), ChangeLog([latest_change(1, wrong)]))
    service.records["reborn"] = Record(
        mailbox(), ChangeLog([latest_change(1, replace(wrong, epoch="before"))])
    )

    assert [] == await audited(service, 0.5)


async def test_hub_that_stays_behind_is_reported(autojump_clock, service, nursery):
    """A hub at an outdated version is wrong after the maximum lag, not before."""
    service.records = {"late": Record(mailbox(v=2)), "stuck": Record(mailbox(v=2))}
    service.streams = dict.fromkeys(service.records, mailbox(v=1).badge)
    with capture_logs() as lines:
        nursery.start_soon(Audit(service, service.delivered_badge, service.metrics).run)
        await trio.sleep(MAX_LAG - 1)

        assert [] == lines

        service.streams["late"] = mailbox(v=2).badge
        await trio.sleep(MAX_LAG)

    assert {("stuck", "hub", 1)} == {
        (line["user"], line["where"], line["actual"]["v"]) for line in lines
    }


async def test_hub_that_advances_is_not_reported(autojump_clock, service):
    """A hub that is behind at each check, at a new version each time, is only busy."""
    service.records["alice"] = Record(mailbox(v=1_000))

    async def advance() -> None:
        for v in range(1, 900):
            service.streams["alice"] = mailbox(v=v).badge
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(advance)

        assert [] == await audited(service, 10 * MAX_LAG)
        nursery.cancel_scope.cancel()


async def test_memory_for_users_behind_is_bounded(autojump_clock, service):
    """The audit remembers a bounded number of users whose hub is behind."""
    users = [f"u{number:04}" for number in range(MAX_BEHIND + 10)]
    service.records = dict.fromkeys(users, Record(mailbox(v=2)))
    service.streams = dict.fromkeys(users, mailbox(v=1).badge)
    await audited(service, 2.5 * MAX_LAG, page=len(users), tick=MAX_LAG)

    assert [(0, None), (MAX_LAG, users[-1]), (2 * MAX_LAG, None)] == service.pages
    assert MAX_BEHIND == service.count(MISMATCHES)


# Topics


@attrs.define
class Broadcasting:
    """A memory engine with topics, and its audit."""

    clock: Clock = attrs.field(factory=Clock)
    metrics: Metrics = attrs.field(factory=Metrics)
    engine: MemoryEngine = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.engine = MemoryEngine(clock=self.clock)

    def lose(self, name: str, *ids: str) -> None:
        """Remove items from a stored mailbox, without a version."""
        record = self.engine._records[name]
        items = record.mailbox.items.without(ids)
        mailbox = replace(record.mailbox, items=items)
        self.engine._records[name] = Record(mailbox)

    async def audited(self) -> list[dict]:
        audit = Audit(self.engine, lambda user: None, self.metrics)
        with capture_logs() as lines, trio.move_on_after(0.5):
            await audit.run()
        return lines


@pytest.fixture
async def broadcasting() -> Broadcasting:
    """Alice and Bob have two broadcasts, and Carol has not looked since the first."""
    found = Broadcasting()
    for user in ("alice", "bob", "carol"):
        await put(found.engine, user, note("own"))
    await put(found.engine, "#all", note("first"))
    for user in ("alice", "bob", "carol"):
        await found.engine.read(user)
    await put(found.engine, "#all", note("second"))
    for user in ("alice", "bob"):
        await found.engine.read(user)
    return found


async def test_audit_writes_no_mailbox(autojump_clock, broadcasting):
    """The audit pulls nothing, and lets nothing expire: it sees what is stored."""
    await put(broadcasting.engine, "alice", note("short", ttl=5.0))
    broadcasting.clock.now = 9.0
    before = dict(broadcasting.engine._records)

    assert [] == await broadcasting.audited()
    assert before == broadcasting.engine._records
    assert 2 == len(before["carol"].mailbox.items)


async def test_topics_are_audited(autojump_clock, broadcasting):
    """The badge of a topic is recounted like that of a user."""
    record = broadcasting.engine._records["#all"]
    newest = record.changes.newest
    wrong = replace(newest, badge=off_by_one(newest.badge))
    changes = ChangeLog([*record.changes[:-1], wrong])
    broadcasting.engine._records["#all"] = Record(record.mailbox, changes)
    (line,) = await broadcasting.audited()

    assert ("#all", "change") == (line["user"], line["where"])


async def test_copy_without_an_original_is_found(autojump_clock, broadcasting):
    """A copy whose topic has no such item is an error where the topic was pulled."""
    broadcasting.lose("#all", "first")
    lines = await broadcasting.audited()

    expected = {"event": "copies without originals", "log_level": "error"}
    expected |= {"v": 3, "topic": "all", "items": ["first"]}
    epochs = [broadcasting.engine._records[u].mailbox.epoch for u in ("alice", "bob")]
    assert [
        {**expected, "user": "alice", "epoch": epochs[0]},
        {**expected, "user": "bob", "epoch": epochs[1]},
    ] == lines


async def test_snoozed_copy_without_an_original_is_found(autojump_clock, broadcasting):
    """An item that the user snoozed is a copy like any other."""
    snooze = Snooze(frozenset({"first"}), until=99.0)
    await put(broadcasting.engine, "alice", UserOps(ops=(snooze,), op_id="op"))
    broadcasting.lose("#all", "first")
    lines = await broadcasting.audited()

    assert ["alice", "bob"] == [line["user"] for line in lines]


async def test_copy_of_a_topic_that_is_not_followed(autojump_clock, broadcasting):
    """Copies of a topic that the user left are an error."""
    record = broadcasting.engine._records["carol"]
    mailbox = replace(record.mailbox, subscriptions={})
    broadcasting.engine._records["carol"] = Record(mailbox, record.changes)
    (line,) = await broadcasting.audited()

    assert ("carol", ["first"]) == (line["user"], line["items"])


async def test_copies_of_a_damaged_topic_are_not_compared(autojump_clock, broadcasting):
    """A topic that cannot be decoded ends no audit of its followers."""
    peek = broadcasting.engine.peek

    async def damaged(name: str) -> Record:
        if name == "#all":
            raise MailboxDamaged
        return await peek(name)

    broadcasting.engine.peek = damaged

    assert [] == await broadcasting.audited()


async def test_memory_for_topics_is_bounded(autojump_clock, broadcasting, monkeypatch):
    """The audit remembers a bounded number of topics, and finds the same."""
    monkeypatch.setattr("roundel_service.operator.audit.MAX_TOPICS", 1)
    for topic in ("red", "blue"):
        await put(broadcasting.engine, "alice", Subscribe(topic=topic))
        await put(broadcasting.engine, f"#{topic}", note(topic))
    await broadcasting.engine.read("alice")
    broadcasting.lose("#red", "red")
    broadcasting.lose("#all", "second")
    lines = await broadcasting.audited()

    assert [("all", "alice"), ("all", "bob"), ("red", "alice")] == sorted(
        (line["topic"], line["user"]) for line in lines
    )


# Pace and resources


async def test_audit_reads_a_page_per_tick_and_starts_over(autojump_clock, service):
    """The audit reads 100 mailboxes a second, and starts over after the last."""
    for number in range(150):
        service.records[f"u{number:03}"] = Record(mailbox())
    await audited(service, 3.5)

    assert [(0, None), (1, "u099"), (2, "u149"), (3, None)] == service.pages
    assert 250 == service.count(CHECKED)


async def test_page_and_tick_are_parameters(autojump_clock, service):
    """The audit reads *page* mailboxes every *tick* seconds."""
    service.records = dict.fromkeys("abc", Record(mailbox()))
    await audited(service, 21, page=2, tick=10)

    assert [(0, None), (10, "b"), (20, "c")] == service.pages


async def test_other_tasks_run_between_two_mailboxes(autojump_clock, service):
    """A task waits for one mailbox at most, not for a page."""
    service.records = {f"u{number}": Record(mailbox()) for number in range(100)}
    seen = [0.0]

    async def watch() -> None:
        while seen[-1] < 100:
            seen.append(service.count(CHECKED))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await audited(service, 0.5)

    # Trio schedules ready tasks in random order, so two mailboxes may come in a row.
    assert max(now - before for before, now in pairwise(seen)) <= 2


class TracedRecord(Record, frozen=True, gc=True, weakref=True):
    """A record that can be referenced weakly."""


@attrs.define
class UncachedEngine:
    """An engine without a cache, which tracks the records that are still referenced."""

    made: list[ref[Record]] = attrs.field(factory=list)

    async def users(self, after: str | None, limit: int) -> list[str]:
        return [] if after else ["alice", "bob"]

    async def peek(self, user: str) -> Record:
        record = TracedRecord(mailbox(kind=WrongMailbox))
        self.made.append(ref(record))
        return record


async def test_audit_keeps_no_record_alive(autojump_clock, service, nursery):
    """The audit references no record afterwards: its memory is O(1)."""
    engine = UncachedEngine()
    with capture_logs():
        nursery.start_soon(Audit(engine, service.delivered_badge, service.metrics).run)
        await trio.sleep(0.5)

    assert [None, None] == [record() for record in engine.made]


async def test_unreadable_mailbox_is_skipped(autojump_clock, service):
    """The audit pauses when a read fails, and continues with the next mailbox."""
    service.records = {"a": Record(mailbox()), "b": None, "c": Record(mailbox())}
    lines = await audited(service, MAX_PAUSE + 1.5)

    assert ["audit paused"] == [line["event"] for line in lines]
    assert [(0, None), (MAX_PAUSE + 1, "b")] == service.pages
    assert 2 == service.count(CHECKED)


async def test_damaged_mailbox_does_not_pause_the_audit(autojump_clock, service):
    """The audit continues at once after a damaged mailbox."""

    class OneDamaged(Service):
        async def peek(self, user: str) -> Record:
            if user == "b":
                raise MailboxDamaged
            return await super().peek(user)

    one_damaged = OneDamaged({user: Record(mailbox()) for user in "abc"})
    logs = await audited(one_damaged, 10.0)

    assert [] == logs
    assert 10 <= one_damaged.count(CHECKED)


async def test_audit_of_an_empty_engine_runs_until_cancelled(autojump_clock, service):
    """Without users the audit costs one call of the engine per tick."""
    with trio.move_on_after(inf) as scope:
        scope.deadline = trio.current_time() + 100.5
        await Audit(service, service.delivered_badge, service.metrics).run()

    assert 101 == len(service.pages)


async def test_audit_of_a_slow_engine_pauses_longer(autojump_clock, service):
    """The audit pauses 50 times as long as a page took."""
    service.records, service.read_delay = {"a": Record(mailbox())}, 0.5
    await audited(service, 100)

    assert [0, 26.5, 27.5, 54.0] == [at for at, _ in service.pages][:4]
