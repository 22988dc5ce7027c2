"""The topics that this node watches for its open streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final
from weakref import WeakValueDictionary

import attrs

from ..domain.names import ALL_MAILBOX, topic_mailbox
from .channel import TopicChannel, UserChannel


@final
@attrs.define(eq=False)
class WatchedTopics:
    """The topic `ALL`, and each other topic that one of *channels* follows.

    A channel's record says what its user follows, so there is no second register of
    followers that could differ from it. *by_name* maps the names of the topics'
    mailboxes to topic channels.
    """

    channels: Mapping[str, UserChannel]
    by_name: WeakValueDictionary[str, TopicChannel] = attrs.field(
        factory=WeakValueDictionary, init=False
    )
    _all: TopicChannel = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._all = self._watch(ALL_MAILBOX)

    def has_followers(self, name: str) -> bool:
        """Return whether a channel of this node follows the topic mailbox *name*."""
        return bool(self.channels) if name == ALL_MAILBOX else name in self.by_name

    def followers(self, topic: TopicChannel) -> list[str]:
        """Return the users with a channel that follow *topic*."""
        if topic is self._all:
            return list(self.channels)
        return [channel.user for channel in topic.followers]

    def follow(self, channel: UserChannel) -> tuple[TopicChannel, ...]:
        """Watch the topics that the user of *channel* follows now; return them."""
        if not self.is_current(channel):
            names = _followed(channel)
            for left in channel.topics:
                left.followers.discard(channel)
            channel.topics = tuple(
                self.by_name.get(name) or self._watch(name) for name in names
            )
            for topic in channel.topics:
                topic.followers.add(channel)
        return (self._all, *channel.topics)

    def is_current(self, channel: UserChannel) -> bool:
        """Return whether the topics of *channel* are those of its record."""
        return {topic.name for topic in channel.topics} == _followed(channel)

    def _watch(self, name: str) -> TopicChannel:
        topic = TopicChannel(name)
        self.by_name[name] = topic
        return topic


def _followed(channel: UserChannel) -> set[str]:
    names = map(topic_mailbox, channel.record.mailbox.subscriptions)
    return {name for name in names if name != ALL_MAILBOX}
