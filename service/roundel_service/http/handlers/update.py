"""Handler of `POST /v1/update`."""

from __future__ import annotations

from typing import final

import attrs

from ...domain.changes import Updated
from ...domain.mailbox import Applied
from ...domain.names import is_topic_mailbox
from ...streams.hub import Hub
from .. import decoding, schemas
from ..access_control import AccessControl
from ..messages import Request, Response, json_response
from ..problems import Problem
from ..responses import TopicUpdateResult, UpdateResponse, UpdateResult
from .publishing import badge_total, recipient_results, topic_of


@final
@attrs.frozen
class UpdateHandler:
    """Handler that changes the content of items in place."""

    hub: Hub
    access: AccessControl

    async def update(self, request: Request) -> Response:
        """Change the selected items in the mailbox of each recipient."""
        producer = await self.access.authenticate_producer(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        body = await decoding.read_body(request, schemas.UpdateRequest)
        operation = body.operation(decoding.decode_data(body.set))
        recipients = decoding.check_recipients(body.to)
        self.access.charge(producer, len(recipients), topics=body.to.topic_count)
        users = [user for user, problem in recipients.items() if problem is None]
        applied = await self.hub.apply_all([(user, operation) for user in users])
        results = recipient_results(recipients, iter(applied), _result)
        if isinstance(results, Problem):
            raise results
        return json_response(UpdateResponse(results))


def _result(user: str, applied: Applied) -> UpdateResult | TopicUpdateResult:
    steps = applied.change.steps if applied.change is not None else ()
    ids = [name for step in steps if isinstance(step, Updated) for name in step.ids]
    ids += applied.waiting
    badge = applied.badge
    if is_topic_mailbox(user):
        return TopicUpdateResult(topic_of(user), ids, badge.v, badge.epoch)
    return UpdateResult(user, ids, badge.v, badge.epoch, badge_total(badge))
