"""The result of one check."""

from __future__ import annotations

from functools import partial
from typing import Literal, final

import attrs


@final
@attrs.frozen
class Finding:
    """The result of a check of one *subject*."""

    level: Literal["ok", "warning", "failure"]
    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.level:<8} {self.subject:<12} {self.message}"


ok: partial[Finding] = partial(Finding, "ok")
"""Return a finding without a problem."""

warning: partial[Finding] = partial(Finding, "warning")
"""Return a finding about a risk; the message says how to remove it."""

failure: partial[Finding] = partial(Finding, "failure")
"""Return a finding about lost data or an engine that does not work."""


def latency(action: str, seconds: float, *, slow: float, advice: str) -> Finding:
    """Return a finding about a median latency, a warning from *slow* seconds."""
    message = f"{action} takes {seconds * 1e3:.2g} ms (median)"
    if seconds < slow:
        return ok("latency", message)
    return warning("latency", f"{message}; {advice}")
