"""Builds the next version of a mailbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, assert_never, final

from msgspec import Struct, field
from msgspec.structs import replace

from .changes import Added, Flagged, RemovalReason, Removed, Step, Updated
from .item_edits import (
    edited_copy,
    edited_item,
    expiry_of,
    final_flags,
    has_key_of,
    has_same_key,
    is_expired,
    is_replaced,
    new_item,
    updated_item,
    with_flags,
)
from .item_list import ItemList
from .items import ExternalCount, Item, MailboxLimits, total_size
from .names import ALL
from .operations import (
    Appear,
    ClaimTopics,
    DeleteGauge,
    Expire,
    Mark,
    Notify,
    Pull,
    Remove,
    Retract,
    SetGauge,
    SetMuted,
    Subscribe,
    Unsubscribe,
    Update,
    UserOps,
)
from .refusals import TooManyCategories, TooManySubscriptions, TooManyWaiting
from .subscriptions import (
    Muted,
    Since,
    Subscription,
    SubscriptionSource,
    TopicHead,
    subscribe,
)
from .waiting import Waiting, next_due, waits_of

ContentOperation: TypeAlias = (
    Notify
    | Update
    | UserOps
    | Retract
    | SetGauge
    | DeleteGauge
    | Subscribe
    | Unsubscribe
    | ClaimTopics
    | SetMuted
    | Expire
    | Appear
    | Pull
)


@final
class MailboxBuilder(Struct, kw_only=True):
    """A mutable copy of a mailbox that collects the steps of its change."""

    v: int
    items: ItemList
    gauges: dict[str, ExternalCount]
    waiting: dict[str, Waiting]
    subscriptions: dict[str, Subscription]
    muted: Muted
    claimed_at: float
    evicted_upto: int
    more: bool
    due_at: float
    size: int
    topics: Mapping[str, TopicHead] = field(default_factory=dict)
    """The topics to which the operation may subscribe, by name."""
    steps: list[Step] = field(default_factory=list)
    item_id: str | None = None
    """The id of the item that a `Notify` has added or changed."""
    waiting_ids: list[str] = field(default_factory=list)
    """The ids of waiting items that a `Retract` has removed or an `Update` changed."""

    def apply(
        self,
        operation: ContentOperation,
        now: float,
        limits: MailboxLimits,
    ) -> None:
        """Apply *operation*; discard the builder if this raises `OperationRefused`."""
        match operation:
            case Notify():
                self._check_category(operation.category, limits)
                self._notify(operation, now, limits)
            case Update():
                self._update(operation, now, limits)
            case UserOps(ops=ops):
                # Marks of an item that is removed have no effect, in any order.
                self._remove_ids([op for op in ops if isinstance(op, Remove)])
                self._snooze(operation, now, limits)
                self._mark([op for op in ops if isinstance(op, Mark)])
            case Retract():
                self._retract(operation)
            case SetGauge(category=category):
                self._check_category(category, limits)
                gauge = ExternalCount(operation.count, operation.source_version)
                self.gauges[category] = gauge
            case DeleteGauge(category=category):
                self.gauges.pop(category, None)
            case Subscribe(topic=topic, since=since):
                self._check_topic(topic, limits)
                self._subscribe(topic, since, "producer")
            case Unsubscribe(topic=topic):
                self._unsubscribe([topic])
            case ClaimTopics():
                self._claim(operation)
            case SetMuted(muted=muted):
                self.muted = muted
            case Expire():
                self._expire(now)
            case Appear(id=id_):
                self._appear(self.waiting.pop(id_), limits)
            case Pull():
                self._pull(operation, limits)
            case _:
                assert_never(operation)

    def _check_category(self, category: str, limits: MailboxLimits) -> None:
        if self.items.has_counted(category) or category in self.gauges:
            return
        held = (*self.items.values(), *(each.item for each in self.waiting.values()))
        known = {item.category for item in held} | self.gauges.keys()
        if category in known:
            return
        if len(known) >= limits.categories:
            raise TooManyCategories(
                f"expected at most {limits.categories} categories, "
                f"{category!r} is one more"
            )

    def _notify(self, operation: Notify, now: float, limits: MailboxLimits) -> None:
        if operation.at is not None and operation.at > now:
            self._schedule(operation, operation.at, limits)
            return
        if operation.quiet:
            for item in self.items.values():
                if has_key_of(item, operation) and item.id != operation.replaces:
                    self._change_quietly(item, operation, now, limits)
                    return
        item = new_item(operation, now)
        self._replace_by(item, operation.replaces)
        self._add(item, limits)
        self.item_id = item.id

    def _change_quietly(
        self, held: Item, operation: Notify, now: float, limits: MailboxLimits
    ) -> None:
        self.item_id = held.id
        if operation.replaces is not None:
            others = (*self.items.values(), *self._waiting_items())
            ids = [i.id for i in others if is_replaced(i, held, operation.replaces)]
            self._remove_all(ids, "replaced")
        changed = replace(
            held,
            content=operation.content,
            source=operation.source,
            expires_at=expiry_of(operation, now),
            size=operation.size,
        )
        if (edited := edited_item(held, changed, now)) is not None:
            self._edit([edited])
        self._evict(limits)

    def _schedule(self, operation: Notify, at: float, limits: MailboxLimits) -> None:
        """Let the item of *operation* wait; it replaces what is scheduled already.

        What it replaces in the list is replaced when it appears.
        """
        for id_, each in list(self.waiting.items()):
            is_same = id_ == operation.replaces or has_key_of(each.item, operation)
            if is_same and not each.is_snoozed:
                del self.waiting[id_]
        item = new_item(operation, at)
        self._wait(Waiting(until=at, item=item, replaces=operation.replaces))
        self._check_waiting(limits)
        self.item_id = item.id

    def _wait(self, waiting: Waiting) -> None:
        self.waiting[waiting.item.id] = waiting
        self._note_due(waiting.until, waiting.item.expires_at)

    def _check_waiting(self, limits: MailboxLimits) -> None:
        size = total_size(each.item for each in self.waiting.values())
        if len(self.waiting) > limits.waiting or size > limits.bytes:
            raise TooManyWaiting(
                f"expected at most {limits.waiting} items that wait, "
                f"of {limits.bytes} bytes"
            )

    def _add(self, item: Item, limits: MailboxLimits) -> None:
        """Let *item* appear as new."""
        self._evict(limits, count=1, size=item.size)
        item = replace(item, seq=self.v, seen=False, read=False, archived=False)
        self.items = self.items.append(item)
        self.size += item.size
        self._note_due(item.expires_at)
        self.steps.append(Added(item.id, item.category, item.seq))

    def _replace_by(self, item: Item, replaces: str | None) -> None:
        """Remove what the new *item* replaces, also what waits: that would be older."""
        key = item.key
        if key is None and replaces is None:
            return
        # Most items have another key: one comparison for each of them.
        held = [
            other
            for other in self.items.values()
            if (other.key == key and has_same_key(other, item))
            or is_replaced(other, item, replaces)
        ]
        self._remove(held, "replaced")
        for other in self._waiting_items():
            if has_same_key(other, item) or is_replaced(other, item, replaces):
                del self.waiting[other.id]

    def _waiting_items(self) -> list[Item]:
        return [each.item for each in self.waiting.values()]

    def _note_due(self, *times: float | None) -> None:
        for time in times:
            if time is not None:
                self.due_at = min(self.due_at, time)

    def _remove_all(self, ids: Iterable[str], reason: RemovalReason) -> list[str]:
        """Remove the items with *ids*; return the ids of waiting items."""
        names = list(ids)
        self._remove([self.items[id_] for id_ in names if id_ in self.items], reason)
        return [id_ for id_ in names if self.waiting.pop(id_, None) is not None]

    def _retract(self, retract: Retract) -> None:
        held = (*self.items.values(), *self._waiting_items())
        ids = [item.id for item in held if retract.selects(item)]
        self.waiting_ids += self._remove_all(ids, "retracted")

    def _expire(self, now: float) -> None:
        held = (*self.items.values(), *self._waiting_items())
        self._remove_all([i.id for i in held if is_expired(i, now)], "expired")
        self.due_at = next_due(self.items.values(), self.waiting)

    def _appear(self, waiting: Waiting, limits: MailboxLimits) -> None:
        # A snoozed item that returns is older than what is scheduled with its key.
        if not waiting.is_snoozed:
            self._replace_by(waiting.item, waiting.replaces)
        self._add(waiting.item, limits)
        self.due_at = next_due(self.items.values(), self.waiting)

    def _remove(self, items: Sequence[Item], reason: RemovalReason) -> None:
        ids = {item.id: item.category for item in items}
        if ids:
            self.size -= total_size(items)
            self.items = self.items.without(ids)
            self.steps.append(Removed(ids, reason))

    def _update(self, update: Update, now: float, limits: MailboxLimits) -> None:
        edited = [
            changed
            for item in filter(update.which.selects, self.items.values())
            if (changed := updated_item(item, update, now, sent_at=now)) is not None
        ]
        self._edit(edited)
        for item in filter(update.which.selects, self._waiting_items()):
            waiting = self.waiting[item.id]
            sent_at = now if waiting.is_snoozed else waiting.until
            changed = updated_item(item, update, now, sent_at=sent_at)
            if changed is not None:
                self._wait(replace(waiting, item=changed))
                self._check_waiting(limits)
                self.waiting_ids.append(item.id)
        self._evict(limits)

    def _edit(self, edited: Sequence[Item]) -> None:
        """Put each of the *edited* items in the place of the one with its id."""
        if not edited:
            return
        for item in edited:
            self.size += item.size - self.items[item.id].size
            self._note_due(item.expires_at)
        self.items = self.items.changed({item.id: item for item in edited})
        self.steps.append(Updated({item.id: item.category for item in edited}))

    def _remove_ids(self, removals: Sequence[Remove]) -> None:
        """Remove what the user sees: not what a producer has scheduled."""
        ids = frozenset[str]().union(*(removal.ids for removal in removals))
        scheduled = {id_ for id_, each in self.waiting.items() if not each.is_snoozed}
        held = (*self.items, *self.waiting)
        self._remove_all([i for i in held if i in ids - scheduled], "removed")

    def _snooze(self, operation: UserOps, now: float, limits: MailboxLimits) -> None:
        waits = waits_of(operation)
        untils = {id_: until for id_, until in waits.items() if until is not None}
        if not untils:
            return
        # An item that is snoozed already gets the new time.
        snoozed = [each.item for each in self.waiting.values() if each.is_snoozed]
        items = [item for item in self.items.values() if item.id in untils]
        self._remove(items, "snoozed")
        for item in (*items, *(item for item in snoozed if item.id in untils)):
            until = max(now, untils[item.id])
            self._wait(Waiting(until=until, item=item, is_snoozed=True))
        self._check_waiting(limits)

    def _check_topic(self, topic: str, limits: MailboxLimits) -> None:
        if topic == ALL or topic in self.subscriptions:
            return
        # All users follow `all`, also before their mailbox has a position in it.
        if len(self.subscriptions.keys() - {ALL}) >= limits.topics:
            raise TooManySubscriptions(f"expected at most {limits.topics} topics")

    def _subscribe(self, topic: str, since: Since, by: SubscriptionSource) -> None:
        held = self.subscriptions.get(topic)
        if held is None:
            self.subscriptions[topic] = subscribe(self.topics[topic], since, by)
        elif by == "producer":
            self.subscriptions[topic] = replace(held, by=by)

    def _unsubscribe(self, topics: Iterable[str]) -> None:
        left = {name for name in topics if name != ALL and name in self.subscriptions}
        for name in left:
            del self.subscriptions[name]
        held = (*self.items.values(), *self._waiting_items())
        self._remove_all([item.id for item in held if item.topic in left], "left")

    def _claim(self, claim: ClaimTopics) -> None:
        if claim.issued_at < self.claimed_at:
            return
        self.claimed_at = claim.issued_at
        self._unsubscribe(
            name
            for name, held in self.subscriptions.items()
            if held.by == "token" and name not in claim.topics
        )
        for name, time in claim.topics.items():
            self._subscribe(name, time or "start", "token")

    def _pull(self, pull: Pull, limits: MailboxLimits) -> None:
        # Of a muted topic nothing counts, whether it was pulled or not.
        self.more |= pull.is_incomplete and pull.topic not in self.muted.topics
        for reason, ids in pull.removed.items():
            if reason == "evicted":
                held = (self.items[id_] for id_ in ids if id_ in self.items)
                self.more |= any(map(self._is_counted, held))
            self._remove_all(ids, reason)
        self._edit_copies(pull.updated, limits)
        if pull.added is not None:
            copy = replace(pull.added, topic=pull.topic)
            self._replace_by(copy, None)
            self._add(copy, limits)

    def _edit_copies(self, originals: Iterable[Item], limits: MailboxLimits) -> None:
        edited = []
        for original in originals:
            if original.id in self.items:
                edited.append(edited_copy(self.items[original.id], original))
            else:
                waiting = self.waiting[original.id]
                copy = edited_copy(waiting.item, original)
                self._wait(replace(waiting, item=copy))
        if edited:
            self._edit(edited)
            self._evict(limits)

    def _is_counted(self, item: Item) -> bool:
        return item.is_counted and not self.muted.covers(item.category, item.topic)

    def _evict(self, limits: MailboxLimits, *, count: int = 0, size: int = 0) -> None:
        evicted = self.items.oldest(
            count=len(self.items) + count - limits.items,
            size=self.size + size - limits.bytes,
        )
        if not evicted:
            return
        self.more |= any(map(self._is_counted, evicted))
        self.evicted_upto = evicted[-1].seq
        self.size -= total_size(evicted)
        self.items = self.items.without_oldest(len(evicted))
        ids = {item.id: item.category for item in evicted}
        self.steps.append(Removed(ids, "evicted"))

    def _markable(self, marks: Sequence[Mark]) -> Iterable[Item]:
        """Return the items that *marks* may select; most marks name a few ids."""
        named = [mark.ids for mark in marks if mark.ids is not None]
        if len(named) < len(marks):
            return self.items.values()
        ids = frozenset[str]().union(*named)
        return [item for item in self.items.values() if item.id in ids]

    def _mark(self, marks: Sequence[Mark]) -> None:
        """Set the flags; the change contains only their final values."""
        if not marks:
            return
        # Each item occurs at most once in a change, so the size of a change is
        # bounded by the mailbox and not by the number of marks.
        changed: dict[frozenset[tuple[str, bool]], dict[str, str]] = {}
        marked: dict[str, Item] = {}
        for item in self._markable(marks):
            flags = final_flags(item, marks)
            if any(getattr(item, name) is not on for name, on in flags.items()):
                marked[item.id] = with_flags(item, flags)
                ids = changed.setdefault(frozenset(flags.items()), {})
                ids[item.id] = item.category
        if marked:
            self.items = self.items.changed(marked)
        self.steps += [
            Flagged(ids, dict(sorted(flags))) for flags, ids in changed.items()
        ]
