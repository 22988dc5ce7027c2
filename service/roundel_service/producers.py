"""What producers call: putting in, taking back, and looking after mailboxes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from hashlib import blake2b
from typing import Any, final

import attrs
import msgspec
import trio

from . import problems, requests, schemas
from .auth import Producer
from .badge import Badge
from .door import Door
from .draft import TooManyCategories
from .explain import explanation
from .http import BODY_TIMEOUT, Answer, Lines, Request, body_too_slow, json_answer
from .hub import Hub
from .ids import new_id
from .mailbox import DAY, Applied
from .ndjson import Line, split
from .operations import Disconnect, DropGauge, Notify, SetGauge
from .problems import Problem


@final
@attrs.frozen
class Producers:
    """The handlers of what producers call."""

    hub: Hub
    door: Door

    async def notify(self, request: Request) -> Answer:
        """Put one notification into the mailbox of each recipient."""
        producer = await self.door.known_producer(request)
        requests.query(request.parameters, schemas.NoQuery)
        key = requests.idempotency_key(request.headers.getlist("Idempotency-Key"))
        body = await request.whole_body(requests.MAX_BODY)
        notification = requests.decode(body, schemas.NotifyRequest)
        # All at once: taken one by one, what is short of the last would be lost.
        self.door.spend(producer, len(notification.to.names))
        return json_answer(await self._deliver(notification, key))

    async def batch(self, request: Request) -> Lines:
        """Take a notification a line and answer a result a line, as they come."""
        producer = await self.door.producer(request)
        requests.query(request.parameters, schemas.NoQuery)
        key = requests.idempotency_key(request.headers.getlist("Idempotency-Key"))
        headers = {"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
        return Lines(pieces=self._results(request, producer, key), headers=headers)

    async def _results(
        self, request: Request, producer: Producer, key: str | None
    ) -> AsyncGenerator[bytes, None]:
        number = 0
        async with aclosing(split(request.body, limit=requests.MAX_LINE)) as pieces:
            while (lines := await _next(pieces)) is not None:
                results = []
                for line in lines:
                    number += 1
                    line_key = None if key is None else f"{key} {number}"
                    results.append(await self._result(line, producer, line_key))
                yield b"".join(map(_line, results))

    async def _result(
        self, line: Line, producer: Producer, key: str | None
    ) -> dict[str, Any]:
        if isinstance(line, Problem):
            return line.document()
        try:
            notification = requests.decode(line, schemas.NotifyRequest)
            names = len(notification.to.names)
            # Whoever sends too fast is held back: the body is not read meanwhile.
            await trio.sleep(self.door.borrow(producer, names))
            return await self._deliver(notification, key)
        except Problem as problem:
            return problem.document()

    async def _deliver(
        self, notification: schemas.NotifyRequest, key: str | None
    ) -> dict[str, Any]:
        size = requests.item_size(notification)
        op_id = None
        if key is not None:
            op_id = _digest(key.encode())
            await self._check_same(op_id, notification)
        users = notification.to.names
        results = [
            await self._put(
                user, notification.operation(self._new_id(), size=size, op_id=op_id)
            )
            for user in users
        ]
        if len(results) == 1 and isinstance(results[0], Problem):
            raise results[0]
        return {
            "results": [
                {"user": user, "problem": result.document()}
                if isinstance(result, Problem)
                else _result(user, result)
                for user, result in zip(users, results, strict=True)
            ]
        }

    async def _check_same(
        self, op_id: str, notification: schemas.NotifyRequest
    ) -> None:
        """Refuse a key that came with another body before."""
        digest = _digest(msgspec.json.encode(notification, order="deterministic"))
        first = await self.hub.engine.claim(f"notify {op_id}", digest, ttl=DAY)
        if first != digest:
            raise problems.key_reused()

    async def _put(self, user: str, operation: Notify) -> Applied | Problem:
        try:
            return await self.hub.apply(user, operation)
        except TooManyCategories as error:
            return problems.too_many_categories(str(error))

    def _new_id(self) -> str:
        return new_id(self.hub.clock())

    async def retract(self, request: Request) -> Answer:
        """Take items back, by their source or by their key."""
        await self.door.producer(request)
        query = requests.query(request.parameters, schemas.RetractQuery)
        removed, users = await self.hub.retract(query.operation(), query.user)
        return json_answer({"removed": removed, "users": users})

    async def set_gauge(self, request: Request) -> Answer:
        """Set a count that another database owns."""
        await self.door.producer(request)
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
        return json_answer(
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

    async def drop_gauge(self, request: Request) -> Answer:
        """Remove a gauge."""
        await self.door.producer(request)
        requests.query(request.parameters, schemas.NoQuery)
        target = requests.path(request.params, schemas.GaugePath)
        applied = await self.hub.apply(target.user, DropGauge(target.category))
        return json_answer(_state(applied.badge))

    async def explain(self, request: Request) -> Answer:
        """Say why a user's badge is what it is."""
        await self.door.producer(request)
        requests.query(request.parameters, schemas.NoQuery)
        user = requests.path(request.params, schemas.UserPath).user
        return json_answer(explanation(await self.hub.engine.read(user)))

    async def disconnect(self, request: Request) -> Answer:
        """End a user's streams, and revoke the proofs so far if that is asked for."""
        await self.door.producer(request)
        requests.query(request.parameters, schemas.NoQuery)
        user = requests.path(request.params, schemas.UserPath).user
        body = requests.decode(
            await request.whole_body(requests.MAX_BODY), schemas.DisconnectRequest
        )
        await self.hub.apply(user, Disconnect(revoke=body.revoke))
        return json_answer({"user": user, "revoked": body.revoke})

    async def forget(self, request: Request) -> Answer:
        """Forget a user; another epoch begins."""
        await self.door.producer(request)
        requests.query(request.parameters, schemas.NoQuery)
        user = requests.path(request.params, schemas.UserPath).user
        badge = (await self.hub.forget(user)).badge
        return json_answer({"user": user, **_state(badge)})


def _result(user: str, applied: Applied) -> dict[str, Any]:
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


def _line(document: dict[str, Any]) -> bytes:
    return msgspec.json.encode(document) + b"\n"


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
