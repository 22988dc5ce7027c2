"""The presence reports of the nodes of one store, with an optional flaw."""

from __future__ import annotations

from typing import final

import attrs
import trio

from support.flaws import Flaw


@final
@attrs.define
class PresenceReports:
    """The latest report of each node for each user, and its expiry time."""

    reports: dict[tuple[str, object], tuple[int, float]] = attrs.field(factory=dict)

    async def report_presence(
        self,
        node: object,
        user: str,
        count: int,
        now: float,
        ttl: float,
        flaw: Flaw | None,
    ) -> int:
        """Store the report of *node*; return the sum of the others."""
        elsewhere = self._elsewhere(node, user, now, flaw)
        if flaw is Flaw.READS_BEFORE_REPORT:
            await trio.lowlevel.checkpoint()
        before, expires_at = self.reports.get((user, node), (0, 0.0))
        if flaw is Flaw.ADDS_REPORTS:
            count += before
        if flaw is not Flaw.EARLY_REPORT_EXPIRY or not before:
            expires_at = now + ttl
        self.reports[user, node] = (count, expires_at)
        return elsewhere + (count if flaw is Flaw.COUNTS_ITSELF else 0)

    def _elsewhere(self, node: object, user: str, now: float, flaw: Flaw | None) -> int:
        counts = [
            count
            for (reported_user, reporter), (count, expires_at) in self.reports.items()
            if reported_user == user
            and reporter is not node
            and (expires_at > now or flaw is Flaw.ENDLESS_REPORTS)
        ]
        return sum(counts[:1] if flaw is Flaw.COUNTS_ONE_NODE else counts)
