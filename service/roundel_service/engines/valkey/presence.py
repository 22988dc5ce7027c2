"""Presence: how many streams of a user the other nodes serve.

Each user has a hash with one field per node: the number of the user's streams at that
node, and when the report expires. A node reports again before that. One script stores
the node's own number and sums the others, so of two nodes that report at once at least
one sees the report of the other. Times are by the store's clock, because the clocks of
the nodes differ. A killed node stays in the sum until its report expires. A failover
may lose reports until each node reports again.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import final

from ..base import EngineUnavailable
from .keys import Keys
from .metadata import StoreMetadata
from .scripts import REPORT_PRESENCE
from .store import Store, failure_of


@final
class PresenceStore:
    """Reports this node's streams and returns the number at other nodes.

    Each start of a node has a new random id, so a restarted node does not overwrite
    the reports of its previous process.
    """

    def __init__(self, store: Store, keys: Keys, metadata: StoreMetadata) -> None:
        self._store = store
        self._keys = keys
        self._metadata = metadata
        self._node = secrets.token_urlsafe(9)

    async def report_presence(
        self, streams: Mapping[str, int], *, ttl: float
    ) -> list[int | EngineUnavailable]:
        """Report the number of *streams* of each user at this node for *ttl* seconds.

        Returns the number of streams at other nodes for each user, in the same order.
        """
        try:
            await self._metadata.ensure_verified()
        except EngineUnavailable as error:
            return [error] * len(streams)
        milliseconds = f"{max(1, round(ttl * 1_000))}"
        replies = await self._store.run(
            [
                REPORT_PRESENCE.call(
                    [self._keys.presence(user)], [self._node, f"{count}", milliseconds]
                )
                for user, count in streams.items()
            ]
        )
        return [_count(reply) for reply in replies]


def _count(reply: object) -> int | EngineUnavailable:
    return reply if isinstance(reply, int) else failure_of(reply)
