"""Handlers of `POST /v1/notify` and `POST /v1/batch`.

Both parse their input into publish requests. All publish requests of a call, or of a
group of lines of a batch, are handed to the hub in one `apply_all()`, so that an engine
can commit them together. A publish request that fails gets a `Problem` in its place,
and so does a recipient that cannot be served; the others take effect.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from hashlib import blake2b
from typing import final

import attrs
import trio

from ...documents import encode_json
from ...domain.mailbox_builder import TooManyCategories
from ...domain.revocation import RETENTION
from ...engines.base import ApplyResult, EngineUnavailable, UserOperation
from ...identity.callers import Producer
from ...streams.hub import Hub
from .. import decoding, problems, schemas
from ..access_control import AccessControl
from ..messages import (
    BODY_TIMEOUT,
    Request,
    Response,
    StreamingResponse,
    json_response,
)
from ..ndjson import NdjsonLine, split_lines
from ..problems import Problem
from ..responses import BadgeTotal, NotifyResponse, RecipientProblem, RecipientResult
from ..ulid import new_id

YIELD_AFTER = 20
"""Lines of a batch after which other tasks run; a bad line takes up to 0.3 ms."""

MAX_GROUP = schemas.MAX_USERS
"""Maximum number of results of a batch that are computed together."""


@final
@attrs.frozen
class PublishRequest:
    """A valid *notification*, its *data* and *size* in bytes, and the key's *op_id*.

    *recipients* maps each user to the problem of the name, if it has one.
    """

    notification: schemas.NotifyRequest
    data: object
    size: int
    op_id: str | None
    recipients: Mapping[str, Problem | None]

    def operations(self, now: float) -> list[UserOperation]:
        """Return an operation for each recipient with a valid name."""
        create = partial(
            self.notification.operation,
            data=self.data,
            size=self.size,
            op_id=self.op_id,
        )
        return [
            (user, create(new_id(now)))
            for user, problem in self.recipients.items()
            if problem is None
        ]


@final
@attrs.frozen
class NotifyHandlers:
    """Handlers that put notifications into mailboxes."""

    hub: Hub
    access: AccessControl

    async def notify(self, request: Request) -> Response:
        """Put one notification into the mailbox of each recipient."""
        producer = await self.access.authenticate_producer(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        key = decoding.idempotency_key(request.headers.getlist("Idempotency-Key"))
        body = await request.whole_body(decoding.MAX_BODY)
        publish = _parse(body, key)
        if isinstance(publish, Problem):
            raise publish
        # Charged at once: charges per recipient would be lost if the last one failed.
        self.access.charge(producer, _recipient_count(publish))
        (response,) = await self._publish([publish])
        if isinstance(response, Problem):
            raise response
        return json_response(response)

    async def batch(self, request: Request) -> StreamingResponse:
        """Read one notification a line, and write one result a line meanwhile."""
        producer = await self.access.producer(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        key = decoding.idempotency_key(request.headers.getlist("Idempotency-Key"))
        headers = {"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
        return StreamingResponse(
            body=self._batch_results(request, producer, key), headers=headers
        )

    async def _batch_results(
        self, request: Request, producer: Producer, key: str | None
    ) -> AsyncGenerator[bytes, None]:
        count = 0
        async with (
            aclosing(request.body_chunks()) as chunks,
            aclosing(split_lines(chunks, limit=decoding.MAX_LINE)) as batches,
        ):
            while (lines := await _next_lines(batches)) is not None:
                async with aclosing(_parse_groups(lines, key, count)) as groups:
                    async for group in groups:
                        yield await self._batch_group(group, producer)
                count += len(lines)

    async def _batch_group(
        self, group: list[Problem | PublishRequest], producer: Producer
    ) -> bytes:
        # Back-pressure: a producer above its rate waits, its body is not read.
        delays = [
            self.access.reserve(producer, _recipient_count(publish))
            for publish in group
        ]
        await trio.sleep(max(delays))
        return b"".join(map(_encode_line, await self._publish(group)))

    async def _publish(
        self, publishes: list[Problem | PublishRequest]
    ) -> list[Problem | NotifyResponse]:
        """Apply all *publishes* together, and return the response of each."""
        await self._claim_keys(publishes)
        now = self.hub.clock()
        operations = [
            operation
            for publish in publishes
            if isinstance(publish, PublishRequest)
            for operation in publish.operations(now)
        ]
        results = iter(await self.hub.apply_all(operations))
        return [
            publish if isinstance(publish, Problem) else _response(publish, results)
            for publish in publishes
        ]

    async def _claim_keys(self, publishes: list[Problem | PublishRequest]) -> None:
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
            body = schemas.content_hash(publish.notification)
            try:
                first = await self.hub.engine.claim(name, body, ttl=RETENTION)
                if first != body:
                    publishes[at] = Problem("idempotency-key-reused")
            except EngineUnavailable as error:
                publishes[at] = problems.engine_unavailable(error)

        async with trio.open_nursery() as nursery:
            for at, publish in keyed:
                nursery.start_soon(claim, at, publish)


async def _parse_groups(
    lines: list[NdjsonLine], key: str | None, count: int
) -> AsyncGenerator[list[Problem | PublishRequest], None]:
    """Parse *lines*, which follow *count* lines, in groups of `MAX_GROUP` results.

    Other tasks run meanwhile.
    """
    group: list[Problem | PublishRequest] = []
    results = 0
    for number, line in enumerate(lines, count + 1):
        if number % YIELD_AFTER == 0:
            await trio.lowlevel.checkpoint()
        publish = _parse(line, None if key is None else f"{key} {number}")
        more = max(1, _recipient_count(publish))
        if results + more > MAX_GROUP:
            yield group
            group, results = [], 0
        group.append(publish)
        results += more
    yield group


def _parse(body: NdjsonLine, key: str | None) -> Problem | PublishRequest:
    if isinstance(body, Problem):
        return body
    try:
        notification = decoding.decode_body(body, schemas.NotifyRequest)
        op_id = None if key is None else _hash(key)
        data = decoding.decode_data(notification)
        size = decoding.item_size(notification)
        recipients = decoding.check_recipients(notification.to)
    except Problem as problem:
        return problem
    if len(recipients) == 1 and (invalid := next(iter(recipients.values()))):
        # Before the key is claimed: a corrected call may use it.
        return invalid
    return PublishRequest(notification, data, size, op_id, recipients)


def _recipient_count(publish: Problem | PublishRequest) -> int:
    return 0 if isinstance(publish, Problem) else len(publish.recipients)


def _response(
    publish: PublishRequest, results: Iterator[ApplyResult]
) -> Problem | NotifyResponse:
    """Take the results of *publish*; the problem of a sole recipient is returned."""
    found = [
        (user, problem or _recipient_result(user, next(results)))
        for user, problem in publish.recipients.items()
    ]
    _, first = found[0]
    if len(found) == 1 and isinstance(first, Problem):
        return first
    return NotifyResponse(
        [
            RecipientProblem(user, result.document())
            if isinstance(result, Problem)
            else result
            for user, result in found
        ]
    )


def _recipient_result(user: str, result: ApplyResult) -> Problem | RecipientResult:
    if isinstance(result, TooManyCategories):
        return problems.too_many_categories(str(result))
    if isinstance(result, EngineUnavailable):
        return problems.engine_unavailable(result)
    badge = result.badge
    assert result.item is not None
    total = BadgeTotal(badge.unread, badge.unseen, badge.more)
    return RecipientResult(user, result.item, badge.v, badge.epoch, total)


async def _next_lines(
    chunks: AsyncIterator[list[NdjsonLine]],
) -> list[NdjsonLine] | None:
    """Return the next lines: `None` at the end, a 408 problem after `BODY_TIMEOUT`."""
    with trio.move_on_after(BODY_TIMEOUT):
        return await anext(chunks, None)
    return [Problem("request-timeout")]


def _encode_line(response: Problem | NotifyResponse) -> bytes:
    document = response.document() if isinstance(response, Problem) else response
    return encode_json(document) + b"\n"


def _hash(key: str) -> str:
    return blake2b(key.encode(), digest_size=16).hexdigest()
