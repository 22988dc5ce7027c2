"""Publish requests: what notify and batch have in common.

All requests that are published together are handed to the hub in one `apply_all()`, so
that an engine can commit them together. A request that fails gets a `Problem` in its
place, and so does a recipient that cannot be served; the others take effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import TypeAlias, TypeVar, final

import trio
from msgspec import Struct
from msgspec.structs import replace

from ...domain.badge import Badge
from ...domain.mailbox import Applied
from ...domain.names import is_topic_mailbox
from ...domain.refusals import OperationRefused
from ...domain.revocation import RETENTION
from ...engines.base import ApplyResult, EngineUnavailable, UserOperation
from ...streams.hub import Hub
from .. import decoding, problems, schemas
from ..ndjson import NdjsonLine
from ..problems import Problem
from ..responses import (
    BadgeTotal,
    NotifyResponse,
    RecipientProblem,
    RecipientResult,
    TopicResult,
)
from ..ulid import new_id
from .retention import Retention

T = TypeVar("T")


@final
class PublishRequest(Struct, frozen=True, eq=False):
    """A valid *notification*, its *content* and *size*, and the key's *op_id*.

    *recipients* maps each mailbox to the problem of the name, if it has one. The item
    lives for *ttl* seconds.
    """

    notification: schemas.NotifyRequest
    ttl: float | None
    content: bytes
    size: int
    op_id: str | None
    recipients: Mapping[str, Problem | None]

    def operations(self, now: float) -> list[UserOperation]:
        """Return an operation for each recipient with a valid name."""
        operation = self.notification.operation(
            new_id(now),
            ttl=self.ttl,
            content=self.content,
            size=self.size,
            op_id=self.op_id,
        )
        users = [user for user, problem in self.recipients.items() if problem is None]
        if len(users) == 1:
            return [(users[0], operation)]
        return [(user, replace(operation, id=new_id(now))) for user in users]


ParsedRequest: TypeAlias = Problem | PublishRequest


def parse_request(
    body: NdjsonLine, key: str | None, retention: Retention, now: float
) -> ParsedRequest:
    """Return the publish request in *body* with its idempotency *key*, or a problem.

    *now* is in seconds since 1970.
    """
    if isinstance(body, Problem):
        return body
    try:
        notification = decoding.decode_body(body, schemas.NotifyRequest)
        decoding.check_time(notification, now)
        op_id = None if key is None else _hash(key)
        content = notification.content(decoding.decode_data(notification))
        size = decoding.item_size(notification, content)
        recipients = decoding.check_recipients(notification.to)
    except Problem as problem:
        return problem
    if len(recipients) == 1 and (invalid := next(iter(recipients.values()))):
        # Before the key is claimed: a corrected call may use it.
        return invalid
    ttl = retention.ttl(notification)
    return PublishRequest(notification, ttl, content, size, op_id, recipients)


def recipient_count(publish: ParsedRequest) -> int:
    """Return the number of mailboxes that *publish* is charged for."""
    return 0 if isinstance(publish, Problem) else len(publish.recipients)


def topic_count(publish: ParsedRequest) -> int:
    """Return the number of topics that *publish* is charged for."""
    return 0 if isinstance(publish, Problem) else publish.notification.to.topic_count


async def publish_all(
    hub: Hub, publishes: list[ParsedRequest]
) -> list[Problem | NotifyResponse]:
    """Apply all *publishes* together, and return the response of each."""
    await _claim_keys(hub, publishes)
    now = hub.clock()
    operations = [
        operation
        for publish in publishes
        if isinstance(publish, PublishRequest)
        for operation in publish.operations(now)
    ]
    results = iter(await hub.apply_all(operations))
    return [
        publish if isinstance(publish, Problem) else _response(publish, results)
        for publish in publishes
    ]


async def _claim_keys(hub: Hub, publishes: list[ParsedRequest]) -> None:
    """Claim each idempotency key for its body; a problem replaces its request.

    The claims run concurrently: each may wait for the engine.
    """
    keyed = [
        (at, publish)
        for at, publish in enumerate(publishes)
        if isinstance(publish, PublishRequest) and publish.op_id is not None
    ]
    if not keyed:
        return

    async def claim(at: int, publish: PublishRequest) -> None:
        name = f"notify {publish.op_id}"
        body = publish.notification.content_hash()
        try:
            first = await hub.engine.claim(name, body, ttl=RETENTION)
            if first != body:
                publishes[at] = Problem("idempotency-key-reused")
        except EngineUnavailable as error:
            publishes[at] = problems.engine_unavailable(error)

    async with trio.open_nursery() as nursery:
        for at, publish in keyed:
            nursery.start_soon(claim, at, publish)


def _response(
    publish: PublishRequest, results: Iterator[ApplyResult]
) -> Problem | NotifyResponse:
    found = recipient_results(publish.recipients, results, _recipient_result)
    return found if isinstance(found, Problem) else NotifyResponse(found)


def recipient_results(
    recipients: Mapping[str, Problem | None],
    results: Iterator[ApplyResult],
    describe: Callable[[str, Applied], T],
) -> Problem | list[T | RecipientProblem]:
    """Take the results of *recipients*, as *describe* returns them, in order.

    The problem of a sole recipient is returned.
    """
    found: list[T | RecipientProblem] = []
    for user, invalid in recipients.items():
        result = invalid or next(results)
        problem = _problem(result)
        if problem is None:
            assert isinstance(result, Applied)
            found.append(describe(user, result))
        elif len(recipients) == 1:
            return problem
        else:
            found.append(RecipientProblem(user, problem.document()))
    return found


def _problem(result: Problem | ApplyResult) -> Problem | None:
    match result:
        case OperationRefused():
            return problems.refused(result)
        case EngineUnavailable():
            return problems.engine_unavailable(result)
    return result if isinstance(result, Problem) else None


def badge_total(badge: Badge) -> BadgeTotal:
    """Return *badge* without its categories."""
    return BadgeTotal(badge.unread, badge.unseen, badge.more)


def topic_of(mailbox: str) -> str:
    """Return the topic of a topic's *mailbox*."""
    return mailbox[1:]


def _recipient_result(user: str, applied: Applied) -> RecipientResult | TopicResult:
    badge = applied.badge
    assert applied.item is not None
    if is_topic_mailbox(user):
        return TopicResult(topic_of(user), applied.item, badge.v, badge.epoch)
    total = badge_total(badge)
    return RecipientResult(user, applied.item, badge.v, badge.epoch, total)


def _hash(key: str) -> str:
    return blake2b(key.encode(), digest_size=16).hexdigest()
