"""What producers call: putting in, taking back, and looking after mailboxes."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from hashlib import blake2b
from typing import Any, final

import attrs
import msgspec
import trio

from roundel_adapters.server.fastpath.interface import Response, StreamingResponse

from ...domain.badge import Badge
from ...domain.explanation import explanation
from ...domain.mailbox import DAY, Applied
from ...domain.mailbox_builder import TooManyCategories
from ...domain.operations import DeleteGauge, Disconnect, SetGauge
from ...engines.base import EngineUnavailable, Result, UserOperation
from ...identity.authenticator import Producer
from ...streams.hub import Hub
from .. import decoding as requests
from .. import problems, schemas
from ..access_control import AccessControl
from ..messages import BODY_TIMEOUT, Request, body_too_slow, json_response
from ..ndjson import Line, split
from ..problems import Problem
from ..ulid import new_id


@final
@attrs.frozen
class PublishRequest:
    """A *notification* that fits, with its *size*, and the *op_id* of its key."""

    notification: schemas.NotifyRequest
    size: int
    op_id: str | None


@final
@attrs.frozen
class ProducerHandlers:
    """The handlers of what producers call."""

    hub: Hub
    access: AccessControl

    async def notify(self, request: Request) -> Response:
        """Put one notification into the mailbox of each recipient."""
        producer = await self.access.known_producer(request)
        requests.query(request.parameters, schemas.NoQuery)
        key = requests.idempotency_key(request.headers.getlist("Idempotency-Key"))
        body = await request.whole_body(requests.MAX_BODY)
        order = _order(body, key)
        if isinstance(order, Problem):
            raise order
        # All at once: taken one by one, what is short of the last would be lost.
        self.access.charge(producer, _names(order))
        (document,) = await self._deliver([order])
        if isinstance(document, Problem):
            raise document
        return json_response(document)

    async def batch(self, request: Request) -> StreamingResponse:
        """Take a notification a line and answer a result a line, as they come."""
        producer = await self.access.producer(request)
        requests.query(request.parameters, schemas.NoQuery)
        key = requests.idempotency_key(request.headers.getlist("Idempotency-Key"))
        headers = {"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
        return StreamingResponse(
            body=self._results(request, producer, key), headers=headers
        )

    async def _results(
        self, request: Request, producer: Producer, key: str | None
    ) -> AsyncGenerator[bytes, None]:
        number = 0
        async with aclosing(split(request.body, limit=requests.MAX_LINE)) as pieces:
            while (lines := await _next(pieces)) is not None:
                orders = [
                    _order(line, None if key is None else f"{key} {place}")
                    for place, line in enumerate(lines, number + 1)
                ]
                number += len(lines)
                # Whoever sends too fast is held back: the body is not read meanwhile.
                waits = [
                    self.access.reserve(producer, _names(order)) for order in orders
                ]
                await trio.sleep(max(waits, default=0))
                yield b"".join(map(_line, await self._deliver(orders)))

    async def _deliver(
        self, orders: Sequence[Problem | PublishRequest]
    ) -> list[Problem | dict[str, Any]]:
        """Do all of *orders* at once; return what each is answered."""
        refused = await self._refused(orders)
        shares = [self._share(order, refused) for order in orders]
        work = [w for share in shares if isinstance(share, list) for w in share]
        done = iter(await self.hub.apply_all(work))
        return [
            _answer(share, done) if isinstance(share, list) else share
            for share in shares
        ]

    def _share(
        self, order: Problem | PublishRequest, refused: Mapping[str | None, Problem]
    ) -> Problem | list[UserOperation]:
        """Return what is to be done for *order*, or the problem that it is."""
        if isinstance(order, Problem):
            return order
        notification, size, op_id = order.notification, order.size, order.op_id
        if op_id in refused:
            return refused[op_id]
        now = self.hub.clock()
        return [
            (user, notification.operation(new_id(now), size=size, op_id=op_id))
            for user in notification.to.names
        ]

    async def _refused(
        self, orders: Sequence[Problem | PublishRequest]
    ) -> dict[str | None, Problem]:
        """Return why which ids are not to be used, as something else came with them.

        All are asked at once: each by itself would have to be waited for.
        """
        refused: dict[str | None, Problem] = {}
        keyed = [
            (order.op_id, order.notification)
            for order in orders
            if isinstance(order, PublishRequest) and order.op_id is not None
        ]
        if not keyed:
            return refused

        async def check(op_id: str, notification: schemas.NotifyRequest) -> None:
            digest = _digest(msgspec.json.encode(notification, order="deterministic"))
            claim = self.hub.engine.claim
            try:
                if await claim(f"notify {op_id}", digest, ttl=DAY) != digest:
                    refused[op_id] = problems.key_reused()
            except EngineUnavailable as error:
                refused[op_id] = problems.engine_unavailable(str(error))

        async with trio.open_nursery() as nursery:
            for op_id, notification in keyed:
                nursery.start_soon(check, op_id, notification)
        return refused

    async def retract(self, request: Request) -> Response:
        """Take items back, by their source or by their key."""
        await self.access.producer(request)
        query = requests.query(request.parameters, schemas.RetractQuery)
        removed, users = await self.hub.retract(query.operation(), query.user)
        return json_response({"removed": removed, "users": users})

    async def set_gauge(self, request: Request) -> Response:
        """Set a count that another database owns."""
        await self.access.producer(request)
        requests.query(request.parameters, schemas.NoQuery)
        target = requests.path(request.params, schemas.GaugePath)
        body = requests.decode(
            await request.whole_body(requests.MAX_BODY), schemas.GaugeRequest
        )
        operation = SetGauge(
            category=target.category,
            count=body.count,
            source_version=body.source_version,
        )
        applied = await self._put_gauge(target.user, operation)
        gauge = applied.mailbox.gauges[target.category]
        return json_response(
            {
                "applied": not applied.ignored,
                "source_version": gauge.source_version,
                **_state(applied.badge),
            }
        )

    async def _put_gauge(self, user: str, operation: SetGauge) -> Applied:
        try:
            return await self.hub.apply(user, operation)
        except TooManyCategories as error:
            raise problems.too_many_categories(str(error)) from None

    async def drop_gauge(self, request: Request) -> Response:
        """Remove a gauge."""
        await self.access.producer(request)
        requests.query(request.parameters, schemas.NoQuery)
        target = requests.path(request.params, schemas.GaugePath)
        applied = await self.hub.apply(target.user, DeleteGauge(target.category))
        return json_response(_state(applied.badge))

    async def explain(self, request: Request) -> Response:
        """Say why a user's badge is what it is."""
        await self.access.producer(request)
        requests.query(request.parameters, schemas.NoQuery)
        user = requests.path(request.params, schemas.UserPath).user
        return json_response(explanation(await self.hub.engine.read(user)))

    async def disconnect(self, request: Request) -> Response:
        """End a user's streams, and revoke the proofs so far if that is asked for."""
        await self.access.producer(request)
        requests.query(request.parameters, schemas.NoQuery)
        user = requests.path(request.params, schemas.UserPath).user
        body = requests.decode(
            await request.whole_body(requests.MAX_BODY), schemas.DisconnectRequest
        )
        await self.hub.apply(user, Disconnect(revoke=body.revoke))
        return json_response({"user": user, "revoked": body.revoke})

    async def forget(self, request: Request) -> Response:
        """Forget a user; another epoch begins."""
        await self.access.producer(request)
        requests.query(request.parameters, schemas.NoQuery)
        user = requests.path(request.params, schemas.UserPath).user
        badge = (await self.hub.delete_user(user)).badge
        return json_response({"user": user, **_state(badge)})


def _order(line: Line, key: str | None) -> Problem | PublishRequest:
    if isinstance(line, Problem):
        return line
    try:
        notification = requests.decode(line, schemas.NotifyRequest)
        op_id = None if key is None else _digest(key.encode())
        return PublishRequest(notification, requests.item_size(notification), op_id)
    except Problem as problem:
        return problem


def _names(order: Problem | PublishRequest) -> int:
    return 0 if isinstance(order, Problem) else len(order.notification.to.names)


def _answer(
    work: list[UserOperation], done: Iterator[Result]
) -> Problem | dict[str, Any]:
    """Take what became of *work*, and say it."""
    results = [_result(user, next(done)) for user, _ in work]
    if len(results) == 1 and isinstance(results[0], Problem):
        return results[0]
    return {
        "results": [
            {"user": user, "problem": result.document()}
            if isinstance(result, Problem)
            else result
            for (user, _), result in zip(work, results, strict=True)
        ]
    }


def _result(user: str, applied: Result) -> Problem | dict[str, Any]:
    if isinstance(applied, TooManyCategories):
        return problems.too_many_categories(str(applied))
    if isinstance(applied, EngineUnavailable):
        return problems.engine_unavailable(str(applied))
    badge = applied.badge
    return {
        "user": user,
        "item": applied.item,
        "v": badge.v,
        "epoch": badge.epoch,
        "badge": {
            "unread": badge.unread,
            "unseen": badge.unseen,
            "more": badge.more,
        },
    }


def _state(badge: Badge) -> dict[str, Any]:
    return {"epoch": badge.epoch, "v": badge.v, "badge": badge.document()}


async def _next(pieces: AsyncIterator[list[Line]]) -> list[Line] | None:
    """Wait for more lines; `None` at the end, to which waiting too long leads."""
    with trio.move_on_after(BODY_TIMEOUT):
        return await anext(pieces, None)
    return [body_too_slow()]


def _line(answer: Problem | dict[str, Any]) -> bytes:
    document = answer.document() if isinstance(answer, Problem) else answer
    return msgspec.json.encode(document) + b"\n"


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
