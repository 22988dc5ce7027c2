"""Handlers of the producers' calls, except notifications."""

from __future__ import annotations

from typing import final

import attrs
from msgspec import UNSET

from ...documents import badge_document
from ...domain.operations import DeleteGauge, Refresh, SetGauge
from ...domain.refusals import TooManyCategories
from ...streams.hub import Hub
from .. import decoding, problems, schemas
from ..access_control import AccessControl
from ..explanation import explain
from ..messages import Request, Response, json_response
from ..responses import (
    DeleteUserResponse,
    DisconnectResponse,
    FieldError,
    GaugeResponse,
    RetractResponse,
    StreamsResponse,
    badge_state,
)


@final
@attrs.frozen
class ProducerHandlers:
    """Handlers that retract items, set gauges and manage users."""

    hub: Hub
    access: AccessControl

    async def retract(self, request: Request) -> Response:
        """Remove items by their source, key or id, and cancel what waits."""
        await self.access.producer(request)
        query = decoding.decode_query(request.parameters, schemas.RetractQuery)
        found = await self.hub.retract(query.operation(), query.mailbox)
        return json_response(
            RetractResponse(found.removed, found.users, found.topics, found.waiting)
        )

    async def set_gauge(self, request: Request) -> Response:
        """Set the count of a category that another database owns."""
        await self.access.producer(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        path = decoding.decode_path(request.params, schemas.GaugePath)
        body = await decoding.read_body(request, schemas.GaugeRequest)
        operation = SetGauge(
            category=path.category,
            count=body.count,
            source_version=body.source_version,
        )
        try:
            applied = await self.hub.apply(path.user, operation)
        except TooManyCategories as error:
            raise problems.too_many_categories(str(error)) from None
        badge = applied.badge
        return json_response(
            GaugeResponse(
                applied=not applied.ignored,
                source_version=applied.mailbox.gauges[path.category].source_version,
                epoch=badge.epoch,
                v=badge.v,
                badge=badge_document(badge),
            )
        )

    async def drop_gauge(self, request: Request) -> Response:
        """Remove a gauge."""
        await self.access.producer(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        path = decoding.decode_path(request.params, schemas.GaugePath)
        applied = await self.hub.apply(path.user, DeleteGauge(path.category))
        return json_response(badge_state(applied.badge))

    async def explain(self, request: Request) -> Response:
        """Return the parts of a user's badge and the latest operations."""
        user = await self._user(request)
        record = await self.hub.engine.read(user)
        names = sorted(record.topics(Refresh()))
        topics = {name: await self.hub.engine.peek(name) for name in names}
        return json_response(explain(record, topics))

    async def streams(self, request: Request) -> Response:
        """Return how many streams of a user are open, at all nodes together."""
        user = await self._user(request)
        count = await self.hub.count_streams(user)
        return json_response(StreamsResponse(user, count))

    async def disconnect(self, request: Request) -> Response:
        """End a user's streams, and revoke the credentials issued before if asked."""
        user = await self._user(request)
        body = await decoding.read_body(request, schemas.DisconnectRequest)
        if not body.revoke and body.issued_before is not UNSET:
            detail = "expected only with revoke"
            raise problems.invalid_request(FieldError("issued_before", detail))
        await self.hub.apply(user, body.operation())
        return json_response(DisconnectResponse(user, body.revoke))

    async def forget(self, request: Request) -> Response:
        """Delete a user's mailbox; a new epoch begins."""
        user = await self._user(request)
        badge = (await self.hub.delete_user(user)).badge
        document = badge_document(badge)
        return json_response(DeleteUserResponse(user, badge.epoch, badge.v, document))

    async def _user(self, request: Request) -> str:
        """Return the user named by the path of a producer's request."""
        await self.access.producer(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        return decoding.decode_path(request.params, schemas.UserPath).user
