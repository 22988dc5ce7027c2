"""How long items live if their notification does not say it."""

from __future__ import annotations

from typing import final

import attrs

from .. import schemas


@final
@attrs.frozen(kw_only=True)
class Retention:
    """The default times to live, in seconds; *topic* is that of items of topics."""

    topic: float = 30 * 86_400.0

    def ttl(self, notification: schemas.NotifyRequest) -> float | None:
        """Return the time to live of the item of *notification*; `None` is forever."""
        if notification.ttl is None and notification.to.topic_name is not None:
            return self.topic
        return notification.ttl
