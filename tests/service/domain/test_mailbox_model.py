"""The reducer compared with a simple model, and with pages that apply its changes.

After any operations at any times, the reducer's mailbox equals the model, its badge
equals a naive count, and a page that applies the changes shows the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)
from msgspec import json

from roundel_service.documents import step_documents
from roundel_service.domain.changes import Categories, Change
from roundel_service.domain.content import encode_content
from roundel_service.domain.items import Item, MailboxLimits
from roundel_service.domain.mailbox import Applied, Mailbox, apply
from roundel_service.domain.operations import (
    DeleteGauge,
    DeleteUser,
    Disconnect,
    Expire,
    Mark,
    Notify,
    Operation,
    Remove,
    Retract,
    SetGauge,
    Update,
    UserOps,
)
from roundel_service.domain.refusals import TooManyCategories
from roundel_service.domain.revocation import RETENTION
from support.documents import document, plain

LIMITS = MailboxLimits(items=4, bytes=100, categories=3)


@attrs.define
class Model:
    """A simple mailbox of dicts; each call passes the version as *v*."""

    items: list[dict[str, Any]] = attrs.field(factory=list)
    gauges: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    more: bool = False
    results: dict[Any, tuple[Any, float]] = attrs.field(factory=dict)

    def view(self, only: Categories | None = None) -> tuple[Any, Any]:
        """Return the visible items and counts of these categories."""
        shown = [i for i in self.items if only is None or i["category"] in only]
        return [{k: i[k] for k in i if k != "size"} for i in shown], self.count(only)

    def count(self, only: Categories | None) -> dict[str, Any]:
        """Count each category by a loop over all items."""
        names = {i["category"] for i in self.items} | set(self.gauges)
        by = {}
        for name in names if only is None else names & only:
            counted = [i for i in self.items if i["category"] == name and counts(i)]
            unread = len(counted) + self.gauges.get(name, (0, 0))[0]
            if unread:
                unseen = len([i for i in counted if not i["seen"]])
                by[name] = {"unread": unread, "unseen": unseen}
        total = sum(count["unread"] for count in by.values())
        unseen = sum(count["unseen"] for count in by.values())
        more = self.more and total > 0
        return {"unread": total, "unseen": unseen, "more": more, "by": by}

    def does_not_fit(self, category: str) -> bool:
        names = {i["category"] for i in self.items} | set(self.gauges)
        return len(names | {category}) > max(LIMITS.categories, len(names))

    def do(self, operation: Operation, v: int, now: float) -> None:
        match operation:
            case Notify():
                self.notify(operation, v, now)
            case UserOps():
                for op in operation.ops:
                    if isinstance(op, Remove):
                        gone = op.ids
                        self.keep(lambda i, gone=gone: i["id"] not in gone)
                    else:
                        self.mark(op)
            case Expire():
                self.keep(lambda i: i["expires_at"] is None or i["expires_at"] > now)
            case Update():
                self.update(operation, now)
            case Retract(id=str(id)):
                self.keep(lambda i: i["id"] != id)
            case Retract(source=None):
                key = (operation.category, operation.key)
                self.keep(lambda i: (i["category"], i["key"]) != key)
            case Retract():
                self.keep(lambda i: i["source"] != operation.source)
            case SetGauge(category=category):
                _, version = self.gauges.get(category, (0, -1))
                if operation.source_version > version:
                    gauge = operation.count, operation.source_version
                    self.gauges[category] = gauge
            case DeleteGauge(category=category):
                self.gauges.pop(category, None)
        self.more = self.more and self.count(None)["unread"] > 0

    def store_result(self, known: Any, answer: Any, now: float) -> None:
        """Remove expired items; they stay removed if the clock goes back."""
        recent = {k: v for k, v in self.results.items() if now - v[1] < RETENTION}
        self.results = recent | {known: (answer, now)}

    def keep(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        self.items = [i for i in self.items if condition(i)]

    def notify(self, new: Notify, v: int, now: float) -> None:
        key = (new.category, new.key)
        self.keep(lambda i: i["id"] != new.replaces)
        held = [i for i in self.items if new.key and (i["category"], i["key"]) == key]
        if new.quiet and held:
            fields = json.decode(new.content) | {"source": new.source}
            end = None if new.ttl is None else now + new.ttl
            self.change(held[0], fields, end, new.size, now)
            return
        self.keep(lambda i: i not in held)
        while len(self.items) >= LIMITS.items or (
            sum(i["size"] for i in self.items) + new.size > LIMITS.bytes
        ):
            evicted = self.items.pop(0)
            self.more = self.more or counts(evicted)
        known = ("id", "category", "key", "source", "size")
        item = {k: getattr(new, k) for k in known} | json.decode(new.content)
        item |= {"topic": None, "updated_at": None}
        expires_at = None if new.ttl is None else now + new.ttl
        item |= {"seq": v, "created_at": now, "expires_at": expires_at}
        self.items.append(item | dict.fromkeys(("seen", "read", "archived"), False))

    def update(self, new: Update, now: float) -> None:
        for item in list(self.items):
            which = new.which
            by_key = (which.category, which.key) == (item["category"], item["key"])
            if (
                item["id"] == which.id
                or (which.source and item["source"] == which.source)
                or (which.key and by_key)
            ):
                end = item["expires_at"]
                if new.expires:
                    end = None if new.ttl is None else now + new.ttl
                content = json.decode(new.content)
                old = {name: item[name] for name in content}
                grown = len(json.encode(content)) - len(json.encode(old))
                self.change(item, content, end, item["size"] + grown, now)

    def change(
        self, item: dict[str, Any], fields: Any, end: Any, size: int, now: float
    ) -> None:
        old = {name: item[name] for name in fields}
        if json.encode(old) != json.encode(fields) or item["expires_at"] != end:
            item |= {**fields, "expires_at": end, "size": size, "updated_at": now}
            while sum(i["size"] for i in self.items) > LIMITS.bytes:
                evicted = self.items.pop(0)
                self.more = self.more or counts(evicted)

    def mark(self, mark: Mark) -> None:
        for item in self.items:
            if mark.ids is not None and item["id"] not in mark.ids:
                continue
            if mark.upto is not None and item["seq"] > mark.upto:
                continue
            if mark.category in (None, item["category"]):
                item.update(mark.flags)


def counts(item: dict[str, Any]) -> bool:
    return not item["read"] and not item["archived"]


@attrs.define
class Page:
    """A client that applies a snapshot and then each change."""

    only: Categories | None
    items: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    badge: dict[str, Any] = attrs.field(factory=dict)

    def load(self, mailbox: Mailbox) -> None:
        """Start again with a snapshot of the mailbox."""
        self.items = {
            item.id: document(item)
            for item in mailbox.items.values()
            if self.only is None or item.category in self.only
        }
        self.badge = document(mailbox.badge.filter(self.only))

    def apply(self, change: Change, items: Mapping[str, Item]) -> None:
        """Apply a change if its filter passes it."""
        filtered = change.filter(self.only)
        badge = document(filtered.badge)
        is_different = badge | {"v": 0} != self.badge | {"v": 0}
        assert self.only is not None or filtered.steps or is_different
        if filtered.steps or is_different:
            assert self.badge["v"] < badge["v"] == change.v
            self.badge = badge
        for step in plain(step_documents(filtered.steps, items)):
            self.apply_step(step)

    def apply_step(self, step: dict[str, Any]) -> None:
        match step:
            case {"add": item}:
                assert item["id"] not in self.items
                self.items[item["id"]] = item
            case {"update": item}:
                assert item["id"] in self.items
                self.items[item["id"]] = item
            case {"set": ids, **flags}:
                for name in ids:
                    self.items[name] = self.items[name] | flags
            case {"remove": ids}:
                for name in ids:
                    del self.items[name]


CONTENT = ("title", "body", "url", "icon", "data")
NAMES = st.sampled_from("abcd")
KEYS = st.sampled_from("kl")
FLAGS = st.sampled_from(
    [{"read": True, "seen": True}, {"read": False}, {"seen": True},
     {"archived": True}, {"archived": False}]
)  # fmt: skip
# Few values, so that items often expire at the same time. Binary fractions, so that
# sums are exact.
TTLS = st.sampled_from([0.25, 1.0, 2.0])
WAITS = st.sampled_from([0.25, 1.0, 2.0, -1.0, RETENTION - 1.0, RETENTION])
NOTES = st.fixed_dictionaries(
    {
        "category": NAMES,
        "key": st.none() | KEYS,
        "source": st.none() | KEYS,
        "ttl": st.none() | TTLS,
        "size": st.integers(1, 60),
        # "" stands for a new id.
        "op_id": st.sampled_from([None, None, "", "1", "2"]),
        "quiet": st.booleans(),
        "replaces": st.sampled_from([None, None, None, "1", "5"]),
    }
)
# Distances of ids and versions from the newest one.
BACK = st.integers(-1, 5)
MARKS = st.tuples(FLAGS, st.sets(BACK), st.none(), st.none()) | st.tuples(
    FLAGS, st.none(), BACK, st.none() | NAMES
)
GAUGES = st.builds(
    SetGauge, category=NAMES, count=st.integers(0, 2), source_version=st.integers(0, 5)
)
RETRACTS = st.one_of(
    st.builds(Retract, source=KEYS),
    st.builds(Retract, category=NAMES, key=KEYS),
    st.builds(Retract, id=st.integers(1, 9).map(str)),
)
CONTENTS = st.dictionaries(
    st.sampled_from(CONTENT), st.sampled_from(["t", "a longer text"]), max_size=3
)
UPDATES = st.builds(
    Update,
    which=RETRACTS,
    content=CONTENTS.map(json.encode),
    expires=st.booleans(),
    ttl=st.none() | TTLS,
)
ENDS = st.sampled_from(
    [Disconnect(), Disconnect(revoke=True), Expire(), DeleteUser("e")]
)


class MailboxStateMachine(RuleBasedStateMachine):
    """Random operations at random times, compared with the model and its pages."""

    def __init__(self) -> None:
        super().__init__()
        self.mailbox = Mailbox(epoch="e0")
        self.model = Model()
        self.pages = [Page(None), Page(frozenset("a")), Page(frozenset("bc"))]
        self.now = 0.0
        self.names = self.calls = 0
        self.revoked_at = 0.0
        self.reload_pages()

    def reload_pages(self) -> None:
        for page in self.pages:
            page.load(self.mailbox)

    def do(self, operation: Operation) -> Applied | None:
        """Apply *operation* to the mailbox and to the model, and compare."""
        before, shown_before = self.mailbox, self.model.view()
        if self.is_refused(operation):
            with pytest.raises(TooManyCategories):
                apply(before, operation, now=self.now, limits=LIMITS)
            return None
        self.model.do(operation, before.v + 1, self.now)
        applied = apply(before, operation, now=self.now, limits=LIMITS)
        self.mailbox = applied.mailbox
        if self.model.view() == shown_before:
            assert applied.change is None
            assert (before.v, before.items) == (self.mailbox.v, self.mailbox.items)
        else:
            assert before.v + 1 == self.mailbox.v == applied.change.v
            assert self.mailbox.badge == applied.change.badge
            for page in self.pages:
                page.apply(applied.change, self.mailbox.items)
        assert self.mailbox.badge == applied.badge
        return applied

    def is_refused(self, operation: Operation) -> bool:
        match operation:
            case SetGauge(category=category, source_version=version):
                is_newer = self.model.gauges.get(category, (0, -1))[1] < version
                return is_newer and self.model.does_not_fit(category)
            case Notify(category=category):
                return self.model.does_not_fit(category)
        return False

    def do_once(self, operation: Notify | UserOps) -> None:
        """Apply the operation, unless its id was used in the last 24 hours."""
        key = (operation.by, operation.op_id)
        answer, time = self.model.results.get(key, (None, 0.0))
        if answer is not None and self.now - time < RETENTION:
            repeated = apply(self.mailbox, operation, now=self.now, limits=LIMITS)
            assert self.mailbox is repeated.mailbox
            assert (None, answer) == (repeated.change, (repeated.badge, repeated.item))
            return
        applied = self.do(operation)
        if applied is not None and operation.op_id is not None:
            self.model.store_result(key, (applied.badge, applied.item), self.now)

    @initialize(notes=st.lists(NOTES, max_size=4))
    def fill(self, notes: list[dict[str, Any]]) -> None:
        for note in notes:
            self.notify(note)

    @rule(note=NOTES)
    def notify(self, note: dict[str, Any]) -> None:
        self.names += 1
        if note["op_id"] == "":
            note = note | {"op_id": f"new {self.names}"}
        content = encode_content("t")
        self.do_once(Notify(id=str(self.names), content=content, **note))

    @rule(
        marks=st.lists(MARKS, min_size=1, max_size=3),
        removed=st.none() | st.tuples(st.integers(0, 3), st.sets(BACK)),
        op_id=st.sampled_from(["", "", "", "1", "2"]),
    )
    def mark(
        self, marks: list[Any], removed: tuple[int, set[int]] | None, op_id: str
    ) -> None:
        """Mark by id, or up to a version, and remove, in one call."""
        ops: list[Mark | Remove] = [
            Mark(
                flags=flags,
                ids=ids if ids is None else frozenset(str(self.names - i) for i in ids),
                upto=upto if upto is None else self.mailbox.v - upto,
                category=category,
            )
            for flags, ids, upto, category in marks
        ]
        if removed is not None:
            at, ids = removed
            gone = Remove(frozenset(str(self.names - number) for number in ids))
            ops.insert(at, gone)
        self.calls += 1
        op_id = op_id or f"new {self.calls}"
        self.do_once(UserOps(ops=tuple(ops), op_id=op_id))

    @rule(operation=RETRACTS | UPDATES | GAUGES | st.builds(DeleteGauge, NAMES))
    def retract_update_or_set_gauge(self, operation: Operation) -> None:
        self.do(operation)

    @rule(seconds=WAITS, expires=st.booleans())
    def wait(self, seconds: float, expires: bool) -> None:
        """Advance the time, with or without an `Expire`."""
        self.now += seconds
        if expires:
            self.do(Expire())

    @rule(end=ENDS)
    def end(self, end: Disconnect | Expire | DeleteUser) -> None:
        """Disconnect, revoke or delete the user."""
        before = self.mailbox
        if isinstance(end, DeleteUser):
            self.delete_user()
            return
        self.do(end)
        if isinstance(end, Disconnect):
            assert self.mailbox.disconnected_at > before.disconnected_at
            if end.revoke:
                self.revoked_at = self.now

    def delete_user(self) -> None:
        deletion = DeleteUser(f"e{int(self.mailbox.epoch[1:]) + 1}")
        deleted = apply(self.mailbox, deletion, now=self.now, limits=LIMITS)
        assert (None, 0) == (deleted.change, deleted.badge.v)
        self.mailbox, self.model, self.revoked_at = deleted.mailbox, Model(), 0.0
        self.reload_pages()

    @rule(only=st.none() | st.frozensets(NAMES), place=st.integers(1, 2))
    def open_page(self, only: Categories | None, place: int) -> None:
        self.pages[place] = Page(only)
        self.pages[place].load(self.mailbox)

    @invariant()
    def mailbox_equals_model(self) -> None:
        items = [document(item) for item in self.mailbox.items.values()]
        position = {"epoch": self.mailbox.epoch, "v": self.mailbox.v}
        seen, numbers = self.model.view()

        assert seen == items
        assert position | numbers == document(self.mailbox.badge)
        ends = [item["expires_at"] for item in seen if item["expires_at"] is not None]
        assert self.mailbox.due_at <= min(ends, default=inf)

    @invariant()
    def pages_equal_model(self) -> None:
        for page in self.pages:
            items, numbers = self.model.view(page.only)
            shown = {k: page.badge[k] for k in numbers}

            assert {item["id"]: item for item in items} == page.items
            assert numbers == shown
            assert page.badge["v"] <= self.mailbox.v
            assert self.mailbox.epoch == page.badge["epoch"]

    @invariant()
    def tokens_stay_revoked_for_a_day(self) -> None:
        revoked_at = min(self.revoked_at, self.now)
        is_old = self.now >= revoked_at + RETENTION
        revocation = self.mailbox.revocation
        for issued_at in (revoked_at - 1.0, revoked_at):
            refused = issued_at < revoked_at and not is_old
            assert refused is revocation.applies_to(issued_at, now=self.now)

    @invariant()
    def bounds_hold_and_items_are_in_order(self) -> None:
        items = list(self.mailbox.items.values())
        names = {item.category for item in items} | self.mailbox.gauges.keys()
        seqs = [item.seq for item in items]

        assert len(items) <= LIMITS.items
        assert sum(item.size for item in items) <= LIMITS.bytes
        assert len(names) <= LIMITS.categories
        assert sorted(set(seqs)) == seqs
        assert all(seq <= self.mailbox.v for seq in seqs)


class NightlyMailboxStateMachine(MailboxStateMachine):
    """The same test with many more examples."""


TestMailboxes = pytest.mark.slow(MailboxStateMachine.TestCase)
TestMailboxes.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None
)
TestNightlyMailboxes = pytest.mark.nightly(NightlyMailboxStateMachine.TestCase)
TestNightlyMailboxes.settings = settings(
    max_examples=10_000, stateful_step_count=50, deadline=None
)
