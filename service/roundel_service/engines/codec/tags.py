"""The index keys by which a retraction finds the mailboxes that hold its items."""

from __future__ import annotations

from ...domain.items import Item
from ...domain.operations import Retract


def item_tags(item: Item) -> tuple[str, ...]:
    """Return the index keys under which a `Retract` finds *item*.

    A copy of an item of a topic has none: it goes when the item leaves the topic.
    """
    if item.topic is not None:
        return ()
    source = () if item.source is None else (f"s {item.source}",)
    return source if item.key is None else (*source, f"k {item.category} {item.key}")


def retract_tag(retract: Retract) -> str | None:
    """Return the index key that *retract* selects, or `None`."""
    if retract.source is not None:
        return f"s {retract.source}"
    return None if retract.key is None else f"k {retract.category} {retract.key}"
