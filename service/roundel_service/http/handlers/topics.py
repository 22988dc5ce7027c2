"""Handlers of topics and of the users who follow them."""

from __future__ import annotations

from operator import attrgetter
from typing import final

import attrs

from ...documents import encoded_waiting_item
from ...domain.mailbox import Applied, Mailbox
from ...domain.names import ALL, topic_mailbox
from ...domain.operations import Retract
from ...engines.base import MailboxDamaged
from ...streams.events import item_page
from ...streams.hub import Hub
from ...streams.retraction import Retracted
from .. import decoding, schemas
from ..access_control import AccessControl
from ..explanation import explain
from ..messages import Request, Response, json_response
from ..problems import Problem, invalid_request
from ..responses import FieldError
from ..schemas.topic_responses import (
    DeleteTopicResponse,
    FollowerResult,
    FollowersResponse,
    SubscriptionDocument,
    TopicResponse,
    UserTopicsResponse,
)
from .publishing import badge_total, recipient_results


@final
@attrs.frozen
class TopicHandlers:
    """Handlers that read topics, empty them, and change their followers."""

    hub: Hub
    access: AccessControl

    async def followers(self, request: Request) -> Response:
        """Let users follow the topic in the path, or leave it."""
        producer = await self.access.authenticate_producer(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        topic = decoding.decode_path(request.params, schemas.TopicPath).topic
        body = await decoding.read_body(request, schemas.FollowersRequest)
        if topic == ALL and body.remove:
            detail = "all cannot be left: a user can mute it"
            raise invalid_request(FieldError("remove", detail))
        users = decoding.check_names(body.fields())
        self.access.charge(producer, len(users))
        operations = body.operations(topic)
        valid = [user for user, problem in users.items() if problem is None]
        applied = await self.hub.apply_all([(user, operations[user]) for user in valid])
        results = recipient_results(users, iter(applied), _follower_result)
        if isinstance(results, Problem):
            raise results
        return json_response(FollowersResponse(results))

    async def read(self, request: Request) -> Response:
        """Return a page of what the topic holds."""
        await self.access.producer(request)
        topic = decoding.decode_path(request.params, schemas.TopicPath).topic
        query = decoding.decode_query(request.parameters, schemas.TopicQuery)
        mailbox = (await self.hub.engine.read(topic_mailbox(topic))).mailbox
        newest = reversed(list(mailbox.items.values()))
        older = [item for item in newest if item.seq < query.before]
        items, following = item_page(older, query.limit)
        waiting = sorted(mailbox.waiting.values(), key=attrgetter("until"))
        return json_response(
            TopicResponse(
                topic=topic,
                epoch=mailbox.epoch,
                v=mailbox.v,
                items=items,
                waiting=[encoded_waiting_item(each) for each in waiting],
                next=following,
            )
        )

    async def delete(self, request: Request) -> Response:
        """Retract everything that the topic holds, also what waits in it.

        A damaged topic begins empty in a new epoch: nothing else ends the damage.
        """
        topic = await self._topic(request)
        # No new epoch: a failover that undid it would let followers pull all again.
        name, everything = topic_mailbox(topic), Retract(everything=True)
        try:
            retracted = await self.hub.retract(everything, name)
        except MailboxDamaged:
            await self.hub.delete_user(name)
            retracted = Retracted()
        mailbox = (await self.hub.engine.read(name)).mailbox
        return json_response(
            DeleteTopicResponse(
                topic=topic,
                removed=retracted.removed,
                waiting=retracted.waiting,
                epoch=mailbox.epoch,
                v=mailbox.v,
            )
        )

    async def explain(self, request: Request) -> Response:
        """Return the items of the topic and its latest operations."""
        name = topic_mailbox(await self._topic(request))
        return json_response(explain(await self.hub.engine.read(name)))

    async def _topic(self, request: Request) -> str:
        """Return the topic named by the path of a producer's request."""
        await self.access.producer(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        return decoding.decode_path(request.params, schemas.TopicPath).topic

    async def of_user(self, request: Request) -> Response:
        """Return the topics that the user in the path follows."""
        await self.access.producer(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        user = decoding.decode_path(request.params, schemas.UserPath).user
        mailbox = (await self.hub.engine.read(user)).mailbox
        return json_response(UserTopicsResponse(_subscriptions(mailbox)))


def _follower_result(user: str, applied: Applied) -> FollowerResult:
    badge = applied.badge
    return FollowerResult(user, badge.v, badge.epoch, badge_total(badge))


def _subscriptions(mailbox: Mailbox) -> dict[str, SubscriptionDocument]:
    # Every user follows it, also before anything was pulled from it.
    found = {ALL: SubscriptionDocument("start", "default")}
    for name, subscription in sorted(mailbox.subscriptions.items()):
        found[name] = SubscriptionDocument(subscription.since, subscription.by)
    return found
