"""Handlers of the users' calls except the list and the stream."""

from __future__ import annotations

from math import inf
from typing import final

import attrs
import trio

from ...documents import badge_document
from ...domain.badge import Badge
from ...domain.idempotency import find_result
from ...domain.refusals import OperationRefused
from ...identity.callers import Producer, User
from ...identity.tickets import DEFAULT_SESSION, TICKET_TTL
from ...streams.channel import UserChannel
from ...streams.hub import Hub
from .. import decoding, schemas
from ..access_control import AccessControl
from ..etags import known_etags
from ..messages import Request, Response, json_response
from ..problems import Problem, refused
from ..responses import TicketResponse, badge_state
from ..ulid import new_id


@final
@attrs.frozen
class UserHandlers:
    """Handlers of badges, operations and tickets."""

    hub: Hub
    access: AccessControl

    async def badge(self, request: Request) -> Response:
        """Return the caller's badge, immediately or after it changed."""
        user = await self.access.user(request)
        return await self._badge_of(user.name, request, caller=user)

    async def badge_of_user(self, request: Request) -> Response:
        """Return the badge of the user in the path, to a producer."""
        await self.access.producer(request)
        user = decoding.decode_path(request.params, schemas.UserPath).user
        return await self._badge_of(user, request)

    async def _badge_of(
        self, user: str, request: Request, *, caller: User | None = None
    ) -> Response:
        query = decoding.decode_query(request.parameters, schemas.BadgeQuery)
        is_known = known_etags(request)
        channel = await self.hub.channel(user)
        # Before the first wait: a change meanwhile is the one that is waited for.
        known = channel.badge
        if query.wait and is_known(known.etag):
            remaining = caller.expires_at - self.hub.clock() if caller else inf
            seconds = min(query.wait, remaining)
            async with self.hub.count_poll(channel) as may_wait:
                if may_wait:
                    await self._wait_for_change(channel, known, query.names, seconds)
            if caller is not None:
                # The credential may have been revoked meanwhile.
                await self.access.check_revoked(caller)
        badge = channel.badge.filter(query.names)
        headers = {
            "ETag": f'"{badge.etag}"',
            "Cache-Control": "private, no-cache",
        }
        if is_known(badge.etag):
            return Response(status=304, headers=headers)
        response = json_response(badge_document(badge))
        return attrs.evolve(response, headers={**response.headers, **headers})

    async def _wait_for_change(
        self,
        channel: UserChannel,
        known: Badge,
        names: frozenset[str] | None,
        seconds: float,
    ) -> None:
        """Wait until the badge is not *known* any more, or the hub drains.

        Of the categories *names* only the numbers count; without them each version.
        """

        def differs() -> bool:
            badge = channel.badge
            if names is None or badge.etag == known.etag:
                return badge.etag != known.etag
            return not badge.filter(names).is_visually_equal(known.filter(names))

        with trio.move_on_after(seconds):
            while not differs() and not self.hub.is_draining:
                await channel.wakeup.wait()

    async def ops(self, request: Request) -> Response:
        """Apply operations to the caller's mailbox, all or none."""
        user = await self.access.user(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        body = await decoding.read_body(request, schemas.OpsRequest)
        now = self.hub.clock()
        operation = body.operation(new_id(now))
        try:
            decoding.check_untils(body, now)
        except Problem:
            # A repeated call gets its first response, also when the time has come.
            mailbox = (await self.hub.engine.read(user.name)).mailbox
            if find_result(mailbox.results, operation, now) is None:
                raise
        try:
            applied = await self.hub.apply(user.name, operation)
        except OperationRefused as error:
            raise refused(error) from None
        if applied.ignored:
            raise Problem("key-reused")
        return json_response(badge_state(applied.badge))

    async def ticket(self, request: Request) -> Response:
        """Issue a ticket for one stream, to a user or a producer."""
        caller = await self.access.caller(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        body, now = await request.whole_body(decoding.MAX_BODY), self.hub.clock()
        if isinstance(caller, Producer):
            fields = decoding.decode_body(body, schemas.TicketRequest)
            user, issued_at = fields.user, now
            expires_at = now + (fields.session or DEFAULT_SESSION)
        else:
            decoding.decode_body(body, schemas.NoFields)
            user, issued_at = caller.name, caller.issued_at
            expires_at = caller.expires_at
        ticket = await self.access.authenticator.tickets.issue(
            user, expires_at=expires_at, issued_at=issued_at
        )
        return json_response(
            TicketResponse(
                ticket=ticket,
                expires_in=int(min(TICKET_TTL, expires_at - now)),
                url=f"/v1/stream?ticket={ticket}",
            )
        )
