"""Handlers of the preferences of a user: what the badge does not count."""

from __future__ import annotations

from typing import Literal, final

import attrs

from ...documents import badge_document
from ...domain.operations import SetMuted
from ...domain.subscriptions import Muted
from ...streams.hub import Hub
from .. import decoding, schemas
from ..access_control import AccessControl
from ..messages import Request, Response, json_response
from ..responses import MutedDocument, PreferencesResponse, PreferencesState


@final
@attrs.frozen
class PreferencesHandlers:
    """Handlers that read and replace preferences, for their user and for producers."""

    hub: Hub
    access: AccessControl

    async def own(self, request: Request) -> Response:
        """Return the caller's preferences."""
        user = await self.access.user(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        return await self._read(user.name)

    async def of_user(self, request: Request) -> Response:
        """Return the preferences of the user in the path, to a producer."""
        return await self._read(await self._named_user(request))

    async def set_own(self, request: Request) -> Response:
        """Replace the caller's preferences."""
        user = await self.access.user(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        return await self._replace(user.name, request, by="user")

    async def set_of_user(self, request: Request) -> Response:
        """Replace the preferences of the user in the path, for a producer."""
        user = await self._named_user(request)
        return await self._replace(user, request, by="producer")

    async def _named_user(self, request: Request) -> str:
        await self.access.producer(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        return decoding.decode_path(request.params, schemas.UserPath).user

    async def _read(self, user: str) -> Response:
        mailbox = (await self.hub.engine.read(user)).mailbox
        return json_response(PreferencesResponse(_muted_document(mailbox.muted)))

    async def _replace(
        self, user: str, request: Request, *, by: Literal["user", "producer"]
    ) -> Response:
        body = await decoding.read_body(request, schemas.PreferencesRequest)
        applied = await self.hub.apply(user, SetMuted(body.value(), by=by))
        badge, muted = applied.badge, _muted_document(applied.mailbox.muted)
        document = badge_document(badge)
        return json_response(PreferencesState(badge.epoch, badge.v, document, muted))


def _muted_document(muted: Muted) -> MutedDocument:
    return MutedDocument(sorted(muted.categories), sorted(muted.topics))
