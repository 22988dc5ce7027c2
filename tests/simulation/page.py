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

    The three flags inject a fault: the page applies older states, does not compare
    `from`, or ignores the version of a ping.
    """

    def __init__(
        self,
        view: View,
        *,
        applies_stale: bool = False,
        ignores_gaps: bool = False,
        ignores_pings: bool = False,
    ) -> None:
        self.view = view
        self._applies_stale, self._ignores_gaps, self._ignores_pings = (
            applies_stale,
            ignores_gaps,
            ignores_pings,
        )
        self._reset(None)

    def _reset(self, epoch: str | None) -> None:
        self.epoch = epoch
        self.v = -1
        self.badge: Document | None = None
        self.items: dict[str, Document] = {}

    def apply(self, event: Event) -> bool:
        """Apply an event; return false if the page must connect without an id.

        An event was lost if a change does not follow the page's version, if a state
        has another epoch without a reset, or if a ping has a newer version or another
        epoch.
        """
        document = decode(event.data)
        match event.type:
            case "hello":
                if document["resume"] == "reset" or document["epoch"] != self.epoch:
                    self._reset(document["epoch"])
            case "reset":
                self._reset(None)
            case "badge":
                return self._replace(document, None)
            case "snapshot":
                return self._replace(document["badge"], document["items"])
            case "change":
                return self._apply_change(document)
            case "ping":
                is_known = document["epoch"] == self.epoch and document["v"] <= self.v
                return self._ignores_pings or is_known
        return True

    def apply_relayed(self, event: Event) -> None:
        """Apply a relayed event; ignore a gap, which the stream of this page fills."""
        if event.type in ("badge", "change") and self.epoch is not None:
            self.apply(event)

    def apply_response(
        self, badge: Document, items: list[Document] | None = None
    ) -> None:
        """Apply a response, which may be late and so never starts an epoch."""
        if self.epoch is not None:
            self._replace(badge, items)

    def _replace(self, badge: Document, items: list[Document] | None) -> bool:
        if self.epoch not in (None, badge["epoch"]):
            return False
        if badge["v"] > self.v or self._applies_stale:
            self._set_badge(badge)
            if items is not None:
                self.items = {item["id"]: item for item in reversed(items)}
        return True

    def _apply_change(self, document: Document) -> bool:
        if (
            document["epoch"] == self.epoch
            and document["v"] <= self.v
            and not self._applies_stale
        ):
            return True
        if (document["epoch"], document["from"]) != (
            self.epoch,
            self.v,
        ) and not self._ignores_gaps:
            return False
        for step in document["ops"]:
            self._apply_step(step)
        self._set_badge(document["badge"])
        return True

    def _apply_step(self, step: Document) -> None:
        match step:
            case {"add": item}:
                self.items[item["id"]] = item
            case {"update": item}:
                # An update leaves the flags; in a replay, ITEM has those of now.
                if (held := self.items.get(item["id"])) is not None:
                    flags = {name: held[name] for name in ("seen", "read", "archived")}
                    self.items[item["id"]] = {**item, **flags}
            case {"remove": ids}:
                for name in ids:
                    self.items.pop(name, None)
            case {"set": ids, **flags}:
                for name in filter(self.items.__contains__, ids):
                    self.items[name] = {**self.items[name], **flags}

    def _set_badge(self, badge: Document) -> None:
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
