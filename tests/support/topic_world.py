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

from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.names import is_topic_mailbox
from roundel_service.domain.operations import (
    Operation,
    Refresh,
    StartNewEpoch,
)
from roundel_service.domain.record import Record, RecordLimits, needs_topics
from roundel_service.domain.refusals import OperationRefused
from support.topic_ghosts import (
    TopicGhost,
    UserGhost,
    after_operation,
    after_pull,
    after_topic,
)
from support.topic_rules import (
    check_copies,
    check_mailbox,
    copies,
    follows,
    new_changes,
    trimmed,
)

TOPICS = ("#all", "#t")
USERS = ("ann", "bob")
LIMITS = RecordLimits(
    mailbox=MailboxLimits(items=6, waiting=4, categories=4),
    topic=MailboxLimits(items=3, waiting=3, categories=4),
    change_log_size=500,
)


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
            ghost = after_topic(ghost, changes, after)
        else:
            ghost = after_operation(ghost, operation, before, after, topics, ghosts)
            ghost = after_pull(ghost, before, after, changes, topics, ghosts)
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
