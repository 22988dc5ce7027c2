"""The HTTP contract: routes from requests to the hub and back, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Literal, final

import attrs
import msgspec
import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from roundel import accepts_stream, read_last_event_id
from roundel_adapters.quart import stream_response

from . import frames, problems, requests
from .auth import Gate, User
from .badge import Badge
from .hub import Channel, Hub
from .ids import new_id
from .items import Item, Notify
from .mailbox import Applied
from .problems import Problem


def create_app(hub: Hub, gate: Gate) -> QuartTrio:
    """Return the ASGI application of the badge service.

    `Hub.run()` has to run beside it.
    """
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = requests.MAX_BODY
    api = _Api(hub, gate)
    app.add_url_rule("/livez", view_func=api.live)
    app.add_url_rule("/v1/notify", view_func=api.notify, methods=["POST"])
    app.add_url_rule("/v1/badge", view_func=api.badge)
    app.add_url_rule("/v1/items", view_func=api.items)
    app.add_url_rule("/v1/ops", view_func=api.ops, methods=["POST"])
    app.add_url_rule("/v1/stream", view_func=api.stream)
    app.register_error_handler(Problem, Problem.response)
    app.register_error_handler(HTTPException, _http_problem)
    return app


@final
@attrs.frozen
class _Api:
    hub: Hub
    gate: Gate

    async def live(self) -> Response:
        return _json({"status": "ok"})

    async def notify(self) -> Response:
        self.gate.producer(*_proofs())
        _no_query()
        if "Idempotency-Key" in request.headers:
            # Ignoring it would promise what is not kept.
            raise problems.invalid(
                problems.FieldError("Idempotency-Key", "not supported by this version")
            )
        body = requests.decode(await _body(), requests.NotifyRequest)
        size = _item_size(body)
        results = []
        for user in body.to.names:
            operation = _operation(body, size, self.hub.clock)
            applied = await self.hub.apply(user, operation)
            results.append(_result(user, operation, applied))
        return _json({"results": results})

    async def badge(self) -> Response:
        user = self.gate.user(*_proofs())
        wait = requests.query(_parameters(), requests.BadgeQuery).wait
        channel = await self.hub.channel(user.name)
        badge = channel.badge
        known = request.if_none_match.contains(badge.etag)
        if known and wait:
            badge = await self._changed(channel, badge, wait)
            known = request.if_none_match.contains(badge.etag)
        response = _not_modified() if known else _json(badge.document())
        response.set_etag(badge.etag)
        response.headers["Cache-Control"] = "private, no-cache"
        return response

    async def _changed(self, channel: Channel, known: Badge, wait: float) -> Badge:
        with trio.move_on_after(wait):
            while channel.badge == known:
                await channel.bell.wait()
        return channel.badge

    async def items(self) -> Response:
        user = self.gate.user(*_proofs())
        query = requests.query(_parameters(), requests.ItemsQuery)
        mailbox = (await self.hub.engine.read(user.name)).mailbox
        matching = [
            item
            for item in list(mailbox.items.values())[::-1]
            if item.seq < query.before
            and query.category in (None, item.category)
            and _is_in(item, query.state)
        ]
        answer = {
            "cursor": frames.cursor_of(mailbox),
            "badge": mailbox.badge.document(),
            **frames.page(matching, query.limit),
        }
        return _json(answer)

    async def ops(self) -> Response:
        user = self.gate.user(*_proofs())
        _check_origin(user)
        _no_query()
        body = requests.decode(await _body(), requests.OpsRequest)
        badge = (await self.hub.apply(user.name, body.operation())).badge
        return _json({"epoch": badge.epoch, "v": badge.v, "badge": badge.document()})

    async def stream(self) -> Response:
        user = self.gate.user(*_proofs())
        query = requests.query(_parameters(), requests.StreamQuery)
        if not accepts_stream(request.headers.get("Accept")):
            raise problems.not_acceptable("Accept: expected text/event-stream in it")
        channel = await self.hub.channel(user.name)
        stream = self.hub.open(
            channel,
            query.level,
            last_event_id=read_last_event_id(
                request.headers.get("Last-Event-ID"), query.cursor
            ),
            expires_in=user.expires_at - self.hub.clock(),
        )
        return stream_response(
            stream, channel.bell, within=self.hub.serving(stream, channel)
        )


async def _body() -> bytes:
    body = await request.get_data()
    assert isinstance(body, bytes)
    return body


def _proofs() -> tuple[str | None, str | None]:
    return request.headers.get("Authorization"), request.cookies.get("roundel")


def _parameters() -> Mapping[str, list[str]]:
    return dict(request.args.lists())


def _no_query() -> None:
    requests.query(_parameters(), requests.NoQuery)


def _check_origin(user: User) -> None:
    """Refuse a write that a foreign page made a browser send with its cookie."""
    if not user.by_cookie:
        return
    _, separator, host = request.headers.get("Origin", "").partition("://")
    if not separator or host != request.host:
        raise problems.forbidden("Origin: expected this service's own with a cookie")


def _operation(
    body: requests.NotifyRequest, size: int, clock: Callable[[], float]
) -> Notify:
    return Notify(
        id=new_id(clock()),
        category=body.category,
        title=body.title,
        body=body.body,
        url=body.url,
        icon=body.icon,
        key=body.key,
        source=body.source,
        data=body.data,
        ttl=body.ttl,
        size=size,
    )


def _item_size(body: requests.NotifyRequest) -> int:
    """Return how many bytes the item takes as JSON, if that is not too many."""
    told = {**msgspec.structs.asdict(body), "to": None}
    size = len(msgspec.json.encode(told))
    if size > requests.MAX_ITEM:
        raise problems.too_large(
            f"the item takes {size} bytes as JSON, expected at most {requests.MAX_ITEM}"
        )
    return size


def _result(user: str, operation: Notify, applied: Applied) -> dict[str, Any]:
    badge = applied.badge
    return {
        "user": user,
        "item": operation.id,
        "v": badge.v,
        "epoch": badge.epoch,
        "badge": {
            "unread": badge.unread,
            "unseen": badge.unseen,
            "more": badge.more,
        },
    }


def _is_in(item: Item, state: Literal["unread", "active", "archived", "all"]) -> bool:
    match state:
        case "unread":
            return item.counts
        case "active":
            return not item.archived
        case "archived":
            return item.archived
        case "all":
            return True


def _json(document: object) -> Response:
    return Response(
        msgspec.json.encode(document),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _not_modified() -> Response:
    # Quart reads a body that is not given by asyncio's means, so an empty one is.
    response = Response(b"", 304)
    del response.headers["Content-Length"], response.headers["Content-Type"]
    return response


async def _http_problem(error: HTTPException) -> Response:
    """Answer what the framework refuses in the same form as everything else."""
    status = HTTPStatus(error.code or 500)
    problem = Problem(
        status=status,
        name=status.phrase.lower().replace(" ", "-"),
        title=status.phrase,
        detail=error.description or status.description,
    )
    response = problem.response()
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response
