"""The stream: who may open it, and what a ticket is good for."""

from __future__ import annotations

from functools import lru_cache, partial
from http import HTTPStatus
from secrets import token_hex
from typing import final

import attrs

from roundel import accepts_stream, read_last_event_id, stream_headers

from ...engines.base import EngineUnavailable
from ...identity.callers import User
from ...identity.tickets import TICKET_TTL, Ticket
from ...streams.channel import UserChannel
from ...streams.hub import Hub
from ...streams.subscribe import SubscribeRequest, resume_key
from ...streams.subscriber import Subscriber
from ...streams.view_history import View
from .. import decoding as requests
from .. import problems, schemas
from ..access_control import AccessControl
from ..messages import AnyResponse, EventStreamResponse, Request, Response
from ..problems import Problem

_HEADERS = dict(stream_headers())


@final
@attrs.frozen
class StreamHandler:
    """The handler of the stream."""

    hub: Hub
    access: AccessControl

    async def stream(self, request: Request) -> AnyResponse:
        """Open the caller's stream, or say in a way that browsers survive why not."""
        query = requests.decode_query(request.parameters, schemas.StreamQuery)
        # RFC 9110 5.3: several fields of a name are one list.
        if not accepts_stream(",".join(request.headers.getlist("Accept"))):
            raise problems.not_acceptable("Accept: expected text/event-stream in it")
        try:
            user = await self.access.authenticate(request, ticket=query.ticket)
            return await self._open(user, query, request)
        except Problem as problem:
            return self._reject(problem)
        except EngineUnavailable:
            return self._reject_retry_later()

    async def _open(
        self, user: User, query: schemas.StreamQuery, request: Request
    ) -> AnyResponse:
        last_event_id = read_last_event_id(
            request.headers.get("Last-Event-ID"), query.cursor
        )
        channel, attendance = await self.hub.channel(user.name), self.hub.presence
        self._check_revoked(user, channel)
        is_new = await self._is_first_use(user.ticket, last_event_id)
        seat = await attendance.reserve(user.name) if attendance else None
        # Again, as it was waited; from here on, nothing happens in between.
        self._check_revoked(user, channel)
        opening = SubscribeRequest(
            last_event_id=last_event_id,
            expires_in=user.expires_at - self.hub.clock(),
            resume_key=user.ticket.resume_key if user.ticket else None,
            # A browser never comes back from a 429: it is asked to come later.
            refused=self.access.throttle_delay(user) > 0
            or not (seat is None or seat.granted),
            request_id=request.id,
        )
        reader = self.hub.subscribe(channel, _view(query.level, query.names), opening)
        if user.ticket is not None and is_new:
            self._consume_ticket(user.ticket, reader)
        within = self.hub.lease(reader, seat)
        return EventStreamResponse(
            stream=reader,
            wakeup=channel.wakeup,
            lifespan=within,
            headers=_HEADERS,
        )

    def _check_revoked(self, user: User, channel: UserChannel) -> None:
        mailbox = channel.record.mailbox
        if mailbox.is_revoked(user.issued_at, now=self.hub.clock()):
            raise problems.revoked()

    def _reject(self, problem: Problem) -> AnyResponse:
        """Answer who has no proof that is known to be good."""
        if problem.name == "revoked":
            # WHATWG 9.2.3: a 204 tells a browser to stop reconnecting.
            return Response(status=204)
        if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return self._reject_retry_later()
        raise problem

    def _reject_retry_later(self) -> AnyResponse:
        return Response(body=self.hub.rejection_body(), headers=_HEADERS)

    async def _is_first_use(
        self, ticket: Ticket | None, last_event_id: str | None
    ) -> bool:
        """Tell whether *ticket* opens its stream first; raises if it opens none."""
        if ticket is None or ticket.matches_resume_key(resume_key(last_event_id)):
            return False
        if self.hub.clock() >= ticket.first_use_until:
            raise problems.unauthorized("the ticket is too old to open a stream with")
        if await self.hub.engine.claimed(_claim(ticket)) is not None:
            raise problems.unauthorized("the ticket was used")
        return True

    def _consume_ticket(self, ticket: Ticket, reader: Subscriber) -> None:
        """Let *ticket* open nothing any more once *reader* has its first state."""

        async def claim() -> None:
            mine = token_hex(8)
            try:
                kept = await self.hub.engine.claim(_claim(ticket), mine, ttl=TICKET_TTL)
            except EngineUnavailable:
                # Nobody would know that it was used; the stream's ids open it again.
                reader.end("shed")
            else:
                if kept == mine:
                    return
                # Two came in with it at the same time: one of them stays.
                reader.end("revoked")
            reader.channel.wakeup.notify()

        reader.on_state = partial(self.hub.start, claim)


# Nearly all streams are of few views, and each would keep its own for as long as it is.
_view = lru_cache(maxsize=256)(View)


def _claim(ticket: Ticket) -> str:
    return f"ticket {ticket.id}"
