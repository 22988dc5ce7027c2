"""What waits for a home of the store, so that no home holds up another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container
from typing import Final, final

from ..base import EngineUnavailable
from .pending import PendingOperation

MAX_BATCH: Final = 128
"""How many users' turns are taken together, at the most."""

MAX_CONCURRENT: Final = 2
"""How often that is done at once, so that neither the store nor this node idles."""


@final
class PendingQueue:
    """Those who wait for one home, how often turns are *running*, and the *progress*.

    That is when something came out last, by trio's clock.
    """

    def __init__(self) -> None:
        self.running = 0
        self.progress = 0.0
        # Unlike a dict's, its first key is found at once also where many went before.
        self._waiting: OrderedDict[str, list[PendingOperation]] = OrderedDict()

    def add(self, piece: PendingOperation) -> None:
        """Let *piece* wait for the next turn of its user."""
        self._waiting.setdefault(piece.user, []).append(piece)

    def next(self, busy: Container[str]) -> dict[str, list[PendingOperation]]:
        """Take out whose turn it is now, unless they are *busy*, with all they want."""
        if self.running >= MAX_CONCURRENT:
            return {}
        users: list[str] = []
        for user in self._waiting:
            if user not in busy:
                users.append(user)
                if len(users) == MAX_BATCH:
                    break
        return {user: self._waiting.pop(user) for user in users}

    def fail_before(self, since: float, why: str) -> None:
        """Fail what has waited at least *since* then."""
        for user, pieces in list(self._waiting.items()):
            if pieces[0].since <= since:
                for piece in self._waiting.pop(user):
                    piece.resolve(EngineUnavailable(why))
