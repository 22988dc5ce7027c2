"""What users had of topics, for the rules of `support.topic_world`."""

from __future__ import annotations

import attrs

from roundel_service.domain.changes import Added, Change, Removed
from roundel_service.domain.operations import (
    ClaimTopics,
    DeleteUser,
    Operation,
    Subscribe,
)
from roundel_service.domain.record import Record
from support.topic_rules import check_page, copies, follows

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


def after_topic(ghost: TopicGhost, changes: list[Change], after: Record) -> TopicGhost:
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


def after_operation(
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


def after_pull(
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
    check_page(before, after, changes)
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
