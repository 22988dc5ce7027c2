"""Named topics for an application that publishes and streams in one process."""

from .topic import MAX_NAME, MakeHistory, default_history
from .topic_stream import TopicStream
from .topics import EventToPublish, TooManyTopics, Topics

__all__ = [
    "MAX_NAME",
    "EventToPublish",
    "MakeHistory",
    "TooManyTopics",
    "TopicStream",
    "Topics",
    "default_history",
]
