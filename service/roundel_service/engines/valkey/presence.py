"""How nodes tell each other how many streams they serve: by a hash for each user."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import final

from ..base import EngineUnavailable
from .keys import Keys
from .metadata import StoreMetadata
from .scripts import ATTEND
from .store import Store, call


@final
class PresenceStore:
    """Says what this node serves, and hears of the others.

    A node is another one each time that it is started, so that it never takes over
    what the one before it has said.
    """

    def __init__(self, store: Store, keys: Keys, meta: StoreMetadata) -> None:
        self._store = store
        self._keys = keys
        self._meta = meta
        self._node = secrets.token_urlsafe(9)

    async def report_presence(
        self, streams: Mapping[str, int], *, ttl: float
    ) -> list[int | EngineUnavailable]:
        """Say how many *streams* of each user are here; return how many are not."""
        try:
            await self._meta.ensure()
        except EngineUnavailable as error:
            return [error] * len(streams)
        milliseconds = f"{max(1, round(ttl * 1_000))}"
        answers = await self._store.run(
            [
                call(
                    ATTEND,
                    [self._keys.presence(user)],
                    [self._node, f"{count}", milliseconds],
                )
                for user, count in streams.items()
            ]
        )
        return [_heard(answer) for answer in answers]


def _heard(answer: object) -> int | EngineUnavailable:
    if isinstance(answer, int | EngineUnavailable):
        return answer
    return EngineUnavailable(f"the store: expected a number, got {answer!r:.100}")
