"""How long items live if their notification does not say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import attrs

from .. import schemas


@final
@attrs.frozen
class Retention:
    """The default times to live in seconds, by category; 0 is never.

    A category that is not named has that of ``"default"``, if there is one. Items of
    topics have *topic*, whatever their category is.
    """

    categories: Mapping[str, float] = attrs.field(factory=dict)
    topic: float = attrs.field(default=30 * 86_400.0, kw_only=True)

    def ttl(self, notification: schemas.NotifyRequest) -> float | None:
        """Return the time to live of the item of *notification*; `None` is forever."""
        if notification.ttl is not None:
            return notification.ttl or None
        if notification.to.topic_name is not None:
            return self.topic
        default = self.categories.get("default")
        return self.categories.get(notification.category, default) or None
