"""Handlers of lists of items: those of a mailbox, and the ones that wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TypeAlias, final

import attrs

from ...documents import ItemDocument, badge_document, encoded_waiting_item
from ...domain.items import Item
from ...domain.mailbox import Mailbox
from ...streams.events import cursor_of, item_page
from ...streams.hub import Hub
from .. import decoding, schemas
from ..access_control import AccessControl
from ..messages import Request, Response, json_response
from ..responses import ItemsResponse

Query: TypeAlias = schemas.ItemsQuery | schemas.UserItemsQuery

_IS_IN_STATE: Mapping[str, Callable[[Item], bool]] = {
    "unread": attrgetter("is_counted"),
    "active": lambda item: not item.archived,
    "archived": attrgetter("archived"),
    "all": lambda _: True,
}


@final
@attrs.frozen
class ItemHandlers:
    """Handlers that return pages of a list, to its user or to a producer."""

    hub: Hub
    access: AccessControl

    async def own(self, request: Request) -> Response:
        """Return a page of the caller's list, newest first."""
        user = await self.access.user(request)
        query = decoding.decode_query(request.parameters, schemas.ItemsQuery)
        return await self._page(user.name, query)

    async def of_user(self, request: Request) -> Response:
        """Return a page of the list of the user in the path, to a producer."""
        await self.access.producer(request)
        user = decoding.decode_path(request.params, schemas.UserPath).user
        query = decoding.decode_query(request.parameters, schemas.UserItemsQuery)
        return await self._page(user, query)

    async def _page(self, user: str, query: Query) -> Response:
        mailbox = (await self.hub.engine.read(user)).mailbox
        if query.state in _IS_IN_STATE:
            items, following = _listed(mailbox, query)
        else:
            items, following = _waiting(mailbox, query)
        badge = badge_document(mailbox.badge)
        return json_response(ItemsResponse(cursor_of(mailbox), badge, items, following))


def _listed(mailbox: Mailbox, query: Query) -> tuple[list[ItemDocument], int | None]:
    """Return a page of the list, and the `before` of the next page."""
    matching = [
        item
        for item in reversed(list(mailbox.items.values()))
        if item.seq < query.before
        and query.category in (None, item.category)
        and _IS_IN_STATE[query.state](item)
    ]
    return item_page(matching, query.limit)


def _waiting(mailbox: Mailbox, query: Query) -> tuple[list[ItemDocument], int | None]:
    """Return a page of the items that wait, and the `before` of the next page.

    A scheduled item has no `seq` before it appears. The pages count such items in the
    order in which they began to wait: if one of them appears between two pages, an item
    may be on both, and none is left out.
    """
    is_snoozed = query.state == "snoozed"
    kind = [each for each in mailbox.waiting.values() if each.is_snoozed is is_snoozed]
    numbered = {
        each.item.seq if is_snoozed else number: each
        for number, each in enumerate(kind, 1)
    }
    matching = [
        number
        for number in sorted(numbered, reverse=True)
        if number < query.before
        and query.category in (None, numbered[number].item.category)
    ]
    shown = matching[: query.limit]
    items = [encoded_waiting_item(numbered[number]) for number in shown]
    return items, shown[-1] if len(matching) > len(shown) else None
