"""A page that follows the HTTP contract: apply newer state, detect each gap."""

from __future__ import annotations

from typing import Any, final

import msgspec

from roundel import Event
from roundel_service.streams.view_history import View

Document = dict[str, Any]
decode = msgspec.json.decode


@final
class Page:
    """The state of a page: the badge and, at level `items`, the list.

    The three faults are for tests of the tests: a page that takes what is *stale*,
    one that does not look at `from` (*gaps*), one that does not hear a ping (*deaf*).
    """

    def __init__(
        self, view: View, *, stale: bool = False, gaps: bool = False, deaf: bool = False
    ) -> None:
        self.view = view
        self._stale, self._gaps, self._deaf = stale, gaps, deaf
        self._forget(None)

    def _forget(self, epoch: str | None) -> None:
        self.epoch = epoch
        self.v = -1
        self.badge: Document | None = None
        self.items: dict[str, Document] = {}

    def hear(self, event: Event) -> bool:
        """Apply an event; return false if the page must connect without an id.

        A hole, a state of another epoch that no reset announced and a ping that is
        ahead all say that something was lost on the way.
        """
        document = decode(event.data)
        match event.type:
            case "hello":
                if document["resume"] == "reset" or document["epoch"] != self.epoch:
                    self._forget(document["epoch"])
            case "reset":
                self._forget(None)
            case "badge":
                return self._replace(document, None)
            case "snapshot":
                return self._replace(document["badge"], document["items"])
            case "change":
                return self._change(document)
            case "ping":
                return self._deaf or bool(document["v"] <= self.v)
        return True

    def overhear(self, event: Event) -> None:
        """Apply a relayed event; a gap is ignored, because the own stream fills it."""
        if event.type in ("badge", "change") and self.epoch is not None:
            self.hear(event)

    def take(self, badge: Document, items: list[Document] | None = None) -> None:
        """Apply a response, which may be late and so never starts an epoch."""
        if self.epoch is not None:
            self._replace(badge, items)

    def _replace(self, badge: Document, items: list[Document] | None) -> bool:
        if self.epoch not in (None, badge["epoch"]):
            return False
        if badge["v"] > self.v or self._stale:
            self._move(badge)
            if items is not None:
                self.items = {item["id"]: item for item in reversed(items)}
        return True

    def _change(self, document: Document) -> bool:
        if (
            document["epoch"] == self.epoch
            and document["v"] <= self.v
            and not self._stale
        ):
            return True
        if (document["epoch"], document["from"]) != (
            self.epoch,
            self.v,
        ) and not self._gaps:
            return False
        for step in document["ops"]:
            self._do(step)
        self._move(document["badge"])
        return True

    def _do(self, step: Document) -> None:
        match step:
            case {"add": item}:
                self.items[item["id"]] = item
            case {"remove": ids}:
                for gone in ids:
                    self.items.pop(gone, None)
            case {"set": ids, **flags}:
                for known in filter(self.items.__contains__, ids):
                    self.items[known] = {**self.items[known], **flags}

    def _move(self, badge: Document) -> None:
        self.badge = only(badge, self.view.categories)
        self.epoch, self.v = badge["epoch"], badge["v"]


def only(badge: Document, categories: frozenset[str] | None) -> Document:
    """Return the badge filtered by *categories*."""
    if categories is None:
        return badge
    by = {name: count for name, count in badge["by"].items() if name in categories}
    unread = sum(count["unread"] for count in by.values())
    unseen = sum(count["unseen"] for count in by.values())
    more = badge["more"] and unread > 0
    return {**badge, "unread": unread, "unseen": unseen, "more": more, "by": by}
