"""Handlers of topics and of the users who follow them."""

from __future__ import annotations

from typing import final

import attrs

from ...domain.mailbox import Applied, Mailbox
from ...domain.names import ALL
from ...streams.hub import Hub
from .. import decoding, schemas
from ..access_control import AccessControl
from ..messages import Request, Response, json_response
from ..problems import Problem, invalid_request
from ..responses import FieldError
from ..schemas.topic_responses import (
    FollowerResult,
    FollowersResponse,
    SubscriptionDocument,
    UserTopicsResponse,
)
from .publishing import badge_total, recipient_results


@final
@attrs.frozen
class TopicHandlers:
    """Handlers that change and list what users follow."""

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
