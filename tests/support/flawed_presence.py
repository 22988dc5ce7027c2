"""How many streams the nodes at one place have said to serve, but for a flaw."""

from __future__ import annotations

from typing import final

import attrs
import trio

from support.flaws import Flaw


@final
@attrs.define
class Attendance:
    """What each node has said last, of each user, and until when it counts."""

    said: dict[tuple[str, object], tuple[int, float]] = attrs.field(factory=dict)

    async def report_presence(
        self,
        node: object,
        user: str,
        count: int,
        now: float,
        ttl: float,
        flaw: Flaw | None,
    ) -> int:
        """Say it for *node*; return how many others serve."""
        elsewhere = self._elsewhere(node, user, now, flaw)
        if flaw is Flaw.HEARS_FIRST:
            await trio.lowlevel.checkpoint()
        before, until = self.said.get((user, node), (0, 0.0))
        if flaw is Flaw.ADDS_STREAMS:
            count += before
        if flaw is not Flaw.FORGETS_STREAMS or not before:
            until = now + ttl
        self.said[user, node] = (count, until)
        return elsewhere + (count if flaw is Flaw.COUNTS_ITSELF else 0)

    def _elsewhere(self, node: object, user: str, now: float, flaw: Flaw | None) -> int:
        counts = [
            count
            for (whose, where), (count, until) in self.said.items()
            if whose == user
            and where is not node
            and (until > now or flaw is Flaw.ENDLESS_STREAMS)
        ]
        return sum(counts[:1] if flaw is Flaw.HEARS_ONE else counts)
