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
from collections.abc import Callable, Mapping
from functools import partial
from typing import final

import attrs

from ..base import EngineUnavailable
from .keys import Keys
from .metadata import StoreMetadata
from .scripts import REPORT_PRESENCE
from .store import Store, failure_of


@final
@attrs.frozen
class PresenceStore:
    """Reports this node's streams and returns the number at other nodes.

    Calls *on_revision* with the stored revision of each user's mailbox.

    Each start of a node has a new random id, so a restarted node does not overwrite
    the reports of its previous process.
    """

    _store: Store
    _keys: Keys
    _metadata: StoreMetadata
    _on_revision: Callable[[str, bytes], None]
    _node: str = attrs.field(init=False, factory=partial(secrets.token_urlsafe, 9))

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
        commands = []
        for user, count in streams.items():
            arguments = [self._node, f"{count}", milliseconds]
            keys = [self._keys.presence(user), self._keys.user(user)]
            commands.append(REPORT_PRESENCE.call(keys, arguments))
        replies = await self._store.run(commands)
        return [self._result(*pair) for pair in zip(streams, replies, strict=True)]

    def _result(self, user: str, reply: object) -> int | EngineUnavailable:
        match reply:
            case [int(others), bytes(revision)]:
                self._on_revision(user, revision)
                return others
        return failure_of(reply)
