"""The requests about topics: paths, and the body of a change of followers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, final

from msgspec import Meta, Struct, field

from ...domain.operations import Subscribe, Unsubscribe
from ...domain.revocation import MAX_TIME
from .fields import MAX_SEQ, MAX_USERS, Seq, Topic, User

Since = Annotated[float, Meta(ge=0, lt=MAX_TIME)] | Literal["now", "start"]
Users = Annotated[list[User], Meta(max_length=MAX_USERS)]


@final
class TopicPath(Struct, forbid_unknown_fields=True):
    """The path parameter of a topic."""

    topic: Topic


@final
class TopicQuery(Struct, forbid_unknown_fields=True):
    """The query of `GET /v1/topics/{topic}`."""

    before: Seq = MAX_SEQ
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


@final
class FollowersRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/topics/{topic}/followers`: 1 to 1,000 users together.

    A name is checked later: a bad one is a problem of that user alone.
    """

    add: Users = field(default_factory=list)
    remove: Users = field(default_factory=list)
    since: Since = "now"

    def __post_init__(self) -> None:
        """Raise `ValueError` for no user, too many, and one in both lists."""
        if not 1 <= len(self.add) + len(self.remove) <= MAX_USERS:
            raise ValueError(f"expected 1 to {MAX_USERS} users in add and remove")
        if not set(self.add).isdisjoint(self.remove):
            raise ValueError("expected no user in both add and remove")

    def fields(self) -> Iterator[tuple[str, str]]:
        """Yield each name with the path of its field."""
        for name, users in (("add", self.add), ("remove", self.remove)):
            for number, user in enumerate(users):
                yield f"{name}[{number}]", user

    def operations(self, topic: str) -> dict[str, Subscribe | Unsubscribe]:
        """Return the operation on the mailbox of each user."""
        subscribe = Subscribe(topic=topic, since=self.since)
        added: dict[str, Subscribe | Unsubscribe] = dict.fromkeys(self.add, subscribe)
        return added | dict.fromkeys(self.remove, Unsubscribe(topic))
