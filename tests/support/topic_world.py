"""Users and topics, and what must hold after any operation on them.

The names of the rules are those of the errors:
FOLD: the badge is what a reader would count in the items.
STEP: versions follow each other, and no two items have one `seq`.
TWICE: no appearance in a topic is pulled twice.
SKIP: no appearance is left out; `more` says so if a topic evicted it.
BACK: no copy is held that its topic does not hold, or with another text.
OTHERS: a pull replaces and retracts no item of another origin.
PAGE: a page that applies the changes shows the mailbox.
AGAIN: a second look changes nothing.
TIME: nothing is held beyond its end, and nothing waits beyond its time.
"""

from __future__ import annotations

import attrs
from msgspec.structs import replace

from roundel_service.documents import step_documents
from roundel_service.domain.change_log import ChangeLog
from roundel_service.domain.changes import Added, Change, Removed
from roundel_service.domain.items import Item, MailboxLimits
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.names import is_topic_mailbox
from roundel_service.domain.operations import (
    ClaimTopics,
    DeleteUser,
    Operation,
    Refresh,
    StartNewEpoch,
    Subscribe,
)
from roundel_service.domain.record import Record, RecordLimits, needs_topics
from roundel_service.domain.refusals import OperationRefused
from support.documents import document, plain

TOPICS = ("#all", "#t")
USERS = ("ann", "bob")
LIMITS = RecordLimits(
    mailbox=MailboxLimits(items=6, waiting=4, categories=4),
    topic=MailboxLimits(items=3, waiting=3, categories=4),
    change_log_size=500,
)
TOPIC_CHANGES = 3
"""Number of changes of a topic that its followers see."""

Appearances = frozenset[tuple[str, str]]
"""Ids of items, each with the epoch in which it appeared."""


@attrs.frozen
class TopicGhost:
    """What a topic had: the current epoch of each item, and all appearances."""

    epochs: dict[str, str] = attrs.field(factory=dict)
    ever: Appearances = frozenset()
    evicted: Appearances = frozenset()


@attrs.frozen
class UserGhost:
    """What a user had of each topic: appearances that were pulled or may be missing."""

    pulled: dict[str, Appearances] = attrs.field(factory=dict)
    excused: dict[str, Appearances] = attrs.field(factory=dict)

    def missing(self, topic: str, appearances: Appearances) -> Appearances:
        """Return those of *appearances* that the user should have."""
        none: Appearances = frozenset()
        return (
            appearances - self.pulled.get(topic, none) - self.excused.get(topic, none)
        )

    def excuse(self, topic: str, appearances: Appearances) -> UserGhost:
        """Return the ghost of a user that need not have *appearances*."""
        before = self.excused.get(topic, frozenset())
        return attrs.evolve(self, excused={**self.excused, topic: before | appearances})

    def pull(self, topic: str, appearance: tuple[str, str]) -> UserGhost:
        """Return the ghost of a user that has pulled *appearance*."""
        before = self.pulled.get(topic, frozenset())
        assert appearance not in before, f"TWICE: {appearance} of {topic}"
        return attrs.evolve(self, pulled={**self.pulled, topic: before | {appearance}})


State = tuple[Record, TopicGhost | UserGhost]


@attrs.define
class World:
    """The stored states of all names; *history* has the earlier ones."""

    now: float = 0.0
    states: dict[str, State] = attrs.field(factory=dict)
    history: dict[str, list[State]] = attrs.field(factory=dict)
    epochs: int = 0

    def __attrs_post_init__(self) -> None:
        for name in (*USERS, *TOPICS):
            ghost = TopicGhost() if is_topic_mailbox(name) else UserGhost()
            self.states[name] = Record(Mailbox(epoch=f"{name} 0")), ghost
            self.history[name] = [self.states[name]]

    def record(self, name: str) -> Record:
        return self.states[name][0]

    def new_epoch(self) -> str:
        self.epochs += 1
        return f"epoch {self.epochs}"

    def do(self, name: str, operation: Operation, *, sees_topics: bool = True) -> None:
        """Apply *operation* to the mailbox *name*, and check what it led to."""
        before = self.record(name)
        topics = self._topics(name, operation)
        if not sees_topics and not needs_topics(operation):
            topics = {}
        scope = {"now": self.now, "limits": LIMITS.of(name), "topics": topics}
        try:
            after, applied = before.apply(operation, **scope)
        except OperationRefused:
            after = before.refresh(**scope)
        else:
            assert applied.mailbox is after.mailbox
        self._store(name, after, topics, operation)

    def look(self, name: str) -> Record:
        """Bring a mailbox up to date."""
        self.do(name, Refresh())
        return self.record(name)

    def look_with_old_topics(self, name: str, age: int) -> None:
        """Pull from topics as they were, in the epoch that the user has seen last."""
        topics = {}
        for topic in TOPICS:
            subscription = self.record(name).mailbox.subscriptions.get(topic[1:])
            state = self.history[topic][-1 - age % len(self.history[topic])]
            position = () if subscription is None else subscription.position[-1:]
            is_seen = [epoch for epoch, _ in position] == [state[0].mailbox.epoch]
            if is_seen and not state[0].is_due(self.now):
                topics[topic] = state
        records = {topic: trimmed(record) for topic, (record, _) in topics.items()}
        limits = LIMITS.of(name)
        after = self.record(name).refresh(now=self.now, limits=limits, topics=records)
        self._store(name, after, records, None, {t: s[1] for t, s in topics.items()})

    def fail_over(self, name: str, lost: int) -> None:
        """Lose the latest *lost* states of a mailbox, and start a new epoch."""
        history = self.history[name]
        del history[max(1, len(history) - lost) :]
        record, ghost = history[-1]
        renewal = StartNewEpoch(self.new_epoch())
        renewed, _ = record.apply(renewal, now=self.now, limits=LIMITS.of(name))
        self._keep(name, (renewed, ghost))

    def _keep(self, name: str, state: State) -> None:
        self.states[name] = state
        self.history[name] = [*self.history[name], state][-9:]

    def _topics(self, name: str, operation: Operation) -> dict[str, Record]:
        if is_topic_mailbox(name):
            return {}
        names = self.record(name).topics(operation)
        return {topic: trimmed(self.look(topic)) for topic in sorted(names)}

    def _store(
        self,
        name: str,
        after: Record,
        topics: dict[str, Record],
        operation: Operation | None,
        ghosts: dict[str, TopicGhost] | None = None,
    ) -> None:
        before, ghost = self.states[name]
        if ghosts is None:
            ghosts = {topic: self.states[topic][1] for topic in topics}
        check_mailbox(after.mailbox, self.now, operation)
        changes = new_changes(before, after)
        if isinstance(ghost, TopicGhost):
            ghost = _after_topic(ghost, changes, after)
        else:
            ghost = _after_operation(ghost, operation, before, after, topics, ghosts)
            ghost = _after_pull(ghost, before, after, changes, topics, ghosts)
            current = topics if operation is not None else {}
            self._check_user(name, ghost, after, current)
        if after is not before:
            self._keep(name, (after, ghost))
        else:
            self.states[name] = after, ghost

    def _check_user(
        self, name: str, ghost: UserGhost, after: Record, topics: dict[str, Record]
    ) -> None:
        limits = LIMITS.of(name)
        again = after.refresh(now=self.now, limits=limits, topics=topics)
        assert again is after, f"AGAIN: {new_changes(after, again)}"
        assert not after.is_behind(topics), "AGAIN: is_behind() without news"
        check_copies(after.mailbox, topics)
        held = {copy.id for copy in copies(after.mailbox)}
        for topic, record in topics.items():
            if follows(after.mailbox, topic):
                epochs = self.states[topic][1].epochs
                subscription = after.mailbox.subscriptions.get(topic[1:])
                there = frozenset(
                    (item.id, epochs[item.id])
                    for item in record.mailbox.items.values()
                    if subscription is None or subscription.includes(item.created_at)
                )
                missing = {
                    one for one in ghost.missing(topic, there) if one[0] not in held
                }
                assert not missing, f"SKIP: {name} never had {missing} of {topic}"


def trimmed(record: Record) -> Record:
    """Return a topic's record as its followers see it."""
    changes = record.changes[-TOPIC_CHANGES:]
    return replace(record, changes=ChangeLog(changes))


def new_changes(before: Record, after: Record) -> list[Change]:
    """Return the changes that led from *before* to *after*, and check their order."""
    changes = list(after.changes.since(before.mailbox.v))
    if before.mailbox.epoch != after.mailbox.epoch:
        return []
    versions = [change.v for change in changes]
    expected = list(range(before.mailbox.v + 1, after.mailbox.v + 1))
    assert expected == versions, f"STEP: {versions} after {before.mailbox.v}"
    for change in changes:
        added = [step for step in change.steps if isinstance(step, Added)]
        assert len(added) <= 1, f"STEP: {added} at one version"
        assert all(step.seq == change.v for step in added), f"STEP: {added}"
    return changes


def copies(mailbox: Mailbox) -> list[Item]:
    """Return the items that were pulled, also those that wait."""
    waiting = (each.item for each in mailbox.waiting.values())
    held = (*mailbox.items.values(), *waiting)
    return [item for item in held if item.topic is not None]


def follows(mailbox: Mailbox, topic: str) -> bool:
    """Return whether the user of *mailbox* follows the topic of a mailbox."""
    return topic == "#all" or topic[1:] in mailbox.subscriptions


def check_mailbox(mailbox: Mailbox, now: float, operation: Operation | None) -> None:
    """Check what must hold for a mailbox by itself."""
    assert count(mailbox) == plain_badge(mailbox), "FOLD"
    seqs = [item.seq for item in mailbox.items.values()]
    assert sorted(set(seqs)) == seqs, f"STEP: {seqs}"
    assert all(seq <= mailbox.v for seq in seqs), f"STEP: {seqs} at {mailbox.v}"
    assert not mailbox.items.keys() & mailbox.waiting.keys(), "TIME: waits and is there"
    if not isinstance(operation, (DeleteUser, StartNewEpoch)):
        waiting = [each.item for each in mailbox.waiting.values()]
        ends = [i.expires_at for i in (*mailbox.items.values(), *waiting)]
        assert all(end is None or end > now for end in ends), "TIME: expired"
        untils = [each.until for each in mailbox.waiting.values()]
        assert all(until > now for until in untils), "TIME: waits too long"


def count(mailbox: Mailbox) -> dict[str, tuple[int, int]]:
    """Count the unread and unseen items by a loop."""
    by: dict[str, tuple[int, int]] = {}
    for item in mailbox.items.values():
        is_muted = item.category in mailbox.muted.categories
        is_muted = is_muted or item.topic in mailbox.muted.topics
        if not (item.read or item.archived or is_muted):
            unread, unseen = by.get(item.category, (0, 0))
            by[item.category] = unread + 1, unseen + (not item.seen)
    return by


def plain_badge(mailbox: Mailbox) -> dict[str, tuple[int, int]]:
    by = mailbox.badge.by
    assert sum(one.unread for one in by.values()) == mailbox.badge.unread, "FOLD"
    return {name: (one.unread, one.unseen) for name, one in by.items()}


def check_copies(mailbox: Mailbox, topics: dict[str, Record]) -> None:
    """Check that each copy is that of an item that its topic still holds."""
    for copy in copies(mailbox):
        topic = f"#{copy.topic}"
        assert follows(mailbox, topic), f"BACK: {copy.id} of {topic}, which was left"
        if topic in topics:
            original = topics[topic].mailbox.items.get(copy.id)
            assert original is not None, f"BACK: {copy.id} is not in {topic}"
            texts = copy.content, copy.expires_at
            assert texts == (original.content, original.expires_at), f"BACK: {copy.id}"


def _after_topic(ghost: TopicGhost, changes: list[Change], after: Record) -> TopicGhost:
    """Return the ghost of a topic after *changes*."""
    epochs, ever, evicted = dict(ghost.epochs), set(ghost.ever), set(ghost.evicted)
    for change in changes:
        for step in change.steps:
            if isinstance(step, Added):
                epochs[step.id] = after.mailbox.epoch
                ever.add((step.id, after.mailbox.epoch))
            if isinstance(step, Removed) and step.reason == "evicted":
                evicted |= {(id_, epochs[id_]) for id_ in step.ids}
    return TopicGhost(epochs, frozenset(ever), frozenset(evicted))


def _after_operation(
    ghost: UserGhost,
    operation: Operation | None,
    before: Record,
    after: Record,
    topics: dict[str, Record],
    ghosts: dict[str, TopicGhost],
) -> UserGhost:
    """Return the ghost after a subscription or the deletion of the user."""
    if isinstance(operation, DeleteUser):
        return UserGhost().excuse("#all", ghosts["#all"].ever)
    named: tuple[str, ...] = ()
    if isinstance(operation, Subscribe):
        named = (operation.topic,)
    if isinstance(operation, ClaimTopics):
        named = tuple(operation.topics)
    for name in named:
        held = after.mailbox.subscriptions.get(name)
        if held is not None and name not in before.mailbox.subscriptions:
            topic = f"#{name}"
            had = ghosts[topic]
            excused = had.ever if held.since == "now" else had.evicted
            if isinstance(held.since, float):
                late = _created_since(held.since, topics[topic])
                excused = frozenset(one for one in had.ever if one[0] not in late)
            pulled = {**ghost.pulled, topic: frozenset[tuple[str, str]]()}
            ghost = UserGhost(pulled, {**ghost.excused, topic: excused})
    return ghost


def _created_since(time: float, topic: Record) -> set[str]:
    items = topic.mailbox.items.values()
    return {item.id for item in items if item.created_at >= time}


def _after_pull(
    ghost: UserGhost,
    before: Record,
    after: Record,
    changes: list[Change],
    topics: dict[str, Record],
    ghosts: dict[str, TopicGhost],
) -> UserGhost:
    """Return the ghost after *changes*, and check what was pulled."""
    waiting = (each.item for each in before.mailbox.waiting.values())
    held = (*before.mailbox.items.values(), *waiting)
    origins = {item.id: item.topic for item in held}
    for change in changes:
        for step in change.steps:
            if isinstance(step, Added):
                topic = _topic_of(step.id, topics)
                origins.setdefault(step.id, topic and topic[1:])
                if change.operation == "pull":
                    appearance = step.id, ghosts[topic].epochs[step.id]
                    ghost = ghost.pull(topic, appearance)
            elif isinstance(step, Removed) and change.operation == "pull":
                others = [i for i in step.ids if origins.get(i, "") is None]
                is_evicted = step.reason == "evicted"
                assert is_evicted or not others, f"OTHERS: {others} {step.reason}"
    _check_page(before, after, changes)
    for topic, record in topics.items():
        if follows(after.mailbox, topic):
            held = {
                copy.id for copy in (*copies(before.mailbox), *copies(after.mailbox))
            }
            _check_more(ghost.missing(topic, ghosts[topic].evicted), after, changes)
            ghost = _excused(ghost, topic, record, ghosts[topic], held)
    return ghost


def _topic_of(id_: str, topics: dict[str, Record]) -> str | None:
    return next((t for t, r in topics.items() if id_ in r.mailbox.items), None)


def _check_more(missed: Appearances, after: Record, changes: list[Change]) -> None:
    """Check that `more` reports *missed* appearances, which a topic evicted."""
    badges = [*(change.badge for change in changes), after.badge]
    is_reported = any(badge.more or not badge.unread for badge in badges)
    assert is_reported or not missed, f"SKIP: `more` does not report {missed}"


def _excused(
    ghost: UserGhost,
    topic: str,
    record: Record,
    topic_ghost: TopicGhost,
    held: set[str],
) -> UserGhost:
    """Excuse appearances that came and went, and those of items that are *held*."""
    epochs = topic_ghost.epochs
    there = {(id_, epochs[id_]) for id_ in record.mailbox.items}
    kept = {one for one in there if one[0] in held}
    return ghost.excuse(topic, frozenset((topic_ghost.ever - there) | kept))


def _check_page(before: Record, after: Record, changes: list[Change]) -> None:
    """Check that a page that applies *changes* shows the mailbox."""
    if before.mailbox.epoch != after.mailbox.epoch:
        return
    items = after.mailbox.items
    page = {item.id: document(item) for item in before.mailbox.items.values()}
    for change in changes:
        for step in plain(step_documents(change.steps, items)):
            match step:
                case {"add": item} | {"update": item}:
                    page[item["id"]] = item
                case {"set": ids, **flags}:
                    for id_ in ids:
                        if id_ in page:
                            page[id_] |= flags
                case {"remove": ids}:
                    for id_ in ids:
                        page.pop(id_, None)
    shown = [document(item) for item in items.values()]
    assert sorted(page.values(), key=lambda item: item["seq"]) == shown, "PAGE"
    if changes:
        assert changes[-1].badge == after.mailbox.badge, "PAGE: badge"
