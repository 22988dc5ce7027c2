"""Handler of `POST /v1/notify`."""

from __future__ import annotations

from typing import final

import attrs

from ...streams.hub import Hub
from .. import decoding, schemas
from ..access_control import AccessControl
from ..messages import Request, Response, json_response
from ..problems import Problem
from .publishing import parse_request, publish_all, recipient_count, topic_count
from .retention import Retention


@final
@attrs.frozen
class NotifyHandler:
    """Handler that puts one notification into mailboxes."""

    hub: Hub
    access: AccessControl
    retention: Retention

    async def notify(self, request: Request) -> Response:
        """Put one notification into the mailbox of each recipient."""
        producer = await self.access.authenticate_producer(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        key = decoding.idempotency_key(request.headers.getlist("Idempotency-Key"))
        body = await request.whole_body(decoding.MAX_BODY)
        publish = parse_request(body, key, self.retention, self.hub.clock())
        if isinstance(publish, Problem):
            raise publish
        # Charged at once: charges per recipient would be lost if the last one failed.
        self.access.charge(
            producer, recipient_count(publish), topics=topic_count(publish)
        )
        (response,) = await publish_all(self.hub, [publish])
        if isinstance(response, Problem):
            raise response
        return json_response(response)
