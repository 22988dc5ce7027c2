"""Handler of `GET /v1/stream`.

A browser's `EventSource` gives up for good after an error status such as 429 or 503.
So a stream that cannot be opened now is a 200 that asks the client to reconnect later.
A revoked credential gets a 204, which stops reconnecting (WHATWG HTML 9.2.3).

A ticket opens one stream. It is claimed in the engine when the stream has written its
first state, so a connection that fails earlier can be retried. The ticket and a resume
key from one of the stream's own event ids reopen the stream without a claim.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from secrets import token_hex
from typing import final

import attrs

from roundel import accepts_stream, read_last_event_id, stream_headers

from ...domain.revocation import CLOCK_SKEW
from ...engines.base import EngineUnavailable
from ...identity.callers import User
from ...identity.tickets import TICKET_TTL, Ticket
from ...streams.channel import UserChannel
from ...streams.hub import Hub
from ...streams.subscribe import SubscribeRequest, resume_key
from ...streams.subscriber import Subscriber
from ...streams.view_history import View
from .. import decoding, schemas
from ..access_control import AccessControl
from ..messages import AnyResponse, EventStreamResponse, Request, Response
from ..problems import Problem

_HEADERS = dict(stream_headers())


@final
@attrs.frozen
class StreamHandler:
    """Handler that opens streams."""

    hub: Hub
    access: AccessControl

    async def stream(self, request: Request) -> AnyResponse:
        """Open a stream for the calling user."""
        query = decoding.decode_stream_query(request.parameters)
        # RFC 9110 5.3: several fields of a name are one list.
        if not accepts_stream(",".join(request.headers.getlist("Accept"))):
            raise Problem("not-acceptable")
        try:
            user = await self.access.authenticate(request, ticket=query.ticket)
            return await self._open(user, query, request)
        except EngineUnavailable:
            return self._reject_retry_later()
        except Problem as problem:
            if problem.name == "revoked":
                return Response(status=204)
            if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
                return self._reject_retry_later()
            raise

    async def _open(
        self, user: User, query: schemas.StreamQuery, request: Request
    ) -> AnyResponse:
        header = request.headers.get("Last-Event-ID")
        if user.topics is not None:
            # Before the first read, which pulls from the topics.
            await self.access.check_revoked(user)
        channel, presence = await self.hub.channel(user.name), self.hub.presence
        if channel.record.mailbox.revocation.made_at > self.hub.clock():
            await self.access.correct_revocation(user)
        self._check_revoked(user, channel)
        is_first_use = await self._is_first_use(user.ticket, header)
        slot = await presence.reserve(user.name) if presence else None
        # Checked again after the awaits; there is no checkpoint below.
        self._check_revoked(user, channel)
        subscribe = SubscribeRequest(
            last_event_id=read_last_event_id(header, query.cursor),
            expires_in=user.expires_at - self.hub.clock(),
            resume_key=user.ticket.resume_key if user.ticket else None,
            refused=self.access.throttle_delay(user) > 0
            or not (slot is None or slot.granted),
            request_id=request.id,
        )
        view = View(query.level, query.names)
        subscriber = self.hub.subscribe(channel, view, subscribe)
        if user.ticket is not None and is_first_use:
            self._claim_on_first_state(user.ticket, subscriber)
        return EventStreamResponse(
            stream=subscriber,
            wakeup=channel.wakeup,
            lifespan=self.hub.lease(subscriber, slot),
            headers=_HEADERS,
        )

    def _check_revoked(self, user: User, channel: UserChannel) -> None:
        revocation = channel.record.mailbox.revocation
        if revocation.applies_to(user.issued_at, now=self.hub.clock()):
            raise Problem("revoked")

    def _reject_retry_later(self) -> AnyResponse:
        return Response(body=self.hub.rejection_body(), headers=_HEADERS)

    async def _is_first_use(self, ticket: Ticket | None, header: str | None) -> bool:
        """Return whether *ticket* is unused; raises a 401 if it opens no stream.

        *header* is `Last-Event-ID`. A cursor in the URL proves nothing: logs have URLs.
        """
        if ticket is None:
            return False
        if ticket.matches_resume_key(resume_key(read_last_event_id(header))):
            return False
        remaining = ticket.first_use_until - self.hub.clock()
        if remaining <= 0:
            raise Problem("unauthorized", "the ticket is too old to open a stream")
        if remaining > TICKET_TTL + CLOCK_SKEW:
            # A clock was put right, or that of another node is wrong.
            raise Problem("unauthorized", "the ticket was issued in the future")
        if await self.hub.engine.claimed(_claim_name(ticket)) is not None:
            raise Problem("unauthorized", "the ticket is used already")
        return True

    def _claim_on_first_state(self, ticket: Ticket, subscriber: Subscriber) -> None:
        """Claim *ticket* once *subscriber* has written its first state."""

        async def claim() -> None:
            own, name = token_hex(8), _claim_name(ticket)
            try:
                first = await self.hub.engine.claim(name, own, ttl=TICKET_TTL)
            except EngineUnavailable:
                # The ticket would stay usable; the stream's event ids reopen it.
                subscriber.end("shed")
            else:
                if first == own:
                    return
                # Two streams were opened with the ticket concurrently: one stays.
                subscriber.end("revoked")
            subscriber.channel.wakeup.notify()

        subscriber.on_state = partial(self.hub.start, claim)


def _claim_name(ticket: Ticket) -> str:
    return f"ticket {ticket.id}"
